//! `Queue`, `LifoQueue` and `PriorityQueue`.
//!
//! What is in a queue stays in Rust until somebody asks for `_queue` (see `sync/deque.rs`); a
//! priority queue keeps a list from the beginning, for `heapq` works on nothing else. A subclass's
//! hooks and overridden methods are called wherever asyncio calls them.

use std::cell::Cell;
use std::ffi::{CStr, c_int};

use crate::awaitable::{Coroutine, Steps};
use crate::ffi::{
    Arguments, Attribute, Extends, Function, GetSet, Linked, LinkedList, Links, Method, Native,
    Object, ObjectCell, Outcome, Own, Progress, Raised, Signature, Slot, This, TypeBuilder,
    TypeObject, Visitor, attributes, methods, none, required, sys, text, unlink,
};
use crate::future::Future;
use crate::imports::imports;
use crate::inspect::Told;
use crate::originals::{get, originals};
use crate::sync::{
    BoundLoop, Count, Deque, Event, LoopBound, Pickled, StandsIn, WaitEvent, Waiter,
    class_attribute, is_future_cancelled, loop_bound_attributes, pickled_methods, visit_waiter,
    wake,
};
use crate::task::{current_site, is_registry_on};
use ferrio_inspect::SiteId;
use ferrio_inspect::snapshot::WaitKind;

/// In what order items come out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    FirstIn,
    LastIn,
    Smallest,
}

/// The native part of a queue.
#[repr(C)]
pub(crate) struct Queue {
    dict: ObjectCell,
    weak_references: ObjectCell,
    bound_loop: BoundLoop,
    order: Cell<Order>,
    maximum: Count,
    items: Deque,
    getters: Deque,
    putters: Deque,
    unfinished: Cell<i64>,
    /// Set while there is nothing unfinished.
    finished: Slot<Own<Event>>,
    shut_down: Cell<bool>,
    /// The line that made it.
    created: Cell<SiteId>,
    /// Its place among the queues of the process.
    links: Links,
}

/// The queues that programs have made.
static QUEUES: LinkedList<Queue> = LinkedList::new();

// SAFETY: the offset of the field.
unsafe impl Linked for Queue {
    const OFFSET: usize = std::mem::offset_of!(Queue, links);

    fn links(&self) -> &Links {
        &self.links
    }
}

/// The queues that programs have made, as they are now.
pub(crate) fn view_of_queues() -> Outcome<Vec<ferrio_inspect::snapshot::Queue>> {
    let queues = QUEUES.snapshot();
    queues.iter().map(|queue| queue.this().view()).collect()
}

/// A queue from which the newest item comes first.
#[repr(C)]
pub(crate) struct LifoQueue(Queue);

/// A queue from which the smallest item comes first.
#[repr(C)]
pub(crate) struct PriorityQueue(Queue);

static TYPE: TypeObject = TypeObject::new();
static LIFO: TypeObject = TypeObject::new();
static PRIORITY: TypeObject = TypeObject::new();

// SAFETY: `TYPE` is built for `Queue` in `build`; the offsets are those of fields that only
// CPython touches.
unsafe impl Native for Queue {
    const NAME: &'static CStr = c"ferrio._ferrio.Queue";
    const DICT_OFFSET: Option<usize> = Some(std::mem::offset_of!(Queue, dict));
    const WEAK_REFERENCES_OFFSET: Option<usize> =
        Some(std::mem::offset_of!(Queue, weak_references));

    fn type_object() -> &'static TypeObject {
        &TYPE
    }

    fn create() -> Outcome<Queue> {
        Ok(Queue::new(Order::FirstIn))
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        self.bound_loop.visit(visitor)?;
        self.maximum.visit(visitor)?;
        self.items.visit(visitor)?;
        self.getters.visit(visitor)?;
        self.putters.visit(visitor)?;
        self.finished.visit(visitor)
    }

    fn clear(&self) {
        self.bound_loop.clear();
        self.maximum.clear();
        self.items.clear();
        self.getters.clear();
        self.putters.clear();
        self.finished.clear();
    }

    fn detach(&self) {
        unlink(self);
    }
}

/// The other two, which hold a queue and nothing else.
macro_rules! ordered {
    ($name:ident, $text:literal, $type:ident, $order:expr) => {
        // SAFETY: the type is built for it in `build`; the offsets are those of the queue at
        // offset 0.
        unsafe impl Native for $name {
            const NAME: &'static CStr = $text;
            const DICT_OFFSET: Option<usize> = Queue::DICT_OFFSET;
            const WEAK_REFERENCES_OFFSET: Option<usize> = Queue::WEAK_REFERENCES_OFFSET;

            fn type_object() -> &'static TypeObject {
                &$type
            }

            fn create() -> Outcome<$name> {
                Ok($name(Queue::new($order)))
            }

            fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
                self.0.visit(visitor)
            }

            fn clear(&self) {
                self.0.clear();
            }

            fn detach(&self) {
                self.0.detach();
            }
        }

        // SAFETY: `repr(C)`, with a `Queue` as its one field; `build` gives the base.
        unsafe impl Extends<Queue> for $name {}
    };
}

ordered!(LifoQueue, c"ferrio._ferrio.LifoQueue", LIFO, Order::LastIn);
ordered!(
    PriorityQueue,
    c"ferrio._ferrio.PriorityQueue",
    PRIORITY,
    Order::Smallest
);

impl Queue {
    fn new(order: Order) -> Queue {
        Queue {
            dict: ObjectCell::new(),
            weak_references: ObjectCell::new(),
            bound_loop: BoundLoop::new(),
            order: Cell::new(order),
            maximum: Count::new(0),
            items: Deque::new(),
            getters: Deque::new(),
            putters: Deque::new(),
            unfinished: Cell::new(0),
            finished: Slot::new(),
            shut_down: Cell::new(false),
            created: Cell::new(SiteId::NONE),
            links: Links::new(),
        }
    }
}

impl Own<Queue> {
    /// `Queue()`.
    pub(crate) fn make() -> Outcome<Own<Queue>> {
        let queue = Own::new(Queue::create()?)?;
        queue.this().prepare(&Object::from_i64(0)?)?;
        Ok(queue)
    }
}

/// Wakes the first that is not done, and forgets it with those before it.
#[inline]
fn wake_next(waiters: &Deque) -> Outcome<()> {
    if waiters.is_empty()? {
        return Ok(());
    }
    wake_one(waiters)
}

fn wake_one(waiters: &Deque) -> Outcome<()> {
    while !waiters.is_empty()? {
        if wake(&waiters.pop_front()?, &none())? {
            break;
        }
    }
    Ok(())
}

fn wake_all(waiters: &Deque) -> Outcome<()> {
    while !waiters.is_empty()? {
        wake(&waiters.pop_front()?, &none())?;
    }
    Ok(())
}

/// Raises the exception without arguments, as `raise QueueEmpty` does.
#[cold]
fn raise(class: &Object) -> Raised {
    match class.call0() {
        Ok(exception) => Raised::exception(&exception),
        Err(raised) => raised,
    }
}

#[cold]
fn shut_down_error() -> Raised {
    match &originals().queue_shut_down {
        Some(class) => raise(class),
        None => Raised::runtime_error("the queue is shut down"),
    }
}

impl This<'_, Queue> {
    /// Whether nobody can have replaced a method of it.
    #[inline]
    fn is_plain(self) -> bool {
        let class = self.object().type_ptr();
        [&TYPE, &LIFO, &PRIORITY]
            .into_iter()
            .any(|native| class == native.as_ptr() && native.is_unchanged())
            && self.dict.has_no_attributes()
    }

    /// `__init__(maxsize=0)`.
    fn initialise(self, arguments: Arguments<'_>) -> Outcome<()> {
        const INIT: Signature<1> = Signature {
            function: "Queue.__init__",
            names: [c"maxsize"],
            positional: 1,
            required: 0,
        };
        let [maximum] = INIT.parse(arguments)?;
        let zero = Object::from_i64(0)?;
        self.prepare(maximum.unwrap_or(&zero))?;
        if is_registry_on() {
            self.created.set(current_site());
            QUEUES.add(self);
        }
        Ok(())
    }

    /// For who looks at the process. Nothing of the program's is called but the length of a container
    /// of its own.
    fn view(self) -> Outcome<ferrio_inspect::snapshot::Queue> {
        let count = |length: Outcome<usize>| match length {
            Ok(number) => number as u64,
            Err(raised) => {
                raised.discard(); // One that cannot be counted must not hide all the others.
                0
            }
        };
        let limit = self.maximum.get()?.to_i64();
        let room = match limit {
            Ok(limit) => u64::try_from(limit).ok().filter(|&limit| limit > 0),
            Err(raised) => {
                raised.discard(); // A limit that is no such number is shown as none.
                None
            }
        };
        Ok(ferrio_inspect::snapshot::Queue {
            created: ferrio_inspect::site(self.created.get()),
            object: self.as_ptr().addr() as u64,
            items: count(self.items.len()),
            room,
            getters: count(self.getters.len()),
            putters: count(self.putters.len()),
            unfinished: u64::try_from(self.unfinished.get()).unwrap_or(0),
        })
    }

    fn prepare(self, maximum: &Object) -> Outcome<()> {
        self.maximum.assign(maximum);
        self.getters.reset();
        self.putters.reset();
        self.unfinished.set(0);
        self.shut_down.set(false);
        let finished = Own::<Event>::make()?;
        finished.this().set()?;
        self.finished.set(finished);
        if self.is_plain() {
            return self.reset_items();
        }
        self.call(&originals().names.init, &[maximum]).map(drop)
    }

    /// The base's `_init`.
    fn reset_items(self) -> Outcome<()> {
        match self.order.get() {
            Order::FirstIn | Order::LastIn => self.items.reset(),
            Order::Smallest => self.items.assign(Some(&Object::list(Vec::new())?)),
        }
        Ok(())
    }

    /// `_queue`.
    fn python_items(self) -> Outcome<Object> {
        if self.order.get() == Order::FirstIn {
            return self.items.to_python(&originals().deque);
        }
        // SAFETY: `list` lives as long as the interpreter.
        let list = unsafe { Object::from_borrowed((&raw mut sys::PyList_Type).cast()) };
        self.items.to_python(&list)
    }

    /// Calls a method by its name.
    fn call(self, name: &Object, arguments: &[&Object]) -> Outcome<Object> {
        self.object().call_method(name, arguments)
    }

    /// `empty()`, overridden or not.
    #[inline]
    fn is_empty(self) -> Outcome<bool> {
        if self.is_plain() {
            self.items.is_empty()
        } else {
            self.call(&originals().names.empty, &[])?.is_true()
        }
    }

    /// `full()`, overridden or not.
    #[inline]
    fn is_full(self) -> Outcome<bool> {
        if self.is_plain() {
            self.has_maximum()
        } else {
            self.call(&originals().names.full, &[])?.is_true()
        }
    }

    /// The base's `full()`.
    #[inline]
    fn has_maximum(self) -> Outcome<bool> {
        if !self.maximum.is_positive()? {
            return Ok(false);
        }
        if self.is_plain() {
            let length = i64::try_from(self.items.len()?).unwrap_or(i64::MAX);
            return Count::new(length).is_at_least(&self.maximum);
        }
        let size = Count::new(0);
        size.assign(&self.call(&originals().names.qsize, &[])?);
        size.is_at_least(&self.maximum)
    }

    /// The base's `_put`.
    #[inline]
    fn put_item(self, item: &Object) -> Outcome<()> {
        if self.order.get() == Order::Smallest {
            let heap = self.python_items()?;
            return originals().heap_push.call(&[&heap, item], None).map(drop);
        }
        self.items.push_back(item)
    }

    /// The base's `_get`.
    #[inline]
    fn get_item(self) -> Outcome<Object> {
        match self.order.get() {
            Order::FirstIn => self.items.pop_front(),
            Order::LastIn => self.items.pop_back(),
            Order::Smallest => originals().heap_pop.call1(&self.python_items()?),
        }
    }

    /// `_get()`, overridden or not.
    #[inline]
    fn take_item(self) -> Outcome<Object> {
        if self.is_plain() {
            self.get_item()
        } else {
            self.call(&originals().names.get_item, &[])
        }
    }

    /// The base's `put_nowait(item)`.
    pub(crate) fn put_nowait(self, item: &Object) -> Outcome<()> {
        if self.shut_down.get() {
            return Err(shut_down_error());
        }
        if self.is_full()? {
            return Err(raise(&originals().queue_full));
        }
        if self.is_plain() {
            self.put_item(item)?;
        } else {
            self.call(&originals().names.put_item, &[item])?;
        }
        self.note_put();
        wake_next(&self.getters)
    }

    /// Whether it is a plain one in the order of coming.
    #[inline]
    fn is_plain_queue(self) -> bool {
        self.has_original_methods() && self.dict.has_no_attributes()
    }

    /// `get()`, where nobody can have replaced a method, no Python code knows of the items and there
    /// is one.
    #[inline]
    fn get_at_once(self) -> Outcome<Option<Object>> {
        if !self.is_plain_queue() {
            return Ok(None);
        }
        let item = self.items.pop_front_natively();
        if item.is_some() {
            wake_next(&self.putters)?;
        }
        Ok(item)
    }

    /// `put(item)`, where nobody can have replaced a method, no Python code knows of the items and
    /// there is no limit; whether that was so.
    #[inline]
    fn put_at_once(self, item: &Object) -> Outcome<bool> {
        let possible = self.is_plain_queue()
            && !self.value().shut_down.get()
            && self.maximum.small().is_some_and(|maximum| maximum <= 0)
            && self.items.push_back_natively(item);
        if possible {
            self.note_put();
            wake_next(&self.getters)?;
        }
        Ok(possible)
    }

    #[inline]
    fn note_put(self) {
        self.unfinished.set(self.unfinished.get() + 1);
        if let Some(finished) = self.finished.get() {
            finished.unset();
        }
    }

    /// The base's `get_nowait()`.
    fn get_nowait(self) -> Outcome<Object> {
        if self.is_empty()? {
            return Err(if self.shut_down.get() {
                shut_down_error()
            } else {
                raise(&originals().queue_empty)
            });
        }
        let item = self.take_item()?;
        wake_next(&self.putters)?;
        Ok(item)
    }

    fn task_done(self) -> Outcome<()> {
        let unfinished = self.unfinished.get();
        if unfinished <= 0 {
            return Err(Raised::value_error("task_done() called too many times"));
        }
        self.unfinished.set(unfinished - 1);
        if unfinished == 1 {
            self.set_finished()?;
        }
        Ok(())
    }

    fn set_finished(self) -> Outcome<()> {
        match self.finished.get() {
            Some(finished) => finished.this().set(),
            None => Ok(()),
        }
    }

    /// `shutdown(immediate=False)`.
    fn shut_down(self, immediate: bool) -> Outcome<()> {
        self.value().shut_down.set(true);
        if immediate {
            while !self.is_empty()? {
                self.take_item()?;
                let unfinished = self.unfinished.get();
                if unfinished > 0 {
                    self.unfinished.set(unfinished - 1);
                }
            }
            if self.unfinished.get() == 0 {
                self.set_finished()?;
            }
        }
        wake_all(&self.getters)?;
        wake_all(&self.putters)
    }

    /// The base's `_format()`.
    fn format(self) -> Outcome<String> {
        let mut parts = format!("maxsize={}", self.maximum.get()?.repr_text()?);
        if !self.items.is_empty()? {
            let items = Object::list(self.items.items()?)?.repr_text()?;
            parts += &format!(" _queue={items}");
        }
        for (name, waiters) in [("_getters", &self.getters), ("_putters", &self.putters)] {
            let count = waiters.len()?;
            if count > 0 {
                parts += &format!(" {name}[{count}]");
            }
        }
        if self.unfinished.get() != 0 {
            parts += &format!(" tasks={}", self.unfinished.get());
        }
        if self.value().shut_down.get() {
            parts += " shutdown";
        }
        Ok(parts)
    }

    /// `_format()`, overridden or not.
    fn formatted(self) -> Outcome<String> {
        if self.is_plain() {
            self.format()
        } else {
            self.call(&originals().names.format, &[])?.to_text()
        }
    }

    fn class_name(self) -> Outcome<String> {
        let class = self.object().type_object();
        class.get_attr(&text("__name__")?)?.to_text()
    }

    /// Begins to wait in one of the lists.
    #[inline]
    fn join_list(self, waiters: &Deque) -> Outcome<Waiter> {
        Waiter::join(&self.bound_loop, &self.object(), waiters)
    }

    /// A wait has failed: who was woken for nothing wakes the next, if there is `room`.
    #[cold]
    fn leave_list(
        self,
        raised: Raised,
        waiters: &Deque,
        future: &Object,
        room: impl FnOnce() -> Outcome<bool>,
    ) -> Raised {
        let exception = raised.take();
        let clean_up = || {
            match This::<Future>::from_exact(future) {
                Some(native) => {
                    native.cancel_future(None)?;
                }
                None => {
                    future.call_method(&imports().names.cancel, &[])?;
                }
            }
            waiters.remove(future)?;
            if room()? && !is_future_cancelled(future)? {
                wake_next(waiters)?;
            }
            Ok(())
        };
        match clean_up() {
            Ok(()) => Raised::exception(&exception),
            Err(raised) => raised,
        }
    }
}

/// `await queue.get()`.
pub(crate) struct Get {
    queue: Own<Queue>,
    /// Its place in the list, while it waits.
    waits: Option<Waiter>,
}

impl Get {
    pub(crate) fn new(queue: Own<Queue>) -> Get {
        Get { queue, waits: None }
    }

    /// A step that is not the whole of it.
    #[inline(never)]
    fn go_on(&mut self, thrown: Option<Object>) -> Outcome<Progress> {
        let queue = self.queue.this();
        if let Some(waiter) = &self.waits {
            match waiter.resume(thrown) {
                Ok(Progress::Yielded(item)) => return Ok(Progress::Yielded(item)),
                Ok(Progress::Returned(_)) => {}
                Err(raised) => {
                    let room = || queue.is_empty().map(|empty| !empty);
                    return Err(queue.leave_list(raised, &queue.getters, &waiter.future(), room));
                }
            }
            self.waits = None;
        }
        let plain = queue.is_plain();
        if plain && !queue.items.is_empty()? {
            let item = queue.get_item()?;
            wake_next(&queue.putters)?;
            return Ok(Progress::Returned(item));
        }
        if plain || queue.is_empty()? {
            if queue.value().shut_down.get() && queue.is_empty()? {
                return Err(shut_down_error());
            }
            let waiter = queue.join_list(&queue.getters)?;
            let first = waiter.begin();
            self.waits = Some(waiter);
            return match first {
                Some(item) => Ok(Progress::Yielded(item)),
                None => self.go_on(None),
            };
        }
        queue
            .call(&originals().names.get_nowait, &[])
            .map(Progress::Returned)
    }
}

impl Steps for Get {
    #[inline(always)]
    fn resume(&mut self, thrown: Option<Object>) -> Outcome<Progress> {
        if self.waits.is_none()
            && let Some(item) = self.queue.this().get_at_once()?
        {
            return Ok(Progress::Returned(item));
        }
        self.go_on(thrown)
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        visitor.own(&self.queue)?;
        visit_waiter(self.waits.as_ref(), visitor)
    }

    fn tell(&self, told: &mut Told) {
        told.waits_for(WaitKind::QueueGet, &self.queue.this().object());
    }
}

/// `await queue.put(item)`.
pub(crate) struct Put {
    queue: Own<Queue>,
    item: Object,
    /// Its place in the list, while it waits.
    waits: Option<Waiter>,
}

impl Put {
    /// A step that is not the whole of it.
    #[inline(never)]
    fn go_on(&mut self, thrown: Option<Object>) -> Outcome<Progress> {
        let queue = self.queue.this();
        if let Some(waiter) = &self.waits {
            match waiter.resume(thrown) {
                Ok(Progress::Yielded(item)) => return Ok(Progress::Yielded(item)),
                Ok(Progress::Returned(_)) => {}
                Err(raised) => {
                    let room = || queue.is_full().map(|full| !full);
                    return Err(queue.leave_list(raised, &queue.putters, &waiter.future(), room));
                }
            }
            self.waits = None;
        }
        if queue.is_full()? {
            if queue.value().shut_down.get() {
                return Err(shut_down_error());
            }
            let waiter = queue.join_list(&queue.putters)?;
            let first = waiter.begin();
            self.waits = Some(waiter);
            return match first {
                Some(item) => Ok(Progress::Yielded(item)),
                None => self.go_on(None),
            };
        }
        if queue.is_plain() {
            queue.put_nowait(&self.item)?;
            return Ok(Progress::Returned(none()));
        }
        queue
            .call(&originals().names.put_nowait, &[&self.item])
            .map(Progress::Returned)
    }
}

impl Steps for Put {
    #[inline(always)]
    fn resume(&mut self, thrown: Option<Object>) -> Outcome<Progress> {
        if self.waits.is_none() && self.queue.this().put_at_once(&self.item)? {
            return Ok(Progress::Returned(none()));
        }
        self.go_on(thrown)
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        visitor.own(&self.queue)?;
        visitor.object(&self.item)?;
        visit_waiter(self.waits.as_ref(), visitor)
    }

    fn tell(&self, told: &mut Told) {
        told.waits_for(WaitKind::QueuePut, &self.queue.this().object());
    }
}

/// `await queue.join()`.
pub(crate) struct Join {
    queue: Own<Queue>,
    wait: Option<WaitEvent>,
}

impl Steps for Join {
    fn resume(&mut self, thrown: Option<Object>) -> Outcome<Progress> {
        if self.wait.is_none() {
            let queue = self.queue.this();
            match queue.finished.get() {
                Some(finished) if queue.unfinished.get() > 0 => {
                    self.wait = Some(WaitEvent::new(finished));
                }
                _ => return Ok(Progress::Returned(none())),
            }
        }
        match self.wait.as_mut().map(|wait| wait.resume(thrown)) {
            Some(Ok(Progress::Yielded(item))) => Ok(Progress::Yielded(item)),
            Some(Err(raised)) => Err(raised),
            Some(Ok(Progress::Returned(_))) | None => Ok(Progress::Returned(none())),
        }
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        visitor.own(&self.queue)?;
        match &self.wait {
            Some(wait) => wait.visit(visitor),
            None => Ok(()),
        }
    }

    fn tell(&self, told: &mut Told) {
        told.waits_for(WaitKind::QueueJoin, &self.queue.this().object());
    }
}

/// Builds the Python types.
pub(crate) fn build(module: &Object) -> Outcome<()> {
    TypeBuilder::<Queue>::new(
        c"A queue between tasks: asyncio.Queue, native.\n\n\
        With `maxsize` items in it, put() waits; with 0 or less there is no limit.",
    )
    .subclassable()
    .named_as_in_python()
    .changeable()
    .init(|this, arguments| this.initialise(arguments))
    .unary(sys::Py_tp_repr, |this| {
        let (name, format) = (this.class_name()?, this.formatted()?);
        text(&format!("<{name} at {:p} {format}>", this.as_ptr()))
    })
    .unary(sys::Py_tp_str, |this| {
        let (name, format) = (this.class_name()?, this.formatted()?);
        text(&format!("<{name} {format}>"))
    })
    .methods(methods(method_table()))
    .attributes(attributes(attribute_table()))
    .build(module, None)?;
    add_functions()?;
    TypeBuilder::<LifoQueue>::new(
        c"A queue that gives its newest item first: asyncio.LifoQueue, native.",
    )
    .subclassable()
    .named_as_in_python()
    .changeable()
    .attributes(attributes(vec![class_attribute::<LifoQueue>()]))
    .build(module, Some(&TYPE))?;
    TypeBuilder::<PriorityQueue>::new(
        c"A queue that gives its smallest item first: asyncio.PriorityQueue, native.\n\n\
        Items are mostly tuples (priority, data).",
    )
    .subclassable()
    .named_as_in_python()
    .changeable()
    .attributes(attributes(vec![class_attribute::<PriorityQueue>()]))
    .build(module, Some(&TYPE))
}

fn method_table() -> Vec<Method> {
    type Self_<'a> = This<'a, Queue>;
    let mut table = pickled_methods::<Queue>(vec![
        Method::no_arguments(
            c"qsize",
            |this: Self_<'_>| Object::from_i64(i64::try_from(this.items.len()?).unwrap_or(i64::MAX)),
            c"Return the number of items in the queue.",
        ),
        Method::no_arguments(
            c"empty",
            |this: Self_<'_>| this.items.is_empty().map(Object::from_bool),
            c"Return True if there is no item in the queue.",
        ),
        Method::no_arguments(
            c"full",
            |this: Self_<'_>| this.has_maximum().map(Object::from_bool),
            c"Return True if there are `maxsize` items in the queue.",
        ),
        Method::named_argument(
            c"put_nowait",
            || ("put_nowait", c"item"),
            |this: Self_<'_>, item: &Object| this.put_nowait(item).map(|()| none()),
            c"Put an item into the queue.\n\nRaises QueueFull when there is no room.",
        ),
        Method::no_arguments(
            c"get_nowait",
            |this: Self_<'_>| this.get_nowait(),
            c"Take an item out of the queue and return it.\n\nRaises QueueEmpty when there is none.",
        ),
        Method::no_arguments(
            c"task_done",
            |this: Self_<'_>| this.task_done().map(|()| none()),
            c"Say that an item that was taken out is dealt with.\n\n\
            Raises ValueError when it is called more often than items were put.",
        ),
        Method::named_argument(
            c"_init",
            || ("_init", c"maxsize"),
            |this: Self_<'_>, _: &Object| this.reset_items().map(|()| none()),
            c"Make `_queue`; for subclasses to override.",
        ),
        Method::named_argument(
            c"_put",
            || ("_put", c"item"),
            |this: Self_<'_>, item: &Object| this.put_item(item).map(|()| none()),
            c"Put an item into `_queue`; for subclasses to override.",
        ),
        Method::no_arguments(
            c"_get",
            |this: Self_<'_>| this.get_item(),
            c"Take an item out of `_queue`; for subclasses to override.",
        ),
        Method::named_argument(
            c"_wakeup_next",
            || ("_wakeup_next", c"waiters"),
            |_: Self_<'_>, waiters: &Object| {
                let list = Deque::new();
                list.assign(Some(waiters));
                wake_next(&list).map(|()| none())
            },
            c"Wake the first of `waiters` that is not awake.",
        ),
        Method::no_arguments(
            c"_format",
            |this: Self_<'_>| text(&this.format()?),
            c"Return what str() and repr() say of it.",
        ),
        Method::class_getitem(),
    ]);
    if originals().queue_shut_down.is_some() {
        table.push(Method::any_arguments(
            c"shutdown",
            |this: Self_<'_>, arguments: Arguments<'_>| {
                const SHUTDOWN: Signature<1> = Signature {
                    function: "shutdown",
                    names: [c"immediate"],
                    positional: 1,
                    required: 0,
                };
                let [immediate] = SHUTDOWN.parse(arguments)?;
                let immediate = immediate.map_or(Ok(false), Object::is_true)?;
                this.shut_down(immediate).map(|()| none())
            },
            c"Have put() raise QueueShutDown, and get() once the queue is empty.\n\n\
            With `immediate` the queue is emptied. Everybody who waits is woken.",
        ));
    }
    table
}

impl StandsIn for Queue {
    fn original() -> &'static Object {
        &originals().queue
    }
}

impl StandsIn for LifoQueue {
    fn original() -> &'static Object {
        &originals().lifo_queue
    }
}

impl StandsIn for PriorityQueue {
    fn original() -> &'static Object {
        &originals().priority_queue
    }
}

impl LoopBound for Queue {
    fn bound_loop(&self) -> &BoundLoop {
        &self.bound_loop
    }
}

impl Pickled for Queue {
    fn state(this: This<'_, Queue>) -> Outcome<Vec<(&'static str, Object)>> {
        let mut state = vec![
            ("_maxsize", this.maximum.read()?),
            ("_getters", this.getters.read()?),
            ("_putters", this.putters.read()?),
            ("_unfinished_tasks", this.unfinished.read()?),
            (
                "_finished",
                this.finished.get().map_or_else(none, Own::into_object),
            ),
            ("_queue", this.python_items()?),
        ];
        if originals().queue_shut_down.is_some() {
            state.push(("_is_shutdown", this.value().shut_down.read()?));
        }
        Ok(state)
    }
}

fn attribute_table() -> Vec<GetSet> {
    type Self_<'a> = This<'a, Queue>;
    let mut table = loop_bound_attributes::<Queue>([
        GetSet::read_only(
            c"maxsize",
            |this: Self_<'_>| this.maximum.get(),
            c"How many items may be in the queue; 0 or less is no limit.",
        ),
        GetSet::field(
            c"_maxsize",
            |queue: &Queue| &queue.maximum,
            c"How many items may be in the queue; 0 or less is no limit.",
        ),
        GetSet::read_write(
            c"_queue",
            |this: Self_<'_>| this.python_items(),
            |this: Self_<'_>, value: Option<&Object>| {
                this.items.assign(Some(required(value, "_queue")?));
                Ok(())
            },
            c"The items: a deque, or a list where the order is another.",
        ),
        GetSet::field(
            c"_getters",
            |queue: &Queue| &queue.getters,
            c"The futures of those who wait in get().",
        ),
        GetSet::field(
            c"_putters",
            |queue: &Queue| &queue.putters,
            c"The futures of those who wait in put().",
        ),
        GetSet::field(
            c"_unfinished_tasks",
            |queue: &Queue| &queue.unfinished,
            c"How many items were put for which task_done() was not called.",
        ),
        GetSet::read_write(
            c"_finished",
            |this: Self_<'_>| Ok(this.finished.get().map_or_else(none, Own::into_object)),
            |this: Self_<'_>, value: Option<&Object>| {
                let value = required(value, "_finished")?;
                let Some(event) = This::<Event>::from_object(value) else {
                    return Err(Raised::type_error("an Event of ferrio was expected"));
                };
                this.finished.set(event.own());
                Ok(())
            },
            c"The event that join() waits for.",
        ),
    ]);
    if originals().queue_shut_down.is_some() {
        table.push(GetSet::field(
            c"_is_shutdown",
            |queue: &Queue| &queue.shut_down,
            c"Whether shutdown() was called.",
        ));
    }
    table
}

fn add_functions() -> Outcome<()> {
    let function = get(&originals().queue, c"get")?;
    let function = Function::make_method(&function, |function, queue| {
        Coroutine::make(function, Get { queue, waits: None })
    })?;
    TYPE.add_attribute(c"get", &function.into_object())?;
    let function = get(&originals().queue, c"put")?;
    let function = Function::make_method_with_argument(
        &function,
        || c"item",
        |function, queue, item| {
            let plan = Put {
                queue,
                item: item.clone(),
                waits: None,
            };
            Coroutine::make(function, plan)
        },
    )?;
    TYPE.add_attribute(c"put", &function.into_object())?;
    let function = get(&originals().queue, c"join")?;
    let function = Function::make_method(&function, |function, queue| {
        Coroutine::make(function, Join { queue, wait: None })
    })?;
    TYPE.add_attribute(c"join", &function.into_object())
}
