//! asyncio's own streams: for whom the native ones stand, and whose functions do what is rare.
//!
//! A reader, writer or protocol is *plain* while it is of exactly the native type and nobody has
//! hung an attribute on it or changed the type: then its methods call each other in Rust. For a subclass they go the
//! way that asyncio's Python code goes, through every hook, and the surest way to do that is to
//! have that very code do it: asyncio's functions run on native objects, whose attributes have
//! asyncio's names and meanings.

use std::ffi::CStr;

use crate::ffi::{LookedUp, Object, Outcome, interned, text};
use crate::imports::module;
use crate::originals::get;

/// References that live as long as the process.
pub(crate) struct Originals {
    pub(crate) reader: Object,
    pub(crate) writer: Object,
    pub(crate) protocol: Object,
    pub(crate) flow_control: Object,
    pub(super) incomplete_read_error: Object,
    pub(super) limit_overrun_error: Object,
    pub(super) names: Names,
    pub(super) manners: Manners,
}

/// What differs between versions of Python, down to the last number, as their code tells.
#[derive(Clone, Copy)]
pub(super) struct Manners {
    /// The protocol of a server keeps its writer alive (up to 3.12).
    pub(super) keeps_writer: bool,
    /// An exception of `client_connected_cb` itself is reported (3.14).
    pub(super) reports_callback: bool,
    /// What becomes of the task that `client_connected_cb` is run in is looked at.
    pub(super) watches_task: bool,
    /// A cancelled task closes its transport quietly.
    pub(super) knows_cancelled_task: bool,
    /// A writer that is freed unclosed closes its transport and warns.
    pub(super) writer_warns: bool,
}

impl Manners {
    fn learn(writer: &Object, protocol: &Object) -> Outcome<Manners> {
        const REPORT: &str = "Unhandled exception in client_connected_cb";
        let code = get(&get(protocol, c"connection_made")?, c"__code__")?;
        let constants = get(&code, c"co_consts")?;
        let report = text(REPORT)?;
        let mut manners = Manners {
            keeps_writer: protocol
                .find_attr(&interned(c"_replace_writer")?)?
                .is_some(),
            reports_callback: false,
            watches_task: false,
            knows_cancelled_task: false,
            writer_warns: writer.find_attr(&interned(c"__del__")?)?.is_some(),
        };
        for constant in constants.tuple_items() {
            if constant.equals(&report)? {
                manners.reports_callback = true;
            }
            // The code of the function that looks at the task.
            if let Some(names) = constant.find_attr(&interned(c"co_names")?)? {
                manners.watches_task = true;
                let cancelled = text("cancelled")?;
                for name in names.tuple_items() {
                    manners.knows_cancelled_task |= name.equals(&cancelled)?;
                }
            }
        }
        Ok(manners)
    }
}

macro_rules! names {
    ($($field:ident = $text:literal),* $(,)?) => {
        /// Interned attribute names.
        pub(super) struct Names { $(pub(super) $field: Object),* }

        impl Names {
            fn load() -> Outcome<Names> {
                Ok(Names { $($field: interned($text)?),* })
            }
        }
    };
}

names! {
    add_done_callback = c"add_done_callback",
    anext = c"__anext__",
    call_exception_handler = c"call_exception_handler",
    can_write_eof = c"can_write_eof",
    close = c"close",
    connection_made = c"connection_made",
    create_task = c"create_task",
    data_received = c"data_received",
    del = c"__del__",
    drain = c"drain",
    drain_helper = c"_drain_helper",
    exception = c"exception",
    extend = c"extend",
    feed_data = c"feed_data",
    feed_eof = c"feed_eof",
    get_close_waiter = c"_get_close_waiter",
    get_debug = c"get_debug",
    get_extra_info = c"get_extra_info",
    is_closing = c"is_closing",
    pause_reading = c"pause_reading",
    read = c"read",
    readexactly = c"readexactly",
    readline = c"readline",
    readuntil = c"readuntil",
    resume_reading = c"resume_reading",
    set_exception = c"set_exception",
    set_transport = c"set_transport",
    source_traceback = c"_source_traceback",
    stream_reader = c"_stream_reader",
    write = c"write",
    write_eof = c"write_eof",
    writelines = c"writelines",
}

static ORIGINALS: LookedUp<Originals> = LookedUp::new();

/// The looked-up objects.
///
/// # Panics
/// Before [`load`]; no code of ours runs before it.
#[inline]
pub(crate) fn originals() -> &'static Originals {
    ORIGINALS.get()
}

/// Looks everything up; called once, by the module's import.
pub(super) fn load() -> Outcome<()> {
    let streams = module(c"asyncio.streams")?;
    let exceptions = module(c"asyncio.exceptions")?;
    let writer = get(&streams, c"StreamWriter")?;
    let protocol = get(&streams, c"StreamReaderProtocol")?;
    let originals = Originals {
        manners: Manners::learn(&writer, &protocol)?,
        reader: get(&streams, c"StreamReader")?,
        writer,
        protocol,
        flow_control: get(&streams, c"FlowControlMixin")?,
        incomplete_read_error: get(&exceptions, c"IncompleteReadError")?,
        limit_overrun_error: get(&exceptions, c"LimitOverrunError")?,
        names: Names::load()?,
    };
    ORIGINALS.fill(originals);
    Ok(())
}

/// A function of one of asyncio's classes, for a native type to have as well.
pub(super) fn lend(class: &Object, name: &CStr, to: &crate::ffi::TypeObject) -> Outcome<()> {
    match class.find_attr(&interned(name)?)? {
        Some(function) => to.add_attribute(name, &function),
        None => Ok(()),
    }
}
