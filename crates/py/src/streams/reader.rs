//! `StreamReader`: what has arrived, for whoever asks for it.

use std::cell::Cell;
use std::ffi::{CStr, c_int};

use super::originals::originals;
use super::received::Received;
use crate::event_loop::EventLoop;
use crate::ffi::{
    Arguments, Native, Object, ObjectCell, Outcome, Raised, Signature, This, TypeObject, Visitor,
    none, sys, text,
};
use crate::future::{Future, State};
use crate::imports::imports;
use crate::sync::{Count, StandsIn, create_future, is_future_cancelled};

/// asyncio's default of how long a line may be, and half of what is kept before reading is paused.
pub(super) const DEFAULT_LIMIT: usize = 64 * 1024;

/// The native part of a `StreamReader`.
#[repr(C)]
pub(crate) struct StreamReader {
    pub(super) dict: ObjectCell,
    weak_references: ObjectCell,
    pub(super) event_loop: ObjectCell,
    pub(super) received: Received,
    /// What `read*()` waits for.
    pub(super) waiter: ObjectCell,
    pub(super) exception: ObjectCell,
    pub(super) transport: ObjectCell,
    /// Where it was made, in debug mode.
    pub(super) source_traceback: ObjectCell,
    limit: Cell<usize>,
    /// The limit, if it is something that `limit` cannot hold.
    odd_limit: ObjectCell,
    pub(super) eof: Cell<bool>,
    /// `pause_reading()` was called on the transport.
    pub(super) paused: Cell<bool>,
}

pub(super) static TYPE: TypeObject = TypeObject::new();

// SAFETY: `TYPE` is built for `StreamReader` in `reader_python::build`; the offsets are those of
// fields that only CPython touches.
unsafe impl Native for StreamReader {
    const NAME: &'static CStr = c"ferrio._ferrio.StreamReader";
    const DICT_OFFSET: Option<usize> = Some(std::mem::offset_of!(StreamReader, dict));
    const WEAK_REFERENCES_OFFSET: Option<usize> =
        Some(std::mem::offset_of!(StreamReader, weak_references));

    fn type_object() -> &'static TypeObject {
        &TYPE
    }

    fn create() -> Outcome<StreamReader> {
        Ok(StreamReader {
            dict: ObjectCell::new(),
            weak_references: ObjectCell::new(),
            event_loop: ObjectCell::new(),
            received: Received::new(),
            waiter: ObjectCell::new(),
            exception: ObjectCell::new(),
            transport: ObjectCell::new(),
            source_traceback: ObjectCell::new(),
            limit: Cell::new(DEFAULT_LIMIT),
            odd_limit: ObjectCell::new(),
            eof: Cell::new(false),
            paused: Cell::new(false),
        })
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        self.received.visit(visitor)?;
        for cell in self.cells() {
            cell.visit(visitor)?;
        }
        Ok(())
    }

    fn clear(&self) {
        self.received.clear();
        for cell in self.cells() {
            cell.clear();
        }
    }
}

impl StandsIn for StreamReader {
    fn original() -> &'static Object {
        &originals().reader
    }
}

impl StreamReader {
    fn cells(&self) -> [&ObjectCell; 6] {
        [
            &self.event_loop,
            &self.waiter,
            &self.exception,
            &self.transport,
            &self.source_traceback,
            &self.odd_limit,
        ]
    }

    /// The limit; nobody asks while it is an odd one, for then the reader is not plain.
    #[inline]
    pub(super) fn limit(&self) -> usize {
        self.limit.get()
    }

    /// `_limit`.
    pub(super) fn python_limit(&self) -> Outcome<Object> {
        match self.odd_limit.get() {
            Some(limit) => Ok(limit),
            None => Object::from_i64(i64::try_from(self.limit.get()).unwrap_or(i64::MAX)),
        }
    }

    /// `_limit = limit`.
    pub(super) fn set_limit(&self, limit: &Object) {
        match limit.as_integer().map(usize::try_from) {
            Some(Ok(limit)) => {
                self.limit.set(limit);
                self.odd_limit.clear();
            }
            _ => self.odd_limit.set(limit.clone()),
        }
    }
}

impl This<'_, StreamReader> {
    /// Whether nobody can have replaced a method of it, or given it what only Python understands.
    #[inline]
    pub(crate) fn is_plain(self) -> bool {
        self.has_original_methods()
            && self.dict.has_no_attributes()
            && self.received.is_native()
            && !self.odd_limit.is_some()
    }

    /// Has asyncio's function of that name do it.
    #[cold]
    pub(super) fn as_asyncio(self, name: &Object, arguments: &[&Object]) -> Outcome<Object> {
        let this = self.object();
        let mut all: Vec<&Object> = vec![&this];
        all.extend(arguments);
        originals().reader.call_method(name, &all)
    }

    /// `__init__(limit=65536, loop=None)`.
    pub(super) fn initialise(self, arguments: Arguments<'_>) -> Outcome<()> {
        const INIT: Signature<2> = Signature {
            function: "StreamReader.__init__",
            names: [c"limit", c"loop"],
            positional: 2,
            required: 0,
        };
        let [limit, event_loop] = INIT.parse(arguments)?;
        self.set_limit(&Object::from_i64(DEFAULT_LIMIT as i64)?);
        if let Some(limit) = limit {
            let count = Count::new(0);
            count.assign(limit);
            if !count.is_positive()? {
                return Err(Raised::value_error("Limit cannot be <= 0"));
            }
            self.set_limit(limit);
        }
        let event_loop = match event_loop.and_then(Object::some) {
            Some(event_loop) => event_loop.clone(),
            None => imports().get_event_loop.call0()?,
        };
        self.event_loop.set(event_loop.clone());
        self.received.clear();
        self.eof.set(false);
        self.waiter.clear();
        self.exception.clear();
        self.transport.clear();
        self.paused.set(false);
        if is_debug(&event_loop)? {
            let stack = imports().extract_short_stack.call0()?;
            self.source_traceback.set(stack);
        }
        Ok(())
    }

    /// `__repr__`, in asyncio's words.
    pub(super) fn describe(self) -> Outcome<Object> {
        let mut parts = vec!["StreamReader".to_owned()];
        if !self.received.is_empty()? {
            let count = if self.received.is_native() {
                self.received.len()
            } else {
                self.received.to_python()?.len()?
            };
            parts.push(format!("{count} bytes"));
        }
        if self.eof.get() {
            parts.push("eof".to_owned());
        }
        let limit = self.python_limit()?;
        if !limit.equals(&Object::from_i64(DEFAULT_LIMIT as i64)?)? {
            parts.push(format!("limit={}", limit.to_text()?));
        }
        for (name, cell) in [
            ("waiter", &self.waiter),
            ("exception", &self.exception),
            ("transport", &self.transport),
        ] {
            if let Some(object) = cell.get()
                && object.is_true()?
            {
                parts.push(format!("{name}={}", object.repr_text()?));
            }
        }
        if self.paused.get() {
            parts.push("paused".to_owned());
        }
        text(&format!("<{}>", parts.join(" ")))
    }

    /// `set_transport(transport)`.
    pub(super) fn set_transport(self, transport: &Object) -> Outcome<()> {
        if self.transport.is_some() {
            return Err(assertion("Transport already set"));
        }
        self.transport.assign(transport.some().cloned());
        Ok(())
    }

    /// `set_exception(exc)`.
    pub(super) fn set_exception(self, exception: &Object) -> Outcome<()> {
        self.exception.assign(exception.some().cloned());
        let Some(waiter) = self.waiter.take() else {
            return Ok(());
        };
        if is_future_cancelled(&waiter)? {
            return Ok(());
        }
        waiter
            .call_method(&imports().names.set_exception, &[exception])
            .map(drop)
    }

    /// `_wakeup_waiter()`.
    #[inline]
    pub(super) fn wake_waiter(self) -> Outcome<()> {
        let Some(waiter) = self.waiter.take() else {
            return Ok(());
        };
        if let Some(native) = This::<Future>::from_exact(&waiter) {
            if native.state.get() == State::Cancelled {
                return Ok(());
            }
            return native.set_result(none());
        }
        if is_future_cancelled(&waiter)? {
            return Ok(());
        }
        waiter
            .call_method(&imports().names.set_result, &[&none()])
            .map(drop)
    }

    /// `feed_eof()`.
    pub(super) fn feed_eof(self) -> Outcome<()> {
        if !self.is_plain() {
            return self.as_asyncio(&originals().names.feed_eof, &[]).map(drop);
        }
        self.eof.set(true);
        self.wake_waiter()
    }

    /// `feed_data(data)`.
    #[inline]
    pub(super) fn feed_data(self, data: &Object) -> Outcome<()> {
        if !self.is_plain() {
            return self
                .as_asyncio(&originals().names.feed_data, &[data])
                .map(drop);
        }
        if self.eof.get() {
            return Err(assertion("feed_data after feed_eof"));
        }
        if !data.is_true()? {
            return Ok(());
        }
        self.received.extend(data)?;
        self.fed()
    }

    /// Takes what the kernel has written into the loop's buffer. No Python code runs here: the
    /// buffer is given back before [`Self::fed`] is called.
    ///
    /// # Errors
    /// AssertionError after the end; MemoryError; BufferError when `_buffer` is lent.
    #[inline]
    pub(crate) fn take_in(self, bytes: &[u8]) -> Outcome<()> {
        if self.eof.get() {
            return Err(assertion("feed_data after feed_eof"));
        }
        self.received.push(bytes)
    }

    /// There is more than before: wakes who waits, and has the transport pause when it is much.
    #[inline]
    pub(crate) fn fed(self) -> Outcome<()> {
        self.wake_waiter()?;
        if !self.paused.get() && self.received.len() > self.limit().saturating_mul(2) {
            return self.pause_transport();
        }
        Ok(())
    }

    #[cold]
    fn pause_transport(self) -> Outcome<()> {
        let Some(transport) = self.transport.get() else {
            return Ok(());
        };
        match transport.call_method(&originals().names.pause_reading, &[]) {
            Ok(_) => self.paused.set(true),
            // SAFETY: a built-in class.
            Err(raised) if raised.matches(unsafe { sys::PyExc_NotImplementedError }) => {
                raised.discard(); // It cannot pause: everything is kept, and it is not asked again.
                self.transport.clear();
            }
            Err(raised) => return Err(raised),
        }
        Ok(())
    }

    /// `_maybe_resume_transport()`.
    #[inline]
    pub(super) fn resume_if_drained(self) -> Outcome<()> {
        if self.paused.get() && self.received.len() <= self.limit() {
            return self.resume_transport();
        }
        Ok(())
    }

    #[cold]
    fn resume_transport(self) -> Outcome<()> {
        self.paused.set(false);
        self.transport
            .get()
            .unwrap_or_else(none)
            .call_method(&originals().names.resume_reading, &[])
            .map(drop)
    }

    /// Begins to wait for data or the end, on behalf of the method `name`: the future to wait for.
    #[inline]
    pub(super) fn begin_wait(self, name: &str) -> Outcome<Object> {
        if self.waiter.is_some() {
            return Err(Raised::runtime_error(&format!(
                "{name}() called while another coroutine is already waiting for incoming data"
            )));
        }
        if self.eof.get() {
            return Err(assertion("_wait_for_data after EOF"));
        }
        // Who waits while the transport is paused would wait for ever.
        if self.paused.get() {
            self.resume_transport()?;
        }
        let event_loop = self.event_loop.get().unwrap_or_else(none);
        let waiter = create_future(&event_loop)?;
        self.waiter.set(waiter.clone());
        Ok(waiter)
    }
}

/// `loop.get_debug()`.
pub(super) fn is_debug(event_loop: &Object) -> Outcome<bool> {
    match This::<EventLoop>::from_object(event_loop) {
        Some(native) => Ok(native.is_debug()),
        None => event_loop
            .call_method(&originals().names.get_debug, &[])?
            .is_true(),
    }
}

#[cold]
pub(super) fn assertion(message: &str) -> Raised {
    // SAFETY: a built-in class.
    unsafe { Raised::builtin(sys::PyExc_AssertionError, message) }
}
