//! What the tests see of a thread from outside.

use std::thread;
use std::time::{Duration, Instant};
use std::{fs, io};

use ferrio_inspect::python::{
    Cause, Frame, Layout, Unreadable, cause_when_run, frames, location_table,
};

use super::layout;
use crate::ffi::{
    Arguments, Method, Object, Outcome, Raised, none, released, text, thread_number,
    thread_state_address,
};

/// How many frames are looked at.
const MOST: usize = 64;

pub(super) fn functions() -> Vec<Method> {
    vec![
        Method::function(
            c"_this_thread",
            |_arguments| {
                Object::tuple_of(&[
                    Object::from_i64(thread_number().into())?,
                    Object::from_i64(thread_state_address().cast_signed() as i64)?,
                ])
            },
            c"Return what _look_at_thread needs to find the calling thread.",
        ),
        Method::function(
            c"_look_at_thread",
            look_at_thread,
            c"Let a thread go, and look at it from a native thread when it is at a line.",
        ),
        Method::function(
            c"_lines_of",
            lines_of,
            c"Return what a location table says: (start, end, line) as co_lines() has it.",
        ),
    ]
}

/// A thread to look at, and when.
struct Wanted {
    layout: Option<&'static Layout>,
    thread: u32,
    thread_state: usize,
    function: String,
    line: u32,
    /// For how long it has been there by then.
    after: Duration,
    /// For how long it is waited for.
    timeout: Duration,
}

type Seen = (Result<Vec<Frame>, Unreadable>, Cause);

impl Wanted {
    /// Lets the thread go, which reads from the other end of the pipe `go`, and looks at it when it
    /// is there.
    fn look(&self, go: u32) -> io::Result<Seen> {
        fs::write(format!("/proc/self/fd/{go}"), b"x")?;
        let begun = Instant::now();
        while !self.is_there() && begun.elapsed() < self.timeout {
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(self.after);
        // What a busy machine has to do with it is not what the tests ask for.
        let cause = cause_when_run(self.layout, self.thread, self.thread_state, self.timeout);
        Ok((self.frames(MOST), cause))
    }

    fn is_there(&self) -> bool {
        self.frames(1).is_ok_and(|found| {
            (found.first())
                .is_some_and(|frame| frame.line == self.line && frame.function == self.function)
        })
    }

    fn frames(&self, most: usize) -> Result<Vec<Frame>, Unreadable> {
        match self.layout {
            Some(layout) => frames(layout, self.thread_state, most),
            None => Err(Unreadable::Strange),
        }
    }
}

fn look_at_thread(arguments: Arguments<'_>) -> Outcome<Object> {
    let [thread, thread_state, function, line, after, timeout, go] = arguments.positional() else {
        return Err(Raised::type_error("seven arguments are needed"));
    };
    let wanted = Wanted {
        layout: layout()?,
        thread: small(thread)?,
        thread_state: usize::try_from(thread_state.to_i64()?).unwrap_or(0),
        function: function.to_text()?,
        line: small(line)?,
        after: seconds(after)?,
        timeout: seconds(timeout)?,
    };
    let go = small(go)?;
    // The native thread has no interpreter, and the caller's must not be needed while it looks.
    let seen = released(|| thread::scope(|scope| scope.spawn(|| wanted.look(go)).join()));
    match seen {
        Ok(Ok((frames, cause))) => Object::tuple_of(&[
            match frames {
                Ok(frames) => Object::list(frames.iter().map(frame).collect::<Outcome<_>>()?)?,
                Err(error) => text(&error.to_string())?,
            },
            text(&cause.to_string())?,
            details(&cause)?,
        ]),
        Ok(Err(error)) => Err(Raised::from(error)),
        Err(_panic) => Err(Raised::runtime_error("the native thread has panicked")),
    }
}

/// (thread, name, frame) of whoever holds the interpreter, else None.
fn details(cause: &Cause) -> Outcome<Object> {
    match cause {
        Cause::GilWait { thread, name, at } => Object::tuple_of(&[
            Object::from_i64((*thread).into())?,
            name.as_deref().map_or_else(|| Ok(none()), text)?,
            at.as_ref().map_or_else(|| Ok(none()), frame)?,
        ]),
        _ => Ok(none()),
    }
}

fn frame(frame: &Frame) -> Outcome<Object> {
    Object::tuple_of(&[
        text(&frame.file)?,
        text(&frame.function)?,
        Object::from_i64(frame.line.into())?,
    ])
}

fn lines_of(arguments: Arguments<'_>) -> Outcome<Object> {
    let [table, first_line] = arguments.positional() else {
        return Err(Raised::type_error("a table and a line are needed"));
    };
    let table: Vec<u8> = (table.items()?.iter())
        .map(|byte| Ok(u8::try_from(byte.to_i64()?).unwrap_or(0)))
        .collect::<Outcome<_>>()?;
    let number = |number: usize| Object::from_i64(number.cast_signed() as i64);
    let runs = location_table::runs(&table, small(first_line)?)
        .map(|run| {
            let line = match run.line {
                Some(line) => Object::from_i64(line.into())?,
                None => none(),
            };
            Object::tuple_of(&[number(run.start)?, number(run.end)?, line])
        })
        .collect::<Outcome<_>>()?;
    Object::list(runs)
}

fn small(number: &Object) -> Outcome<u32> {
    Ok(u32::try_from(number.to_i64()?).unwrap_or(0))
}

fn seconds(time: &Object) -> Outcome<Duration> {
    Ok(Duration::try_from_secs_f64(time.to_f64()?).unwrap_or_default())
}
