//! `as_completed(awaitables, *, timeout=None)`.
//!
//! Up to 3.12 it returns a generator, which looks at its arguments when its first item is asked
//! for; from 3.13 on an iterator, plain and asynchronous, which looks at them at once.

use std::cell::Cell;
use std::ffi::{CStr, c_int};

use super::any_future::{add_done_callback, remove_done_callback, result_of};
use super::ensure_future::ensure_future;
use super::wait::{different, is_one_awaitable};
use crate::awaitable::{Coroutine, Steps};
use crate::ffi::{
    Arguments, Context, Function, GetSet, Method, Native, Object, ObjectCell, Outcome, Own,
    Progress, Raised, Signature, Slot, This, TypeBuilder, TypeObject, Visitor, attributes, methods,
    none, sys, text,
};
use crate::future::{Watcher, add_awaiter, discard_awaiter, thrown_exception};
use crate::imports::imports;
use crate::inspect::Told;
use crate::originals::{get, originals};
use crate::queue::{Get, Queue};
use crate::task::{Maker, Making};
use ferrio_inspect::snapshot::WaitKind;

/// What `as_completed` returns.
#[repr(C)]
pub(crate) struct AsCompleted {
    dict: ObjectCell,
    weak_references: ObjectCell,
    /// The awaitables, until they are looked at.
    awaitables: ObjectCell,
    timeout: ObjectCell,
    /// The futures that are done, in that order; None for each that is not when time is up.
    done: Slot<Own<Queue>>,
    /// A set of the futures that are not.
    todo: ObjectCell,
    /// How many items are still to be asked for.
    left: Cell<usize>,
    timer: ObjectCell,
    /// What the futures tell.
    watcher: ObjectCell,
    /// The task that waits, where that is noted: from 3.14.
    task: ObjectCell,
}

static TYPE: TypeObject = TypeObject::new();

// SAFETY: `TYPE` is built for `AsCompleted` in `build`; the offsets are those of fields that only
// CPython touches.
unsafe impl Native for AsCompleted {
    const NAME: &'static CStr = c"ferrio._ferrio._AsCompletedIterator";
    const DICT_OFFSET: Option<usize> = Some(std::mem::offset_of!(AsCompleted, dict));
    const WEAK_REFERENCES_OFFSET: Option<usize> =
        Some(std::mem::offset_of!(AsCompleted, weak_references));

    fn type_object() -> &'static TypeObject {
        &TYPE
    }

    fn create() -> Outcome<AsCompleted> {
        Ok(AsCompleted {
            dict: ObjectCell::new(),
            weak_references: ObjectCell::new(),
            awaitables: ObjectCell::new(),
            timeout: ObjectCell::new(),
            done: Slot::new(),
            todo: ObjectCell::new(),
            left: Cell::new(0),
            timer: ObjectCell::new(),
            watcher: ObjectCell::new(),
            task: ObjectCell::new(),
        })
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        self.done.visit(visitor)?;
        [
            &self.awaitables,
            &self.timeout,
            &self.todo,
            &self.timer,
            &self.watcher,
            &self.task,
        ]
        .into_iter()
        .try_for_each(|cell| cell.visit(visitor))
    }

    fn clear(&self) {
        self.done.clear();
        for cell in [
            &self.awaitables,
            &self.timeout,
            &self.todo,
            &self.timer,
            &self.watcher,
            &self.task,
        ] {
            cell.clear();
        }
    }
}

/// `as_completed(fs, timeout=timeout)`.
fn as_completed(awaitables: &Object, timeout: Option<&Object>) -> Outcome<Object> {
    if cfg!(Py_3_13) && originals().is_awaitable.call1(awaitables)?.is_true()? {
        let name = awaitables.type_name()?.to_text()?;
        return Err(Raised::type_error(&format!(
            "expects an iterable of awaitables, not {name}"
        )));
    }
    let iterator = Own::new(AsCompleted::create()?)?;
    iterator.awaitables.set(awaitables.clone());
    iterator.timeout.assign(timeout.cloned());
    if cfg!(Py_3_13) {
        iterator.this().begin()?;
    }
    Ok(iterator.into_object())
}

impl This<'_, AsCompleted> {
    /// Makes futures of the awaitables and has them tell when they are done; does nothing the
    /// second time.
    fn begin(self) -> Outcome<()> {
        let Some(awaitables) = self.awaitables.take() else {
            return Ok(());
        };
        if cfg!(not(Py_3_13)) && is_one_awaitable(&awaitables)? {
            let name = awaitables.type_name()?.to_text()?;
            return Err(Raised::type_error(&format!(
                "expect an iterable of futures, not {name}"
            )));
        }
        let timeout = self.timeout.take();
        self.done.set(Own::<Queue>::make()?);
        let event_loop = imports().get_event_loop.call0()?;
        if cfg!(Py_3_14) {
            let task = originals().current_task.call0()?;
            self.task.assign(task.some().cloned());
        }
        let todo = Object::set()?;
        for awaitable in different(&awaitables)? {
            let _making = Making::by(Maker::AsCompleted, 0);
            todo.set_add(&ensure_future(&awaitable, Some(&event_loop), None)?)?;
        }
        self.watch(&todo)?;
        let futures = todo.to_tuple()?.tuple_items().len();
        if let Some(timeout) = timeout
            && futures > 0
        {
            let handle_timeout = self.object().get_attr(&text("_handle_timeout")?)?;
            self.timer.set(
                event_loop
                    .call_method(&originals().names.call_later, &[&timeout, &handle_timeout])?,
            );
        }
        self.todo.set(todo);
        self.left.set(futures);
        Ok(())
    }

    fn watch(self, futures: &Object) -> Outcome<()> {
        let name = if cfg!(Py_3_13) {
            "_AsCompletedIterator._handle_completion"
        } else {
            "as_completed.<locals>._on_completion"
        };
        let watcher = Watcher::make(self.own().into_object(), name, |iterator, future| {
            match This::<AsCompleted>::from_exact(iterator) {
                Some(iterator) => iterator.one_is_done(future),
                None => Err(Raised::type_error("an iterator was expected")),
            }
        })?;
        let context = Context::copy_current()?;
        for future in futures.to_tuple()?.tuple_items() {
            add_done_callback(future, &watcher, &context)?;
            if let Some(task) = self.task.get() {
                add_awaiter(future, &task)?;
            }
        }
        self.watcher.set(watcher);
        Ok(())
    }

    /// The futures that are not done.
    fn todo(self) -> Outcome<Object> {
        self.value().todo.get().map_or_else(Object::set, Ok)
    }

    fn put(self, future: &Object) -> Outcome<()> {
        match self.value().done.get() {
            Some(done) => done.this().put_nowait(future),
            None => Ok(()),
        }
    }

    fn forget_task_of(self, future: &Object) -> Outcome<()> {
        match self.task.get() {
            Some(task) => discard_awaiter(future, &task),
            None => Ok(()),
        }
    }

    fn one_is_done(self, future: &Object) -> Outcome<()> {
        let todo = self.todo()?;
        if !todo.is_true()? {
            return Ok(()); // Time was up before.
        }
        todo.set_discard(future)?;
        self.forget_task_of(future)?;
        self.put(future)?;
        if !todo.is_true()?
            && let Some(timer) = self.timer.get()
        {
            timer.call_method(&imports().names.cancel, &[])?;
        }
        Ok(())
    }

    /// Time is up.
    fn handle_timeout(self) -> Outcome<()> {
        let todo = self.todo()?;
        let watcher = self.watcher.get().unwrap_or_else(none);
        for future in todo.to_tuple()?.tuple_items() {
            remove_done_callback(future, &watcher)?;
            self.forget_task_of(future)?;
            self.put(&none())?;
        }
        todo.call_method(&originals().names.clear, &[]).map(drop)
    }

    /// Counts an item, if there is one left.
    fn count_down(self) -> bool {
        let left = self.left.get();
        self.left.set(left.saturating_sub(1));
        left > 0
    }

    /// A coroutine that waits for the next future and returns its result.
    fn next(self) -> Outcome<Option<Object>> {
        self.begin()?;
        if !self.count_down() {
            return Ok(None);
        }
        self.coroutine(&originals().wait_for_one, Wanted::Result)
            .map(Some)
    }

    fn coroutine(self, function: &ObjectCell, wanted: Wanted) -> Outcome<Object> {
        let function = function.get().unwrap_or_else(none);
        let Some(function) = This::<Function>::from_exact(&function) else {
            return Err(Raised::runtime_error("the module is not whole"));
        };
        let plan = WaitForOne {
            iterator: self.own(),
            wanted,
            get: None,
        };
        Coroutine::make(function, plan)
    }

    /// The futures that are not done.
    fn unfinished(self) -> Vec<Object> {
        match self.todo.get().map(|todo| todo.items()) {
            Some(Ok(futures)) => futures,
            Some(Err(raised)) => {
                raised.discard(); // Who looks sees as much as can be had.
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    /// A generator's `throw` and `close`: there is nothing to come any more.
    fn end(self) {
        self.awaitables.clear();
        self.left.set(0);
    }
}

/// What the coroutine is to give.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Result,
    /// The future itself, if there is one more: `__anext__`.
    Future,
}

/// The body of the coroutines that the iterator gives.
pub(crate) struct WaitForOne {
    iterator: Own<AsCompleted>,
    wanted: Wanted,
    /// The wait, once it has begun.
    get: Option<Get>,
}

impl Steps for WaitForOne {
    fn resume(&mut self, thrown: Option<Object>) -> Outcome<Progress> {
        let get = match &mut self.get {
            Some(get) => get,
            None => {
                if self.wanted == Wanted::Future && !self.iterator.this().count_down() {
                    // SAFETY: a built-in class.
                    let class = unsafe { Object::from_borrowed(sys::PyExc_StopAsyncIteration) };
                    return Err(Raised::exception(&class.call0()?));
                }
                let done = self
                    .iterator
                    .done
                    .get()
                    .map_or_else(Own::<Queue>::make, Ok)?;
                self.get.insert(Get::new(done))
            }
        };
        match get.resume(thrown) {
            Ok(Progress::Yielded(item)) => Ok(Progress::Yielded(item)),
            Ok(Progress::Returned(future)) => self.found(future).map(Progress::Returned),
            Err(raised) => {
                if originals().as_completed_gives_back {
                    self.iterator.left.set(self.iterator.left.get() + 1);
                }
                Err(raised)
            }
        }
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        visitor.own(&self.iterator)?;
        match &self.get {
            Some(get) => get.visit(visitor),
            None => Ok(()),
        }
    }

    fn tell(&self, told: &mut Told) {
        told.waits_for_futures(WaitKind::Tasks, &self.iterator.this().unfinished(), true);
    }
}

impl WaitForOne {
    fn found(&self, future: Object) -> Outcome<Object> {
        if future.is_none() {
            // SAFETY: a built-in class.
            let class = unsafe { Object::from_borrowed(sys::PyExc_TimeoutError) };
            return Err(Raised::exception(&class.call0()?));
        }
        match self.wanted {
            Wanted::Result => result_of(&future),
            Wanted::Future => Ok(future),
        }
    }
}

/// Builds the type and adds the function to the module.
pub(super) fn build(module: &Object) -> Outcome<()> {
    const AS_COMPLETED: Signature<2> = Signature {
        function: "as_completed",
        names: [c"fs", c"timeout"],
        positional: 1,
        required: 1,
    };
    let mut builder = TypeBuilder::<AsCompleted>::new(c"What as_completed() returns.")
        .only_from_rust()
        .unary(sys::Py_tp_iter, |this| Ok(this.own().into_object()))
        .next(|this| this.next())
        .methods(methods(method_table()))
        .attributes(attributes(attribute_table()));
    if cfg!(Py_3_13) {
        builder = builder
            .unary(sys::Py_am_aiter, |this| Ok(this.own().into_object()))
            .unary(sys::Py_am_anext, |this| {
                this.coroutine(&originals().next_completed, Wanted::Future)
            });
    }
    builder.build(module, None)?;
    let as_completed =
        Function::make(
            &originals().as_completed,
            "ferrio",
            |_, arguments| match AS_COMPLETED.parse(arguments)? {
                [Some(awaitables), timeout] => {
                    as_completed(awaitables, timeout.and_then(Object::some))
                }
                [None, _] => Err(Raised::type_error("as_completed() needs awaitables")),
            },
        )?;
    module.set_attr(&text("as_completed")?, &as_completed.into_object())?;
    name_coroutines()
}

/// Makes the functions by which the coroutines are named. Nobody gets at them to call them.
fn name_coroutines() -> Outcome<()> {
    let never = |name: &Object| {
        Function::make(name, "ferrio._ferrio", |_, _| {
            Err(Raised::type_error("the iterator makes these coroutines"))
        })
    };
    if cfg!(Py_3_13) {
        let class = &originals().as_completed_class;
        let wait_for_one = never(&get(class, c"_wait_for_one")?)?;
        originals().wait_for_one.set(wait_for_one.into_object());
        let next = never(&get(class, c"__anext__")?)?;
        originals().next_completed.set(next.into_object());
        return Ok(());
    }
    let signatures = crate::imports::module(c"ferrio.signatures")?;
    let wait_for_one = never(&get(&signatures, c"wait_for_one")?)?;
    originals().wait_for_one.set(wait_for_one.into_object());
    Ok(())
}

fn method_table() -> Vec<Method> {
    type Self_<'a> = This<'a, AsCompleted>;
    let mut table = vec![Method::no_arguments(
        c"_handle_timeout",
        |this: Self_<'_>| this.handle_timeout().map(|()| none()),
        c"Time is up: whoever waits for what is not done gets a TimeoutError.",
    )];
    if cfg!(Py_3_13) {
        return table;
    }
    table.extend([
        Method::one_argument(
            c"send",
            |this: Self_<'_>, value: &Object| {
                if this.awaitables.is_some() && !value.is_none() {
                    return Err(Raised::type_error(
                        "can't send non-None value to a just-started generator",
                    ));
                }
                this.next()?.ok_or_else(|| Raised::stop_iteration(&none()))
            },
            c"Return the next coroutine.",
        ),
        Method::any_arguments(
            c"throw",
            |this: Self_<'_>, arguments: Arguments<'_>| {
                let exception = thrown_exception(arguments)?;
                this.end();
                Err(Raised::exception(&exception))
            },
            c"End the iteration with an exception.",
        ),
        Method::no_arguments(
            c"close",
            |this: Self_<'_>| {
                this.end();
                Ok(none())
            },
            c"End the iteration.",
        ),
    ]);
    table
}

fn attribute_table() -> Vec<GetSet> {
    type Self_<'a> = This<'a, AsCompleted>;
    let mut table = vec![
        crate::identity::class_attribute::<AsCompleted, _>(|| &originals().as_completed_class),
        GetSet::instance_dict(),
        GetSet::read_only(
            c"_todo",
            |this: Self_<'_>| this.todo(),
            c"The futures that are not done.",
        ),
        GetSet::read_only(
            c"_todo_left",
            |this: Self_<'_>| Object::from_i64(i64::try_from(this.left.get()).unwrap_or(i64::MAX)),
            c"How many items are still to be asked for.",
        ),
        GetSet::read_only(
            c"_timeout_handle",
            |this: Self_<'_>| Ok(this.timer.get().unwrap_or_else(none)),
            c"The timer of the timeout, or None.",
        ),
    ];
    if cfg!(not(Py_3_13)) {
        // `inspect.isawaitable` looks at a generator's code.
        table.push(GetSet::read_only(
            c"gi_code",
            |_: Self_<'_>| get(&originals().as_completed, c"__code__"),
            c"The code of asyncio's generator.",
        ));
    }
    table
}
