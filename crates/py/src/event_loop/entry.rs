//! What stands in the ready queue.

use std::ffi::c_int;

use ferrio_core::Readiness;

use super::socket_calls::SocketCall;
use crate::ffi::{Object, Own, Visitor};
use crate::handle::Handle;
use crate::task::Task;
use crate::thread_pool::Offloaded;
use crate::transport::AnyTransport;

/// One thing to run.
///
/// The tag takes a word: what follows a byte would be copied in pieces that overlap, and who loads
/// one right after it was stored has to wait.
#[repr(u64)]
pub(crate) enum Entry {
    /// A task's first step, or the one after it yielded None.
    Step(Own<Task>),
    /// The future that the task waits for is done.
    Wake(Own<Task>),
    /// A callback that Python holds a handle of.
    Handle(Own<Handle>),
    /// A callable that waited for a future which is done.
    Done {
        function: Object,
        future: Object,
        context: Object,
    },
    /// A transport's socket is ready.
    Io {
        transport: AnyTransport,
        readiness: Readiness,
    },
    /// The socket of a `sock_*` call is ready.
    SocketCall(Own<SocketCall>),
    /// A call that was made in a thread has come to its end.
    Offloaded(Offloaded),
}

const _: () = assert!(size_of::<Option<Entry>>() == 32);

// SAFETY: entries cross threads only through the inject queue, whose two ends hold the
// interpreter when they touch one: `call_soon_threadsafe`, a thread of the loop's pool, and the
// loop's own turn.
unsafe impl Send for Entry {}

impl Entry {
    /// For `tp_traverse`.
    pub(crate) fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        match self {
            Entry::Step(task) | Entry::Wake(task) => visitor.own(task),
            Entry::Handle(handle) => visitor.own(handle),
            Entry::Done {
                function,
                future,
                context,
            } => {
                visitor.object(function)?;
                visitor.object(future)?;
                visitor.object(context)
            }
            Entry::Io { transport, .. } => transport.visit(visitor),
            Entry::SocketCall(call) => visitor.own(call),
            Entry::Offloaded(outcome) => outcome.visit(visitor),
        }
    }
}
