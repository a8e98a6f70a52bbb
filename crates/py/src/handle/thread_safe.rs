//! What `call_soon_threadsafe` returns from 3.14 on: a handle that other threads may ask.
//!
//! While its callback runs, `cancel()` and `cancelled()` of another thread wait until it has come
//! to its end: before, it would be a matter of luck whether "cancelled" means "not called". asyncio
//! has a lock in each such handle. Here the interpreter's lock keeps the fields consistent, and
//! something to wait on is made by the thread that has to wait: hardly ever.

use std::cell::Cell;
use std::ffi::{CStr, c_int};

use super::Handle;
use crate::event_loop::EventLoop;
use crate::ffi::{
    Extends, FreeList, Method, Native, Object, ObjectCell, Outcome, Own, SavedException, This,
    TypeBuilder, TypeObject, Visitor, attributes, methods, none, text, thread_id,
};
use crate::identity;
use crate::imports::{imports, module};

/// A handle that knows which thread runs its callback.
#[repr(C)]
pub(crate) struct ThreadSafeHandle {
    /// First, so that one's methods work on the other.
    handle: Handle,
    /// The thread that runs the callback now.
    runner: Cell<Option<u64>>,
    /// A `threading.Event` that is set at its end, if anybody waits for that.
    end: ObjectCell,
}

static TYPE: TypeObject = TypeObject::new();
static FREE_LIST: FreeList = FreeList::new();

// SAFETY: `TYPE` is built for `ThreadSafeHandle` in `build`; the offset is that of the handle at
// offset 0.
unsafe impl Native for ThreadSafeHandle {
    const NAME: &'static CStr = c"ferrio._ferrio.ThreadSafeHandle";
    const WEAK_REFERENCES_OFFSET: Option<usize> = Handle::WEAK_REFERENCES_OFFSET;

    fn free_list() -> Option<&'static FreeList> {
        Some(&FREE_LIST)
    }

    fn type_object() -> &'static TypeObject {
        &TYPE
    }

    fn create() -> Outcome<ThreadSafeHandle> {
        Ok(ThreadSafeHandle::around(Handle::empty()))
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        self.end.visit(visitor)?;
        self.handle.visit(visitor)
    }

    fn clear(&self) {
        self.handle.clear();
    }
}

// SAFETY: `ThreadSafeHandle` is `repr(C)` and begins with a `Handle`; `build` gives the base.
unsafe impl Extends<Handle> for ThreadSafeHandle {}

impl ThreadSafeHandle {
    fn around(handle: Handle) -> ThreadSafeHandle {
        handle.thread_safe.set(true);
        ThreadSafeHandle {
            handle,
            runner: Cell::new(None),
            end: ObjectCell::new(),
        }
    }
}

impl Own<ThreadSafeHandle> {
    /// Like [`Own::<Handle>::make_queued`].
    pub(crate) fn make_queued(
        event_loop: This<'_, EventLoop>,
        callback: &Object,
        arguments: &[Object],
        context: Option<&Object>,
    ) -> Outcome<Own<Handle>> {
        let handle = Handle::bound(event_loop, callback, arguments, context)?;
        let made = Own::new_untracked(ThreadSafeHandle::around(handle))?;
        let handle = made.this().upcast::<Handle>();
        handle.made_to_wait(event_loop)?;
        Ok(handle.own())
    }
}

impl This<'_, ThreadSafeHandle> {
    /// Runs the callback; others wait meanwhile.
    pub(super) fn run(self) -> Outcome<()> {
        self.wait_for_end()?;
        let before = self.runner.replace(Some(thread_id()));
        let ran = self.upcast::<Handle>().run_now();
        self.runner.set(before);
        if before.is_none()
            && let Some(end) = self.end.take()
        {
            // What the run raised is on its way.
            let saved = SavedException::new();
            let told = text("set").and_then(|set| end.call_method(&set, &[]));
            if let Err(raised) = told {
                raised.report_unraisable(&self.object());
            }
            drop(saved);
        }
        ran
    }

    /// Returns when no other thread runs the callback.
    fn wait_for_end(self) -> Outcome<()> {
        while self.is_run_elsewhere() {
            let end = match self.end.get() {
                Some(end) => end,
                None => self.make_end()?,
            };
            // It may have ended, or another may have made one, while this one was being made.
            if self.is_run_elsewhere() && self.end.address() == end.as_ptr() {
                end.call_method(&text("wait")?, &[])?;
            }
        }
        Ok(())
    }

    fn is_run_elsewhere(self) -> bool {
        self.runner
            .get()
            .is_some_and(|runner| runner != thread_id())
    }

    fn make_end(self) -> Outcome<Object> {
        let made = module(c"threading")?.get_attr(&text("Event")?)?.call0()?;
        if self.is_run_elsewhere() && !self.end.is_some() {
            self.end.set(made.clone());
        }
        Ok(made)
    }
}

/// Builds the Python type.
pub(super) fn build(module: &Object) -> Outcome<()> {
    type Self_<'a> = This<'a, ThreadSafeHandle>;
    TypeBuilder::<ThreadSafeHandle>::new(
        c"A callback that the event loop will call, as loop.call_soon_threadsafe() returns it.\n\n\
        Any thread may cancel it and ask whether it was cancelled; while the callback runs in\n\
        another thread, either waits for its end.",
    )
    .only_from_rust()
    .methods(methods(vec![
        Method::no_arguments(
            c"cancel",
            |this: Self_<'_>| {
                this.wait_for_end()?;
                this.upcast::<Handle>().cancel()?;
                Ok(none())
            },
            c"Cancel the call; does nothing if it was made or cancelled already.",
        ),
        Method::no_arguments(
            c"cancelled",
            |this: Self_<'_>| {
                this.wait_for_end()?;
                Ok(Object::from_bool(this.upcast::<Handle>().is_cancelled()))
            },
            c"Return True if the call was cancelled.",
        ),
    ]))
    .attributes(attributes(vec![identity::class_attribute::<
        ThreadSafeHandle,
        _,
    >(|| {
        let imports = imports();
        imports
            .asyncio_thread_safe_handle
            .as_ref()
            .unwrap_or(&imports.asyncio_handle)
    })]))
    .build(module, Some(Handle::type_object()))
}
