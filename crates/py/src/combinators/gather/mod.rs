//! `gather(*awaitables, return_exceptions=False, cancel_on_error=False)`.
//!
//! The result is a future that every child tells when it is done. All children share one
//! [`Watcher`] and one context.

mod all_or_nothing;
mod assembly;

use std::cell::{Cell, OnceCell};
use std::ffi::{CStr, c_int};

use super::any_future::{End, cancel, cancel_message, end_of, make_cancelled_error, result_of};
use crate::ffi::{
    Arguments, Extends, FreeList, Function, GetSet, Method, Native, Object, ObjectCell, Outcome,
    Raised, This, TypeBuilder, TypeObject, Visitor, attributes, methods, recursive, text,
};
use crate::future::{CANCEL, Future, discard_awaiter};
use crate::imports::imports;
use crate::originals::originals;
use crate::task::{Maker, Task};

/// The future that `gather` returns.
#[repr(C)]
pub(crate) struct GatheringFuture {
    /// First, so that a future's methods work on it.
    future: Future,
    /// One for each argument, in their order; an awaitable that was passed twice is here twice.
    /// Empty until all are known: a child that ends before only has its exception seen.
    children: OnceCell<Box<[Object]>>,
    return_exceptions: Cell<bool>,
    /// `cancel_on_error`: see `all_or_nothing.rs`.
    all_or_nothing: Cell<bool>,
    /// `cancel()` was called and has cancelled a child.
    cancel_requested: Cell<bool>,
    /// How many different children there are, and how many of them are done.
    expected: Cell<usize>,
    finished: Cell<usize>,
    /// With `cancel_on_error`: the child that was the first to fail.
    first_failed: ObjectCell,
    /// The task that has called `gather`, as who waits for the children; from 3.14.
    waiter: ObjectCell,
}

static TYPE: TypeObject = TypeObject::new();
static FREE_LIST: FreeList = FreeList::new();

// SAFETY: `TYPE` is built for `GatheringFuture` in `build`; the offsets are those of the future
// at offset 0, whose fields only CPython touches.
unsafe impl Native for GatheringFuture {
    const NAME: &'static CStr = c"ferrio._ferrio._GatheringFuture";
    const DICT_OFFSET: Option<usize> = Future::DICT_OFFSET;
    const WEAK_REFERENCES_OFFSET: Option<usize> = Future::WEAK_REFERENCES_OFFSET;
    const CHAINS: bool = true;
    const FINALIZES: bool = true;

    fn free_list() -> Option<&'static FreeList> {
        Some(&FREE_LIST)
    }

    fn type_object() -> &'static TypeObject {
        &TYPE
    }

    fn create() -> Outcome<GatheringFuture> {
        Ok(GatheringFuture {
            future: Future::empty(),
            children: OnceCell::new(),
            return_exceptions: Cell::new(false),
            all_or_nothing: Cell::new(false),
            cancel_requested: Cell::new(false),
            expected: Cell::new(0),
            finished: Cell::new(0),
            first_failed: ObjectCell::new(),
            waiter: ObjectCell::new(),
        })
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        self.future.visit(visitor)?;
        self.first_failed.visit(visitor)?;
        self.waiter.visit(visitor)?;
        self.children()
            .iter()
            .try_for_each(|child| visitor.object(child))
    }

    /// The children stay, as the items of a tuple do: a cycle through them goes on through a
    /// child, which lets go of what it has.
    fn clear(&self) {
        self.future.clear();
        self.first_failed.clear();
        self.waiter.clear();
    }

    fn wants_finalize(&self) -> bool {
        self.future.wants_finalize()
    }

    fn finalize(this: This<'_, GatheringFuture>) {
        this.upcast::<Future>().report_unretrieved();
    }
}

// SAFETY: `GatheringFuture` is `repr(C)` and begins with a `Future`; `build` gives the base.
unsafe impl Extends<Future> for GatheringFuture {}

impl GatheringFuture {
    pub(crate) fn children(&self) -> &[Object] {
        self.children.get().map(|all| &**all).unwrap_or_default()
    }
}

/// What a child calls when it is done.
fn tell(outer: &Object, child: &Object) -> Outcome<()> {
    match This::<GatheringFuture>::from_exact(outer) {
        Some(outer) => outer.child_is_done(child),
        None => Err(Raised::type_error("a future of gather() was expected")),
    }
}

impl This<'_, GatheringFuture> {
    /// Those of the children that it has made, and that go on after `failed` has failed.
    #[cold]
    fn tell_of_those_left(self, failed: &Object) {
        for child in self.children() {
            if let Some(task) = This::<Task>::from_exact(child)
                && !child.is(failed)
                && !task.future().is_done()
                && task.maker() == Maker::Gather
            {
                task.tell_left_by_gather();
            }
        }
    }

    /// A child is done.
    fn child_is_done(self, child: &Object) -> Outcome<()> {
        let future = self.upcast::<Future>();
        self.finished.set(self.finished.get() + 1);
        self.forget_waiter_of(std::slice::from_ref(child))?;
        if self.children.get().is_none() || future.is_done() {
            return end_of(child).map(drop); // Its exception counts as seen.
        }
        if self.all_or_nothing.get() {
            return self.child_of_all_is_done(child);
        }
        if !self.return_exceptions.get() {
            let exception = match end_of(child)? {
                End::Result => None,
                End::Exception(exception) => Some(exception),
                End::Cancelled => Some(make_cancelled_error(child)?),
            };
            if let Some(exception) = exception {
                self.tell_of_those_left(child);
                if originals().gather_forgets_all {
                    self.forget_waiter_of(self.children())?;
                }
                return future.set_exception(&exception);
            }
        }
        if self.all_are_done() {
            self.finish()
        } else {
            Ok(())
        }
    }

    fn all_are_done(self) -> bool {
        self.finished.get() == self.expected.get()
    }

    /// The end, when all children are done and none of their exceptions ends it.
    fn finish(self) -> Outcome<()> {
        let children = self.value().children();
        let mut results = Vec::with_capacity(children.len());
        for child in children {
            results.push(match end_of(child)? {
                End::Result => result_of(child)?,
                End::Exception(exception) => exception,
                End::Cancelled => {
                    let message = cancel_message(child)?.map_or_else(|| text(""), Ok)?;
                    imports().cancelled_error.call1(&message)?
                }
            });
        }
        match children.last() {
            Some(last) if self.cancel_requested.get() => self
                .upcast::<Future>()
                .set_exception(&make_cancelled_error(last)?),
            _ => self.upcast::<Future>().set_result(Object::list(results)?),
        }
    }

    /// `cancel(msg=None)`: cancels the children; it ends when they do.
    pub(crate) fn cancel(self, message: Option<&Object>) -> Outcome<bool> {
        if self.upcast::<Future>().is_done() {
            return Ok(false);
        }
        // A gather may be the child of another, as deep as the user likes.
        recursive(c" while cancelling a gather()", || {
            if self.all_or_nothing.get() {
                return self.cancel_all(message);
            }
            let mut any = false;
            for child in self.value().children() {
                any |= cancel(child, message)?;
            }
            if any {
                self.cancel_requested.set(true);
            }
            Ok(any)
        })
    }

    /// The task that has called `gather` does not wait for these children any more.
    #[inline]
    fn forget_waiter_of(self, children: &[Object]) -> Outcome<()> {
        if cfg!(not(Py_3_14)) {
            return Ok(());
        }
        let Some(waiter) = self.waiter.get() else {
            return Ok(());
        };
        children
            .iter()
            .try_for_each(|child| discard_awaiter(child, &waiter))?;
        if self.all_are_done() && self.children.get().is_some() {
            self.waiter.clear();
        }
        Ok(())
    }
}

/// Builds the type and adds the function to the module.
pub(super) fn build(module: &Object) -> Outcome<()> {
    type Self_<'a> = This<'a, GatheringFuture>;
    let table = methods(vec![Method::any_arguments(
        c"cancel",
        |this: Self_<'_>, arguments: Arguments<'_>| {
            let [message] = CANCEL.parse(arguments)?;
            this.cancel(message.and_then(Object::some))
                .map(Object::from_bool)
        },
        c"Cancel every awaitable; return True if one was not done.",
    )]);
    let attributes = attributes(vec![
        crate::identity::class_attribute::<GatheringFuture, _>(|| &originals().gathering_future),
        GetSet::read_only(
            c"_children",
            |this: Self_<'_>| Object::list(this.value().children().to_vec()),
            c"The futures of the awaitables.",
        ),
        GetSet::read_only(
            c"_cancel_requested",
            |this: Self_<'_>| Ok(Object::from_bool(this.cancel_requested.get())),
            c"Whether cancel() has cancelled an awaitable.",
        ),
    ]);
    TypeBuilder::<GatheringFuture>::new(c"The future that gather() returns.")
        .only_from_rust()
        .methods(table)
        .attributes(attributes)
        .build(module, Some(Future::type_object()))?;
    let signatures = crate::imports::module(c"ferrio.signatures")?;
    let stands_for = signatures.get_attr(&text("gather")?)?;
    let gather = Function::make(&stands_for, "ferrio", |_, arguments| {
        assembly::gather(arguments)
    })?;
    module.set_attr(&text("gather")?, &gather.into_object())
}

/// The future that a `gather()` without awaitables returns: one of the loop's, done.
fn nothing() -> Outcome<Object> {
    let event_loop = imports().get_event_loop.call0()?;
    let future = crate::sync::create_future(&event_loop)?;
    super::any_future::set_result(&future, &Object::list(Vec::new())?)?;
    Ok(future)
}
