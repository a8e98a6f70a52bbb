//! asyncio's own versions of what is native here: whom the natives stand for, and what they use.

use std::ffi::CStr;

use crate::combinators::{LostException, lost_exception};
use crate::ffi::{LookedUp, Object, ObjectCell, Outcome, interned};
use crate::imports::module;

/// References that live as long as the process.
pub(crate) struct Originals {
    pub(crate) lock: Object,
    pub(crate) event: Object,
    pub(crate) condition: Object,
    pub(crate) semaphore: Object,
    pub(crate) bounded_semaphore: Object,
    pub(crate) barrier: Object,
    /// `_BarrierState`, the enumeration of what a barrier is doing.
    pub(crate) barrier_state: Object,
    pub(crate) broken_barrier_error: Object,
    /// `asyncio.locks`.
    pub(crate) locks_module: Object,
    pub(crate) queue: Object,
    pub(crate) priority_queue: Object,
    pub(crate) lifo_queue: Object,
    /// `_ContextManagerMixin`, whose `__aenter__` and `__aexit__` locks inherit.
    pub(crate) context_manager: Object,

    pub(crate) queue_empty: Object,
    pub(crate) queue_full: Object,
    /// Missing before 3.13.
    pub(crate) queue_shut_down: Option<Object>,

    pub(crate) running_loop: Object,
    /// As `running_loop`, but RuntimeError where there is none.
    pub(crate) required_running_loop: Object,
    pub(crate) deque: Object,
    pub(crate) heap_push: Object,
    pub(crate) heap_pop: Object,
    pub(crate) coroutine_type: Object,
    pub(crate) sleep: Object,
    pub(crate) timeout: Object,
    pub(crate) timeout_at: Object,
    pub(crate) timeout_class: Object,
    /// `_State`, the enumeration of where a timeout is in its life.
    pub(crate) timeout_state: Object,
    pub(crate) wait_for: Object,
    pub(crate) task_group: Object,
    pub(crate) base_exception_group: Object,
    pub(crate) release_waiter: Object,
    pub(crate) cancel_and_wait: Object,
    pub(crate) partial: Object,
    pub(crate) round: Object,
    pub(crate) exception_group: Object,
    pub(crate) gathering_future: Object,
    pub(crate) as_completed: Object,
    /// What `as_completed` returns: `_AsCompletedIterator`, up to 3.12 a generator.
    pub(crate) as_completed_class: Object,
    /// The functions that its coroutines are named after; filled when it is built.
    pub(crate) wait_for_one: ObjectCell,
    pub(crate) next_completed: ObjectCell,
    pub(crate) is_awaitable: Object,
    pub(crate) shield: Object,
    pub(crate) wait: Object,
    pub(crate) is_future: Object,
    /// `_log_on_exception`; missing in many versions.
    pub(crate) log_on_exception: Option<Object>,
    pub(crate) ensure_future: Object,
    pub(crate) current_task: Object,
    /// The keyword name `("loop",)`.
    pub(crate) loop_keyword: Object,
    pub(crate) python_set_result_unless_cancelled: Object,
    /// The native one, which the timer of a sleep calls; filled when it is built.
    pub(crate) set_result_unless_cancelled: ObjectCell,
    /// `asyncio.futures._convert_future_exc`; None where there is none.
    pub(crate) convert_future_exception: Option<Object>,
    pub(crate) names: Names,

    /// Whether `Condition.wait` passes a notification on when it fails (3.12.2, 3.13).
    pub(crate) condition_renotifies: bool,
    /// Whether `Semaphore.acquire` wakes all it may when it ends (3.12.2, 3.13).
    pub(crate) semaphore_wakes_all: bool,
    /// Whether an expired `Timeout` puts a TimeoutError into what other exceptions came from (3.13).
    pub(crate) timeout_marks_others: bool,
    /// Whether a `TaskGroup` that refuses a coroutine closes it (3.13).
    pub(crate) group_closes_coroutines: bool,
    /// Whether it is told at once of a task that was done before it was added (3.12, 3.13).
    pub(crate) group_hears_of_done_at_once: bool,
    /// Whether it names its tasks when they are made already (before 3.13).
    pub(crate) group_names_afterwards: bool,
    /// Whether it leaves the requests to cancel its parent as they are when it raises, and counts
    /// subclasses of CancelledError (3.13).
    pub(crate) group_keeps_cancel_count: bool,
    /// Whether it forgets its parent and its errors when its block has ended (3.13.1).
    pub(crate) group_forgets: bool,
    /// Whether its `create_task` hands every keyword on (3.14).
    pub(crate) group_takes_any_keyword: bool,
    /// Whether `wait_for` makes a task of what it is given (before 3.12).
    pub(crate) wait_for_makes_task: bool,
    /// Whether a child that outlives its `gather` is not awaited any more (3.14, later on).
    pub(crate) gather_forgets_all: bool,
    /// What `shield` does with an exception that comes after its cancellation.
    pub(crate) shield_loses: LostException,
    /// Whether a wait of `as_completed` that fails can be made again (3.14, later on).
    pub(crate) as_completed_gives_back: bool,
}

/// Attribute names, interned.
macro_rules! names {
    ($($field:ident = $text:literal),* $(,)?) => {
        /// Interned attribute names.
        pub(crate) struct Names { $(pub(crate) $field: Object),* }

        impl Names {
            fn load() -> Outcome<Names> {
                Ok(Names { $($field: interned($text)?),* })
            }
        }
    };
}

names! {
    abort = c"_abort",
    acquire = c"acquire",
    add_note = c"add_note",
    append = c"append",
    call_later = c"call_later",
    cancel_message = c"_cancel_message",
    cancelled = c"cancelled",
    cancelling = c"cancelling",
    create_task = c"create_task",
    clear = c"clear",
    done = c"done",
    empty = c"empty",
    exception = c"exception",
    format = c"_format",
    full = c"full",
    get_item = c"_get",
    get_nowait = c"get_nowait",
    init = c"_init",
    is_base_error = c"_is_base_error",
    locked = c"locked",
    log_destroy_pending = c"_log_destroy_pending",
    make_cancelled_error = c"_make_cancelled_error",
    notify = c"notify",
    on_task_done = c"_on_task_done",
    on_timeout = c"_on_timeout",
    pop = c"pop",
    popleft = c"popleft",
    put_item = c"_put",
    put_nowait = c"put_nowait",
    qsize = c"qsize",
    release = c"release",
    remove = c"remove",
    remove_done_callback = c"remove_done_callback",
    reschedule = c"reschedule",
    uncancel = c"uncancel",
    wait = c"wait",
    run_in_any_executor = c"_run_in_any_executor",
    start_worker = c"_start_worker",
    usable_default_executor = c"_usable_default_executor",
}

impl Originals {
    pub(crate) fn set_result_unless_cancelled(&self) -> Object {
        self.set_result_unless_cancelled
            .get()
            .unwrap_or_else(|| self.python_set_result_unless_cancelled.clone())
    }
}

static ORIGINALS: LookedUp<Originals> = LookedUp::new();

/// The looked-up objects.
///
/// # Panics
/// Before [`load`]; no code of ours runs before it.
#[inline]
pub(crate) fn originals() -> &'static Originals {
    ORIGINALS.get()
}

/// Looks everything up; called once, by the module's import.
pub(crate) fn load() -> Outcome<()> {
    let events = module(c"asyncio.events")?;
    let locks = module(c"asyncio.locks")?;
    let queues = module(c"asyncio.queues")?;
    let tasks = module(c"asyncio.tasks")?;
    let futures = module(c"asyncio.futures")?;
    let timeouts = module(c"asyncio.timeouts")?;
    let builtins = module(c"builtins")?;
    let timeout_class = get(&timeouts, c"Timeout")?;
    let wait_for = get(&tasks, c"wait_for")?;
    let task_group = get(&module(c"asyncio.taskgroups")?, c"TaskGroup")?;
    let create_group_task = get(&task_group, c"create_task")?;
    // Where the block's end was divided into two functions, the second is the one that forgets.
    let inner_exit = task_group.find_attr(&interned(c"_aexit")?)?;
    let split_exit = inner_exit.is_some();
    let exit_of_group = match inner_exit {
        Some(function) => function,
        None => get(&task_group, c"__aexit__")?,
    };
    let condition = get(&locks, c"Condition")?;
    let semaphore = get(&locks, c"Semaphore")?;
    let log_on_exception = tasks.find_attr(&interned(c"_log_on_exception")?)?;
    let as_completed_class = match tasks.find_attr(&interned(c"_AsCompletedIterator")?)? {
        Some(class) => class,
        None => get(&module(c"types")?, c"GeneratorType")?,
    };
    let originals = Originals {
        as_completed_gives_back: gives_back(&as_completed_class)?,
        as_completed: get(&tasks, c"as_completed")?,
        as_completed_class,
        wait_for_one: ObjectCell::new(),
        next_completed: ObjectCell::new(),
        is_awaitable: get(&module(c"inspect")?, c"isawaitable")?,
        condition_renotifies: condition.find_attr(&interned(c"_notify")?)?.is_some(),
        semaphore_wakes_all: returns_truth(&get(&semaphore, c"_wake_up_next")?)?,
        group_closes_coroutines: uses_name(&create_group_task, "close")?,
        group_hears_of_done_at_once: uses_name(&create_group_task, "done")?,
        group_names_afterwards: uses_name(&create_group_task, "_set_task_name")?,
        group_keeps_cancel_count: uses_name(&exit_of_group, "cancelling")?,
        group_forgets: split_exit,
        group_takes_any_keyword: !has_keyword(&create_group_task, "name")?,
        task_group,
        base_exception_group: get(&builtins, c"BaseExceptionGroup")?,
        timeout_marks_others: uses_name(&get(&timeout_class, c"__aexit__")?, "issubclass")?,
        wait_for_makes_task: !uses_name(&wait_for, "timeouts")?,
        lock: get(&locks, c"Lock")?,
        event: get(&locks, c"Event")?,
        condition,
        semaphore,
        bounded_semaphore: get(&locks, c"BoundedSemaphore")?,
        barrier: get(&locks, c"Barrier")?,
        barrier_state: get(&locks, c"_BarrierState")?,
        broken_barrier_error: get(&module(c"asyncio.exceptions")?, c"BrokenBarrierError")?,
        locks_module: locks.clone(),
        context_manager: get(&locks, c"_ContextManagerMixin")?,
        queue: get(&queues, c"Queue")?,
        priority_queue: get(&queues, c"PriorityQueue")?,
        lifo_queue: get(&queues, c"LifoQueue")?,
        queue_empty: get(&queues, c"QueueEmpty")?,
        queue_full: get(&queues, c"QueueFull")?,
        queue_shut_down: queues.find_attr(&interned(c"QueueShutDown")?)?,
        running_loop: get(&events, c"_get_running_loop")?,
        required_running_loop: get(&events, c"get_running_loop")?,
        deque: get(&module(c"collections")?, c"deque")?,
        heap_push: get(&module(c"heapq")?, c"heappush")?,
        heap_pop: get(&module(c"heapq")?, c"heappop")?,
        coroutine_type: get(&module(c"types")?, c"CoroutineType")?,
        sleep: get(&tasks, c"sleep")?,
        timeout: get(&timeouts, c"timeout")?,
        timeout_at: get(&timeouts, c"timeout_at")?,
        timeout_class,
        timeout_state: get(&timeouts, c"_State")?,
        wait_for,
        release_waiter: get(&tasks, c"_release_waiter")?,
        cancel_and_wait: get(&tasks, c"_cancel_and_wait")?,
        partial: get(&module(c"functools")?, c"partial")?,
        round: get(&builtins, c"round")?,
        exception_group: get(&builtins, c"ExceptionGroup")?,
        ensure_future: get(&tasks, c"ensure_future")?,
        current_task: get(&tasks, c"current_task")?,
        loop_keyword: Object::tuple(&[&interned(c"loop")?])?,
        gathering_future: get(&tasks, c"_GatheringFuture")?,
        shield_loses: lost_exception(&get(&tasks, c"shield")?, log_on_exception.is_some())?,
        shield: get(&tasks, c"shield")?,
        wait: get(&tasks, c"wait")?,
        is_future: get(&futures, c"isfuture")?,
        log_on_exception,
        gather_forgets_all: tasks
            .find_attr(&interned(c"_discard_awaited_by")?)?
            .is_some(),
        python_set_result_unless_cancelled: get(&futures, c"_set_result_unless_cancelled")?,
        set_result_unless_cancelled: ObjectCell::new(),
        convert_future_exception: futures.find_attr(&interned(c"_convert_future_exc")?)?,
        names: Names::load()?,
    };
    ORIGINALS.fill(originals);
    Ok(())
}

/// `object.name`.
pub(crate) fn get(object: &Object, name: &CStr) -> Outcome<Object> {
    object.get_attr(&interned(name)?)
}

/// Whether a Python function uses a global or an attribute of that name.
fn uses_name(function: &Object, name: &str) -> Outcome<bool> {
    let names = get(&get(function, c"__code__")?, c"co_names")?;
    for used in names.tuple_items() {
        if used.to_text()? == name {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a Python function has a keyword-only parameter of that name.
fn has_keyword(function: &Object, name: &str) -> Outcome<bool> {
    let code = get(function, c"__code__")?;
    let positional = get(&code, c"co_argcount")?.to_i64()?;
    let keywords = get(&code, c"co_kwonlyargcount")?.to_i64()?;
    let variables = get(&code, c"co_varnames")?;
    let first = usize::try_from(positional).unwrap_or(0);
    let count = usize::try_from(keywords).unwrap_or(0);
    for parameter in variables.tuple_items().iter().skip(first).take(count) {
        if parameter.to_text()? == name {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a coroutine of `_AsCompletedIterator` counts its item again when it fails.
fn gives_back(class: &Object) -> Outcome<bool> {
    let Some(wait_for_one) = class.find_attr(&interned(c"_wait_for_one")?)? else {
        return Ok(false);
    };
    let names = get(&get(&wait_for_one, c"__code__")?, c"co_names")?;
    let left = interned(c"_todo_left")?;
    Ok(names.tuple_items().iter().any(|name| name.is(&left)))
}

/// Whether True is among the constants of a Python function.
fn returns_truth(function: &Object) -> Outcome<bool> {
    let constants = get(&get(function, c"__code__")?, c"co_consts")?;
    let truth = Object::from_bool(true);
    Ok(constants.tuple_items().iter().any(|item| item.is(&truth)))
}
