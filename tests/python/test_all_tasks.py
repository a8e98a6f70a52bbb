"""``asyncio.all_tasks`` and ``current_task`` see ferrio's tasks, whoever holds the names."""

# Imported before ferrio is used, as applications do: these very objects have to work.
import asyncio
import gc
import subprocess
import sys
import threading
import time
import weakref
from asyncio import all_tasks as early_all_tasks
from asyncio import current_task as early_current_task
from asyncio.tasks import all_tasks as early_tasks_all_tasks

import pytest

import ferrio
from turns import run_turn, run_turns, run_until_idle

REGISTRY = "_scheduled_tasks" if sys.version_info >= (3, 12) else "_all_tasks"


async def waits(future):
    return await future


def test_pending_tasks_are_listed(loop):
    future = loop.create_future()
    tasks = {loop.create_task(waits(future)) for _ in range(5)}
    assert asyncio.all_tasks(loop) == tasks
    run_turn(loop)
    assert asyncio.all_tasks(loop) == tasks
    assert early_all_tasks(loop) == tasks
    assert early_tasks_all_tasks(loop) == tasks
    future.set_result(None)
    run_turn(loop)
    assert asyncio.all_tasks(loop) == set()


def test_within_a_task(loop):
    async def main():
        mine = asyncio.current_task()
        assert early_current_task() is mine
        other = asyncio.create_task(asyncio.sleep(0))
        assert asyncio.all_tasks() == {mine, other}
        await other
        assert asyncio.all_tasks() == {mine}

    loop.run_until_complete(main())


def test_by_loop(loop, make_loop):
    other = make_loop()
    first = loop.create_task(waits(loop.create_future()))
    second = other.create_task(waits(other.create_future()))
    assert asyncio.all_tasks(loop) == {first}
    assert asyncio.all_tasks(other) == {second}
    for each, task in ((loop, first), (other, second)):
        task.cancel()
        run_until_idle(each)
    assert asyncio.all_tasks(loop) == asyncio.all_tasks(other) == set()


def test_done_failed_and_cancelled_ones_are_left_out(loop):
    async def fails():
        raise ZeroDivisionError

    done = loop.create_task(asyncio.sleep(0))
    failed = loop.create_task(fails())
    cancelled = loop.create_task(asyncio.sleep(1000))
    cancelled.cancel()
    pending = loop.create_task(waits(loop.create_future()))
    run_turns(loop, 3)
    assert asyncio.all_tasks(loop) == {pending}
    failed.exception()
    pending.cancel()
    run_until_idle(loop)
    assert done.done()
    assert cancelled.done()


def test_in_another_thread(loop):
    """A thread may list the tasks of a loop that runs elsewhere."""
    listed = []
    ready, go_on = threading.Event(), threading.Event()

    def look():
        ready.wait()
        listed.append(asyncio.all_tasks(loop))
        loop.call_soon_threadsafe(future.set_result, None)
        go_on.set()

    async def main():
        ready.set()
        await waits(future)

    future = loop.create_future()
    thread = threading.Thread(target=look)
    thread.start()
    task = loop.create_task(main())
    loop.run_until_complete(task)
    thread.join()
    assert listed == [{task}]


def test_the_set_does_not_keep_tasks_alive(loop, reports):
    reference = weakref.ref(loop.create_task(waits(loop.create_future())))
    run_turn(loop)
    gc.collect()
    reports.take()
    gc.collect()
    assert reference() is None
    assert asyncio.all_tasks(loop) == set()


def test_subclasses_are_listed(loop, implementation):
    class MyTask(implementation.Task):
        pass

    task = MyTask(asyncio.sleep(0), loop=loop)
    assert asyncio.all_tasks(loop) == {task}
    run_until_idle(loop)


def test_tasks_of_both_kinds(loop):
    future = loop.create_future()
    tasks = {ferrio.Task(waits(future), loop=loop), asyncio.Task(waits(future), loop=loop)}
    assert asyncio.all_tasks(loop) == tasks
    future.set_result(None)
    run_until_idle(loop)


def test_register_by_hand(loop):
    """Third-party tasks enter themselves."""
    future = loop.create_future()

    class Task:
        def __init__(self):
            self._loop = loop

        def get_loop(self):
            return loop

        def done(self):
            return False

    task = Task()
    asyncio.tasks._register_task(task)
    try:
        assert task in asyncio.all_tasks(loop)
    finally:
        asyncio.tasks._unregister_task(task)
    assert asyncio.all_tasks(loop) == set()
    future.cancel()


def test_enter_and_leave_by_hand(loop):
    """Third-party tasks say when they step."""
    task = loop.create_task(asyncio.sleep(0))
    # From 3.14 only the running loop has a current task.
    asyncio._set_running_loop(loop)
    try:
        asyncio.tasks._enter_task(loop, task)
        assert asyncio.current_task(loop) is task
        asyncio.tasks._leave_task(loop, task)
        assert asyncio.current_task(loop) is None
    finally:
        asyncio._set_running_loop(None)
    run_until_idle(loop)


def test_a_task_that_ended_is_nobody_s_current_task(loop):
    """Neither its callbacks nor other threads, while the loop waits, find it."""
    seen = []
    deadline = time.monotonic() + 30

    async def fail():
        seen.append(asyncio.current_task() is not None)
        raise ZeroDivisionError

    def look(*_):
        seen.append(asyncio.current_task(loop))

    async def main():
        kept = asyncio.create_task(fail())
        asyncio.create_task(fail())  # Ends with nobody to keep it.
        kept.add_done_callback(look)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        mine = asyncio.current_task()
        del kept
        seen.append(asyncio.current_task() is mine)
        await loop.run_in_executor(None, wait_until_nobody_is)

    def wait_until_nobody_is():
        # The loop has come to its wait when this thread has found nothing.
        while asyncio.current_task(loop) is not None:
            assert time.monotonic() < deadline
            time.sleep(0.001)

    reported = []
    loop.set_exception_handler(lambda _, context: reported.append(type(context["exception"])))
    loop.run_until_complete(main())
    assert seen == [True, True, None, True]
    assert reported == [ZeroDivisionError] * 2
    assert asyncio.current_task(loop) is None


def test_the_loop_reads_an_overridden_clock_in_no_task(make_loop, implementation):
    """Between the turns of busy tasks, too; a task that sets a timer reads it in its own name."""
    seen = []

    class Clocked(implementation.EventLoop):
        def time(self):
            seen.append(asyncio.current_task(self))
            return super().time()

    loop = make_loop(Clocked)

    async def main():
        timer = loop.call_later(1000, print)
        del seen[:]
        for _ in range(20):
            await asyncio.sleep(0)
        timer.cancel()

    loop.run_until_complete(main())
    assert seen
    assert set(seen) == {None}


NEEDS_CURRENT_TASKS = pytest.mark.skipif(
    sys.version_info >= (3, 14), reason="the thread's state has the current task since 3.14"
)


def check_current_tasks(loop, changes):
    """Let tasks that change the dict of current tasks step in turn; each must find itself there."""
    current = asyncio.tasks._current_tasks
    steps = []

    async def steps_on(change):
        for _ in range(3):
            mine = asyncio.current_task()
            assert mine.get_coro().__name__ == "steps_on"
            assert current[loop] is mine
            assert [task for key, task in current.items() if key is loop] == [mine]
            steps.append(mine)
            change(current)
            await asyncio.sleep(0)

    async def main():
        mine = asyncio.current_task()
        tasks = [loop.create_task(steps_on(change)) for change in changes]
        for task in tasks:
            await task
        assert asyncio.current_task() is mine
        assert steps == tasks * 3

    loop.run_until_complete(main())
    assert loop not in current


@NEEDS_CURRENT_TASKS
def test_the_dict_of_current_tasks_is_right_when_it_moves(loop):
    """Libraries that nest loops take an entry out and put it back."""
    others = [object() for _ in range(50)]

    def take_out_and_put_back(current):
        mine = current.pop(loop)
        assert asyncio.current_task() is None
        current[loop] = mine

    def grow(current):
        current.update((other, other) for other in others)

    def shrink(current):
        for other in others:
            current.pop(other, None)

    check_current_tasks(loop, [take_out_and_put_back, grow, take_out_and_put_back, len, shrink])


@NEEDS_CURRENT_TASKS
def test_the_dict_of_current_tasks_may_lose_what_it_has():
    """asyncio's own loop does not survive this; ours must not write where nothing is any more."""
    loop = ferrio.new_event_loop()
    loop.set_debug(False)

    def take_out(current):
        del current[loop]

    def replace(current):
        current[loop] = None

    try:
        check_current_tasks(loop, [take_out, dict.clear, replace, dict.popitem, dict.copy])
    finally:
        loop.close()


@NEEDS_CURRENT_TASKS
def test_the_dict_of_current_tasks_keeps_no_task_that_is_replaced(loop):
    """Each step's task is the only one that the dict refers to."""
    gone = []

    async def steps_on():
        for _ in range(3):
            await asyncio.sleep(0)

    async def main():
        for _ in range(3):
            task = loop.create_task(steps_on())
            weakref.finalize(task, gone.append, len(gone))
            await task
            del task
            await asyncio.sleep(0)
        counts = []
        for _ in range(100):
            await asyncio.sleep(0)
            counts.append(sys.getrefcount(asyncio.current_task()))
        assert counts == counts[:1] * 100

    loop.run_until_complete(main())
    gc.collect()
    assert len(gone) == 3


def test_a_foreign_task_steps_among_ours(loop):
    """Its enter raises if the task before it was not left."""
    seen = []

    def foreign():
        marker = object()
        asyncio.tasks._enter_task(loop, marker)
        seen.append(asyncio.current_task(loop) is marker)
        asyncio.tasks._leave_task(loop, marker)

    async def ours():
        for _ in range(5):
            loop.call_soon(foreign)
            await asyncio.sleep(0)

    loop.run_until_complete(asyncio.wait_for(ours(), 1000))
    run_until_idle(loop)
    assert seen == [True] * 5


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="no such set is in use from 3.14")
class TestTheSet:
    """The standard library's own WeakSet object, which others hold as well."""

    @pytest.fixture
    def tasks(self):
        return getattr(asyncio.tasks, REGISTRY)

    def test_is_still_a_weak_set(self, tasks):
        assert isinstance(tasks, weakref.WeakSet)

    def test_contains_iterates_and_counts(self, loop, tasks):
        before = len(tasks)
        ours = ferrio.Task(waits(loop.create_future()), loop=loop)
        theirs = asyncio.Task(waits(loop.create_future()), loop=loop)
        assert ours in tasks
        assert theirs in tasks
        assert object() not in tasks
        assert list(tasks).count(ours) == 1
        assert list(tasks).count(theirs) == 1
        assert len(tasks) == before + 2
        assert bool(tasks)
        for task in (ours, theirs):
            task.cancel()
        run_until_idle(loop)
        assert ours not in tasks

    def test_copies_and_unions(self, loop, tasks):
        ours = ferrio.Task(waits(loop.create_future()), loop=loop)
        assert ours in set(tasks)
        assert ours in tasks.copy()
        assert ours in tasks | weakref.WeakSet()
        copied = tasks.copy()
        ours.cancel()
        run_until_idle(loop)
        assert ours in copied
        other = ferrio.Task(waits(loop.create_future()), loop=loop)
        assert other not in copied
        other.cancel()
        run_until_idle(loop)

    def test_adding_and_removing_a_task_of_ours(self, loop, tasks):
        ours = ferrio.Task(waits(loop.create_future()), loop=loop)
        tasks.add(ours)
        assert list(tasks).count(ours) == 1
        tasks.discard(ours)
        ours.cancel()
        run_until_idle(loop)
        assert ours not in tasks


def test_names_imported_before_ferrio():
    """In a fresh process, where everything of asyncio was imported first."""
    program = """
import asyncio
from asyncio import all_tasks, current_task
from asyncio.tasks import all_tasks as again
import ferrio

async def main():
    task = asyncio.create_task(asyncio.sleep(0))
    mine = current_task()
    assert type(mine) is ferrio.Task, type(mine)
    assert all_tasks() == again() == asyncio.all_tasks() == {task, mine}
    await task

ferrio.run(main())
print("ok")
"""
    outcome = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert (outcome.stdout, outcome.stderr) == ("ok\n", "")


@pytest.mark.skipif(sys.version_info < (3, 14), reason="CPython has that list from 3.14")
@pytest.mark.parametrize(
    ("before", "own"),
    [
        ("", []),
        # A task of another size than ferrio knows: it keeps a list of its own.
        ("_asyncio.Task = type('Task', (_asyncio.Task,), {'__slots__': ('more',)})", ["Task-1"]),
    ],
    ids=["of known layout", "of unknown layout"],
)
def test_whether_tasks_are_in_cpythons_own_list(before, own):
    program = f"""
import asyncio, _asyncio
{before}
import ferrio
from ferrio import _ferrio

async def main():
    mine = asyncio.current_task()
    assert asyncio.all_tasks() == {{mine}}, asyncio.all_tasks()
    theirs = asyncio.Task(asyncio.sleep(0))
    assert asyncio.all_tasks() == {{mine, theirs}}, asyncio.all_tasks()
    print([task.get_name() for task in _ferrio._all_tasks()])

ferrio.run(main())
"""
    outcome = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert (outcome.stdout, outcome.stderr) == (f"{own}\n", "")


def test_a_thread_that_ends_leaves_its_tasks(loop):
    """From 3.14 the tasks that a thread made are in a list of that thread's."""
    made = []
    future = loop.create_future()
    thread = threading.Thread(target=lambda: made.append(loop.create_task(waits(future))))
    thread.start()
    thread.join()
    here = loop.create_task(waits(future))
    assert asyncio.all_tasks(loop) == {here, *made}
    future.set_result(None)
    run_until_idle(loop)
    assert asyncio.all_tasks(loop) == set()


def test_many_tasks_come_and_go_while_they_are_listed(loop):
    async def main():
        future = loop.create_future()
        tasks = [asyncio.create_task(waits(asyncio.shield(future))) for _ in range(200)]
        for index, task in enumerate(tasks):
            if index % 3 == 0:
                task.cancel()
            if index % 7 == 0:
                await asyncio.sleep(0)
            assert asyncio.current_task() in asyncio.all_tasks()
        future.set_result(None)
        await asyncio.gather(*tasks, return_exceptions=True)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    loop.run_until_complete(main())
