//! The coroutines of a reader: `read()`, `readexactly()`, `readuntil()`, `readline()`, and one
//! step of `async for`.
//!
//! Bytes stay with the reader until the very step that returns them. So whoever is cancelled while
//! he waits has taken nothing, and the next to read gets everything, in order.

use std::ffi::c_int;

use super::originals::originals;
use super::reader::StreamReader;
use crate::awaitable::{Awaited, Steps};
use crate::ffi::{Object, Outcome, Own, Progress, Raised, This, Visitor, find, none, sys, text};
use crate::imports::imports;
use crate::inspect::Told;
use ferrio_inspect::snapshot::WaitKind;

/// What was asked for.
pub(super) enum Wanted {
    /// `read(n)` with `n` above 0.
    UpTo(usize),
    /// `read()`: everything up to the end; what was there so far.
    Everything(Vec<Object>),
    /// `readexactly(n)`.
    Exactly(usize),
    /// `readexactly(n)` with `n` below 0.
    LessThanNothing,
    /// `readuntil(separator)`.
    Until(Separators),
    /// `readline()`.
    Line,
    /// `__anext__()`.
    NextLine,
}

impl Wanted {
    /// The method's name, for a message.
    fn method(&self) -> &'static str {
        match self {
            Wanted::UpTo(_) | Wanted::Everything(_) => "read",
            Wanted::Exactly(_) | Wanted::LessThanNothing => "readexactly",
            Wanted::Until(_) | Wanted::Line | Wanted::NextLine => "readuntil",
        }
    }
}

/// What a chunk may end with: exact `bytes`, the shortest first.
pub(super) enum Separators {
    One(Object),
    Several(Vec<Object>),
}

impl Separators {
    fn as_slice(&self) -> &[Object] {
        match self {
            Separators::One(separator) => std::slice::from_ref(separator),
            Separators::Several(separators) => separators,
        }
    }
}

/// A coroutine that reads.
pub(crate) struct ReadStream {
    reader: Own<StreamReader>,
    wanted: Wanted,
    /// It has run before.
    begun: bool,
    /// Where it begins to look for a separator.
    offset: usize,
    /// What it waits for.
    wait: Option<Awaited>,
}

impl ReadStream {
    #[inline]
    pub(super) fn new(reader: Own<StreamReader>, wanted: Wanted) -> ReadStream {
        ReadStream {
            reader,
            wanted,
            begun: false,
            offset: 0,
            wait: None,
        }
    }

    /// What is said before anything is read.
    #[inline]
    fn begin(&mut self) -> Outcome<()> {
        match &self.wanted {
            Wanted::LessThanNothing => {
                return Err(Raised::value_error(
                    "readexactly size can not be less than zero",
                ));
            }
            Wanted::Until(separators) => check_separators(separators.as_slice())?,
            _ => {}
        }
        self.check_exception()
    }

    #[inline]
    fn check_exception(&self) -> Outcome<()> {
        match self.reader.exception.get() {
            None => Ok(()),
            Some(exception) => Err(raise(&exception)),
        }
    }

    /// What was asked for, if it is there.
    #[inline]
    fn take(&mut self) -> Outcome<Option<Object>> {
        let reader = self.reader.this();
        match &mut self.wanted {
            // Of nothing: whoever does not take anything does not let the transport go on.
            Wanted::UpTo(0) | Wanted::Exactly(0) => reader.received.take(0).map(Some),
            Wanted::UpTo(count) => {
                let count = *count;
                if reader.received.is_empty()? && !reader.eof.get() {
                    return Ok(None);
                }
                take_and_resume(reader, count).map(Some)
            }
            Wanted::Everything(_) => self.take_everything(),
            Wanted::Exactly(count) => {
                let count = *count;
                if reader.received.len() >= count {
                    return take_and_resume(reader, count).map(Some);
                }
                if reader.eof.get() {
                    return Err(incomplete(reader, Some(count)));
                }
                Ok(None)
            }
            Wanted::LessThanNothing => Ok(Some(none())),
            Wanted::Until(_) | Wanted::Line | Wanted::NextLine => self.take_chunk(),
        }
    }

    fn take_everything(&mut self) -> Outcome<Option<Object>> {
        let Wanted::Everything(blocks) = &mut self.wanted else {
            return Ok(None);
        };
        let reader = self.reader.this();
        if !reader.received.is_empty()? {
            blocks.push(reader.received.take(usize::MAX)?);
            reader.resume_if_drained()?;
        }
        if !reader.eof.get() {
            return Ok(None);
        }
        join(blocks).map(Some)
    }

    /// Everything up to a separator.
    fn take_chunk(&mut self) -> Outcome<Option<Object>> {
        let reader = self.reader.this();
        let (found, length, longest) = match &self.wanted {
            Wanted::Until(separators) => {
                let separators = separators.as_slice();
                let longest = separators.last().map_or(1, separator_length);
                let (found, length) = reader
                    .received
                    .look(|bytes| (first_of(bytes, separators, self.offset), bytes.len()))?;
                (found, length, longest)
            }
            _ => {
                let (found, length) = reader.received.look(|bytes| {
                    let rest = bytes.get(self.offset..).unwrap_or_default();
                    let found = find(rest, b"\n").map(|index| index + self.offset);
                    (found.map(|start| (start, start + 1)), bytes.len())
                })?;
                (found, length, 1)
            }
        };
        let limit = reader.limit();
        if let Some((start, end)) = found {
            if start > limit {
                return Err(
                    self.over_limit("Separator is found, but chunk is longer than limit", start)
                );
            }
            return take_and_resume(reader, end).map(Some);
        }
        let shortest = match &self.wanted {
            Wanted::Until(separators) => separators.as_slice().first().map_or(1, separator_length),
            _ => 1,
        };
        if length >= self.offset + shortest {
            // The last bytes may be the beginning of a separator.
            self.offset = (length + 1).saturating_sub(longest);
            if self.offset > limit {
                return Err(self.over_limit(
                    "Separator is not found, and chunk exceed the limit",
                    self.offset,
                ));
            }
        }
        if !reader.eof.get() {
            return Ok(None);
        }
        match &self.wanted {
            Wanted::Until(_) => Err(incomplete(reader, None)),
            _ => reader.received.take(usize::MAX).map(Some),
        }
    }

    /// LimitOverrunError; for lines the ValueError that it becomes, and the line is dropped.
    #[cold]
    fn over_limit(&self, message: &str, consumed: usize) -> Raised {
        let made = text(message).and_then(|message| {
            let consumed = Object::from_i64(i64::try_from(consumed).unwrap_or(i64::MAX))?;
            originals()
                .limit_overrun_error
                .call(&[&message, &consumed], None)
        });
        let error = match made {
            Ok(error) => error,
            Err(raised) => return raised,
        };
        if matches!(self.wanted, Wanted::Until(_)) {
            return Raised::exception(&error);
        }
        match self.drop_line(consumed) {
            Err(raised) => raised,
            Ok(()) => {
                let replacement = Raised::value_error(message).take();
                match replacement.set_attr(&imports().names.context_attribute, &error) {
                    Ok(()) => Raised::exception(&replacement),
                    Err(raised) => raised,
                }
            }
        }
    }

    fn drop_line(&self, consumed: usize) -> Outcome<()> {
        let reader = self.reader.this();
        let ends_there = reader
            .received
            .look(|bytes| bytes.get(consumed) == Some(&b'\n'))?;
        let count = if ends_there { consumed + 1 } else { usize::MAX };
        reader.received.discard(count)?;
        reader.resume_if_drained()
    }

    /// What the coroutine returns for what it has read.
    #[inline]
    fn finish(&self, taken: Object) -> Outcome<Progress> {
        if matches!(self.wanted, Wanted::NextLine) && taken.as_bytes().is_some_and(<[u8]>::is_empty)
        {
            // SAFETY: a built-in class.
            let class = unsafe { Object::from_borrowed(sys::PyExc_StopAsyncIteration) };
            return Err(Raised::exception(&class.call0()?));
        }
        Ok(Progress::Returned(taken))
    }

    /// It will not return: what it has taken goes back.
    #[cold]
    fn give_up(&mut self, raised: Raised) -> Raised {
        let Wanted::Everything(blocks) = &mut self.wanted else {
            return raised;
        };
        if blocks.is_empty() {
            return raised;
        }
        // No call may be made with an exception set.
        let exception = raised.take();
        let blocks = std::mem::take(blocks);
        if let Err(raised) = self.reader.received.put_back(&blocks) {
            // Somebody holds a view of the buffer. What ends this read must not be hidden by it.
            raised.report_unraisable(&self.reader.this().object());
        }
        Raised::exception(&exception)
    }

    #[inline]
    fn run(&mut self, thrown: Option<Object>) -> Outcome<Progress> {
        let reader = self.reader.clone();
        let reader = reader.this();
        if let Some(wait) = &self.wait {
            let outcome = wait.resume(thrown);
            if let Ok(Progress::Yielded(item)) = outcome {
                return Ok(Progress::Yielded(item));
            }
            // Who waits next may already have been there.
            reader.waiter.clear();
            self.wait = None;
            outcome?;
            if matches!(self.wanted, Wanted::Everything(_)) {
                self.check_exception()?;
            }
        } else if !self.begun {
            self.begun = true;
            self.begin()?;
        }
        if let Some(taken) = self.take()? {
            return self.finish(taken);
        }
        let waiter = reader.begin_wait(self.wanted.method())?;
        let wait = Awaited::new(&waiter)?;
        match wait.resume(None)? {
            Progress::Yielded(item) => {
                self.wait = Some(wait);
                Ok(Progress::Yielded(item))
            }
            // A future that is done as soon as it is made, by a loop's own create_future().
            Progress::Returned(_) => {
                reader.waiter.clear();
                self.run(None)
            }
        }
    }
}

impl Steps for ReadStream {
    #[inline]
    fn resume(&mut self, thrown: Option<Object>) -> Outcome<Progress> {
        match self.run(thrown) {
            Ok(progress) => Ok(progress),
            Err(raised) => Err(self.give_up(raised)),
        }
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        visitor.own(&self.reader)?;
        match &self.wanted {
            Wanted::Everything(objects) | Wanted::Until(Separators::Several(objects)) => {
                objects
                    .iter()
                    .try_for_each(|object| visitor.object(object))?;
            }
            Wanted::Until(Separators::One(separator)) => visitor.object(separator)?,
            _ => {}
        }
        match &self.wait {
            Some(wait) => wait.visit(visitor),
            None => Ok(()),
        }
    }

    fn tell(&self, told: &mut Told) {
        told.waits_for(WaitKind::Read, &self.reader.this().object());
    }
}

#[inline]
fn take_and_resume(reader: This<'_, StreamReader>, count: usize) -> Outcome<Object> {
    let taken = reader.received.take(count)?;
    reader.resume_if_drained()?;
    Ok(taken)
}

fn separator_length(separator: &Object) -> usize {
    separator.as_bytes().map_or(0, <[u8]>::len)
}

fn check_separators(separators: &[Object]) -> Outcome<()> {
    match separators.first() {
        None => Err(Raised::value_error(
            "Separator should contain at least one element",
        )),
        Some(shortest) if separator_length(shortest) == 0 => Err(Raised::value_error(
            "Separator should be at least one-byte string",
        )),
        Some(_) => Ok(()),
    }
}

/// Where the separator that ends first begins and ends.
#[inline]
fn first_of(bytes: &[u8], separators: &[Object], offset: usize) -> Option<(usize, usize)> {
    let rest = bytes.get(offset..)?;
    let mut best: Option<(usize, usize)> = None;
    for separator in separators {
        let separator = separator.as_bytes().unwrap_or_default();
        if let Some(index) = find(rest, separator) {
            let start = index + offset;
            let end = start + separator.len();
            if best.is_none_or(|(_, best_end)| end < best_end) {
                best = Some((start, end));
            }
        }
    }
    best
}

/// IncompleteReadError with everything that was there.
#[cold]
fn incomplete(reader: This<'_, StreamReader>, expected: Option<usize>) -> Raised {
    let made = || {
        let partial = reader.received.take(usize::MAX)?;
        let expected = match expected {
            Some(count) => Object::from_i64(i64::try_from(count).unwrap_or(i64::MAX))?,
            None => none(),
        };
        originals()
            .incomplete_read_error
            .call(&[&partial, &expected], None)
    };
    match made() {
        Ok(error) => Raised::exception(&error),
        Err(raised) => raised,
    }
}

/// `raise exception`, of whatever was given to `set_exception()`.
#[cold]
pub(super) fn raise(exception: &Object) -> Raised {
    // SAFETY: questions about a live object.
    unsafe {
        if sys::PyExceptionInstance_Check(exception.as_ptr()) != 0 {
            return Raised::exception(exception);
        }
        if sys::PyExceptionClass_Check(exception.as_ptr()) != 0 {
            return match exception.call0() {
                Ok(exception) => Raised::exception(&exception),
                Err(raised) => raised,
            };
        }
    }
    Raised::type_error("exceptions must derive from BaseException")
}

/// One `bytes` of several.
fn join(blocks: &mut Vec<Object>) -> Outcome<Object> {
    if let [block] = blocks.as_slice() {
        return Ok(block.clone());
    }
    let blocks = Object::list(blocks.clone())?;
    Object::from_bytes(&[])?.call_method(&text("join")?, &[&blocks])
}
