//! Where the running interpreter keeps what native threads look at.

use std::sync::OnceLock;

use ferrio_inspect::python::{Frame, Layout};

use crate::ffi::{
    Object, Outcome, code_type_address, hex_version, interned, runtime_address, thread_number,
    thread_state_address,
};
use crate::imports::module;

/// How many frames of the thread that asks are compared.
const COMPARED: usize = 16;

static LAYOUT: OnceLock<Option<Layout>> = OnceLock::new();

/// Where the running interpreter keeps what is looked at; `None` when that is not known for
/// certain, or may not be read.
///
/// The first call learns it, and compares what can be seen of the calling thread from outside with
/// what Python says. The caller holds the interpreter and is called by Python code.
///
/// # Errors
/// What looking at the thread's own frames raises.
pub(crate) fn layout() -> Outcome<Option<&'static Layout>> {
    if let Some(layout) = LAYOUT.get() {
        return Ok(layout.as_ref());
    }
    // Not within `get_or_init`: Python code that is run here may let another thread come by.
    let layout = learn()?;
    Ok(LAYOUT.get_or_init(|| layout).as_ref())
}

fn learn() -> Outcome<Option<Layout>> {
    let Some(runtime) = runtime_address() else {
        return Ok(None);
    };
    let Some(layout) = Layout::learn(hex_version(), runtime, code_type_address()) else {
        return Ok(None);
    };
    let collector = module(c"gc")?;
    let lists = (
        collector.get_attr(&interned(c"garbage")?)?.address(),
        collector.get_attr(&interned(c"callbacks")?)?.address(),
    );
    let frames = own_frames()?;
    let is_right = layout.verify(thread_number(), thread_state_address(), &frames, lists);
    Ok(is_right.then_some(layout))
}

/// The frames of this thread as Python has them, innermost first.
fn own_frames() -> Outcome<Vec<Frame>> {
    let [f_code, f_line, f_back, file, function] = [
        interned(c"f_code")?,
        interned(c"f_lineno")?,
        interned(c"f_back")?,
        interned(c"co_filename")?,
        interned(c"co_qualname")?,
    ];
    let mut found = Vec::new();
    let mut next = module(c"sys")?
        .get_attr(&interned(c"_getframe")?)?
        .call0()?;
    while found.len() < COMPARED && !next.is_none() {
        let code = next.get_attr(&f_code)?;
        found.push(Frame {
            code: code.address(),
            file: code.get_attr(&file)?.to_text()?,
            function: code.get_attr(&function)?.to_text()?,
            line: line(&next.get_attr(&f_line)?)?,
        });
        next = next.get_attr(&f_back)?;
    }
    Ok(found)
}

fn line(line: &Object) -> Outcome<u32> {
    match line.some() {
        Some(line) => Ok(u32::try_from(line.to_i64()?).unwrap_or(0)),
        None => Ok(0),
    }
}
