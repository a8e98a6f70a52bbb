//! The coroutines of a writer: `drain()` and `wait_closed()`.

use std::ffi::c_int;

use super::flow_control::FlowControlMixin;
use super::originals::originals;
use super::protocol::StreamReaderProtocol;
use super::reader::StreamReader;
use super::reading::raise;
use super::writer::StreamWriter;
use crate::awaitable::{Awaited, Steps};
use crate::ffi::{Object, Outcome, Own, Progress, Raised, This, Visitor, none, sys};
use crate::inspect::Told;
use crate::sync::{Waiter, create_future, visit_waiter};
use ferrio_inspect::snapshot::WaitKind;

/// `await protocol._drain_helper()`: until one may write.
pub(crate) struct DrainHelper {
    protocol: Own<FlowControlMixin>,
    /// Its place in the list, once it waits.
    waits: Option<Waiter>,
}

impl DrainHelper {
    pub(super) fn new(protocol: Own<FlowControlMixin>) -> DrainHelper {
        DrainHelper {
            protocol,
            waits: None,
        }
    }
}

impl Steps for DrainHelper {
    fn resume(&mut self, thrown: Option<Object>) -> Outcome<Progress> {
        let protocol = self.protocol.this();
        let Some(waiter) = &self.waits else {
            if protocol.connection_lost.get() {
                return Err(connection_lost());
            }
            if !protocol.paused.get() {
                return Ok(Progress::Returned(none()));
            }
            let future = create_future(&protocol.owner()?)?;
            self.waits = Some(Waiter::join_with(future, &protocol.drain_waiters)?);
            return self.resume(None);
        };
        Ok(
            match waiter.resume_and_leave(&protocol.drain_waiters, thrown)? {
                Some(item) => Progress::Yielded(item),
                None => Progress::Returned(none()),
            },
        )
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        visitor.own(&self.protocol)?;
        visit_waiter(self.waits.as_ref(), visitor)
    }

    fn tell(&self, told: &mut Told) {
        told.waits_for(WaitKind::Write, &self.protocol.this().object());
    }
}

#[cold]
fn connection_lost() -> Raised {
    // SAFETY: a built-in class.
    unsafe { Raised::builtin(sys::PyExc_ConnectionResetError, "Connection lost") }
}

/// How far a `drain()` is.
enum Stage {
    Begin,
    /// It has let `connection_lost()` be called, if the transport is closing.
    Slept,
    /// What the protocol has it wait for.
    Helper(DrainHelper),
    /// The same of a protocol that is not ours, or not plain.
    Awaited(Awaited),
}

/// `await writer.drain()`.
pub(crate) struct Drain {
    writer: Own<StreamWriter>,
    stage: Stage,
}

impl Drain {
    pub(super) fn new(writer: Own<StreamWriter>) -> Drain {
        Drain {
            writer,
            stage: Stage::Begin,
        }
    }

    /// The reader's exception, and a closing transport.
    #[inline]
    fn begin(&mut self) -> Outcome<Progress> {
        let writer = self.writer.this();
        if let Some(exception) = reader_exception(writer)? {
            return Err(raise(&exception));
        }
        self.stage = Stage::Slept;
        if writer.is_closing()? {
            return Ok(Progress::Yielded(none()));
        }
        self.help()
    }

    #[inline]
    fn help(&mut self) -> Outcome<Progress> {
        let protocol = self.writer.protocol.get().unwrap_or_else(none);
        if let Some(native) = This::<StreamReaderProtocol>::from_exact(&protocol)
            && native.is_plain()
        {
            let flow = native.upcast::<FlowControlMixin>();
            if !flow.paused.get() && !flow.connection_lost.get() {
                return Ok(Progress::Returned(none()));
            }
            self.stage = Stage::Helper(DrainHelper::new(flow.own()));
        } else {
            let helper = protocol.call_method(&originals().names.drain_helper, &[])?;
            self.stage = Stage::Awaited(Awaited::new(&helper)?);
        }
        self.resume(None)
    }
}

/// `reader.exception()`, if there is a reader.
#[inline]
fn reader_exception(writer: This<'_, StreamWriter>) -> Outcome<Option<Object>> {
    let Some(reader) = writer.reader.get() else {
        return Ok(None);
    };
    if let Some(native) = This::<StreamReader>::from_exact(&reader)
        && native.is_plain()
    {
        return Ok(native.exception.get());
    }
    let exception = reader.call_method(&originals().names.exception, &[])?;
    Ok(exception.some().cloned())
}

impl Steps for Drain {
    #[inline]
    fn resume(&mut self, thrown: Option<Object>) -> Outcome<Progress> {
        match (&mut self.stage, thrown) {
            (Stage::Begin, _) => self.begin(),
            (Stage::Slept, None) => self.help(),
            (Stage::Slept, Some(exception)) => Err(Raised::exception(&exception)),
            (Stage::Helper(helper), thrown) => helper.resume(thrown),
            (Stage::Awaited(awaited), thrown) => match awaited.resume(thrown)? {
                Progress::Returned(_) => Ok(Progress::Returned(none())),
                yielded @ Progress::Yielded(_) => Ok(yielded),
            },
        }
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        visitor.own(&self.writer)?;
        match &self.stage {
            Stage::Begin | Stage::Slept => Ok(()),
            Stage::Helper(helper) => helper.visit(visitor),
            Stage::Awaited(awaited) => awaited.visit(visitor),
        }
    }

    fn tell(&self, told: &mut Told) {
        told.waits_for(WaitKind::Write, &self.writer.this().object());
    }
}

/// `await writer.wait_closed()`.
pub(crate) struct WaitClosed {
    writer: Own<StreamWriter>,
    wait: Option<Awaited>,
}

impl WaitClosed {
    pub(super) fn new(writer: Own<StreamWriter>) -> WaitClosed {
        WaitClosed { writer, wait: None }
    }
}

impl Steps for WaitClosed {
    fn resume(&mut self, thrown: Option<Object>) -> Outcome<Progress> {
        let Some(wait) = &self.wait else {
            let protocol = self.writer.protocol.get().unwrap_or_else(none);
            let writer = self.writer.this();
            let waiter =
                protocol.call_method(&originals().names.get_close_waiter, &[&writer.object()])?;
            self.wait = Some(Awaited::new(&waiter)?);
            return self.resume(None);
        };
        match wait.resume(thrown)? {
            Progress::Returned(_) => Ok(Progress::Returned(none())),
            yielded @ Progress::Yielded(_) => Ok(yielded),
        }
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        visitor.own(&self.writer)?;
        match &self.wait {
            Some(wait) => wait.visit(visitor),
            None => Ok(()),
        }
    }

    fn tell(&self, told: &mut Told) {
        told.waits_for(WaitKind::Write, &self.writer.this().object());
    }
}
