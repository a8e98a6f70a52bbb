"""What ferrio knows of tasks: ``tasks()``, ``task_tree()``, ``dump()``."""

import asyncio
import gc
import inspect
import io
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

import ferrio


def line_of(function, text):
    """The line of ``function`` that has ``text`` in it."""
    lines, first = inspect.getsourcelines(function)
    return first + next(number for number, line in enumerate(lines) if text in line)


def info_of(task):
    return next(info for info in ferrio.tasks() if info.name == task.get_name())


async def waits_for(awaitable, name="watched"):
    """Have a task wait for ``awaitable``; return what is known of it."""

    async def watched():
        await awaitable

    task = ferrio.Task(watched(), loop=asyncio.get_running_loop(), name=name)
    for _ in range(5):
        await ferrio.sleep(0)
    info = info_of(task)
    task.cancel()
    await ferrio.wait([task])
    return info


def test_a_running_task():
    async def main():
        (info,) = ferrio.tasks()  # here
        assert info.name == asyncio.current_task().get_name()
        assert info.coroutine == "test_a_running_task.<locals>.main"
        assert info.state == "running"
        assert info.wait is None
        assert info.owner == ferrio.Owner("runner")
        assert info.parent is None
        assert info.steps == 1
        assert info.cpu is None
        assert not info.foreign
        assert info.stack == (
            ferrio.Site(__file__, line_of(test_a_running_task, "# here"), info.coroutine),
        )
        assert info.created == ferrio.Site(
            __file__, line_of(test_a_running_task, "# made" + " here"), "test_a_running_task"
        )
        assert 0 <= time.monotonic() - info.created_at < 60

    ferrio.run(main())  # made here


def test_where_a_task_was_made_and_by_whom():
    async def child(event):
        await event.wait()

    async def main():
        event = ferrio.Event()
        parent = info_of(asyncio.current_task()).id
        plain = asyncio.create_task(child(event), name="plain")  # plain
        async with ferrio.TaskGroup() as group, asyncio.TaskGroup() as other:
            group.create_task(child(event), name="in ours")  # ours
            other.create_task(child(event), name="in asyncio's")  # asyncio's
            gathering = ferrio.gather(child(event), child(event))  # gather
            shielded = ferrio.shield(child(event))  # shield
            await ferrio.sleep(0)
            known = {info.name: info for info in ferrio.tasks()}
            here = line_of(main, "# plain")
            assert known["plain"].owner == ferrio.Owner("user")
            assert known["plain"].created.line == here
            for name, text in (("in ours", "# ours"), ("in asyncio's", "# asyncio's")):
                assert known[name].owner == ferrio.Owner("task-group", task=parent)
                assert known[name].created == ferrio.Site(
                    __file__, line_of(main, text), main.__qualname__
                )
            made = [info for info in known.values() if info.owner.name == "gather"]
            assert [info.created.line for info in made] == [line_of(main, "# gather")] * 2
            assert {info.owner for info in made} == {
                ferrio.Owner("combinator", name="gather", task=parent)
            }
            (one,) = [info for info in known.values() if info.owner.name == "shield"]
            assert one.created.line == line_of(main, "# shield")
            assert {info.parent for info in known.values()} == {None, parent}
            event.set()
        await ferrio.wait([plain, gathering, shielded])

    ferrio.run(main())


def test_asyncios_gather_is_an_owner():
    async def main():
        event = ferrio.Event()
        gathering = asyncio.gather(event.wait())  # asyncio's gather
        (info,) = [info for info in ferrio.tasks() if info.owner.name == "gather"]
        assert info.created.line == line_of(main, "# asyncio's gather")
        event.set()
        await gathering

    ferrio.run(main())


def test_a_servers_task():
    async def main():
        arrived = asyncio.get_running_loop().create_future()

        async def serve(_reader, writer):
            arrived.set_result(info_of(asyncio.current_task()))
            writer.close()

        server = await ferrio.start_server(serve, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        _, writer = await ferrio.open_connection(*address[:2])
        info = await arrived
        assert info.owner == ferrio.Owner("server")
        assert info.created is None
        assert info.coroutine.endswith(".serve")
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    ferrio.run(main())


def test_what_tasks_wait_for():
    async def main():
        lock, event, queue = ferrio.Lock(), ferrio.Event(), ferrio.Queue(1)
        semaphore, condition, barrier = ferrio.Semaphore(0), ferrio.Condition(), ferrio.Barrier(2)
        me = info_of(asyncio.current_task()).id
        loop = asyncio.get_running_loop()

        async def notified():
            async with condition:
                await condition.wait()

        async def in_group():
            async with ferrio.TaskGroup() as group:
                group.create_task(event.wait(), name="member")

        async with lock:
            wait = (await waits_for(lock.acquire())).wait
            assert (wait.kind, wait.tasks, wait.certain) == ("lock", (me,), True)
            assert wait.what.startswith("<asyncio.locks.Lock object at ")
            assert wait.site.line == line_of(waits_for, "await awaitable")
        await lock.acquire()
        wait = (await waits_for(lock.acquire())).wait
        assert (wait.kind, wait.tasks, wait.certain) == ("lock", (me,), False)
        lock.release()
        assert (await waits_for(event.wait())).wait.kind == "event"
        assert (await waits_for(queue.get())).wait.kind == "queue-get"
        queue.put_nowait(1)
        assert (await waits_for(queue.put(2))).wait.kind == "queue-put"
        assert (await waits_for(queue.join())).wait.kind == "queue-join"
        assert (await waits_for(semaphore.acquire())).wait.kind == "semaphore"
        assert (await waits_for(notified())).wait.kind == "condition"
        assert (await waits_for(barrier.wait())).wait.kind == "barrier"
        assert (await waits_for(loop.create_future())).wait.kind == "future"

        wait = (await waits_for(ferrio.sleep(50))).wait
        assert wait.kind == "sleep"
        assert 40 < wait.until - loop.time() <= 50
        assert re.fullmatch(r"[45]\d\.\d{3} s left", wait.what)
        wait = (await waits_for(ferrio.wait_for(event.wait(), 50))).wait
        # 3.11 makes a task of what it waits for.
        assert wait.kind == ("event" if sys.version_info >= (3, 12) else "timeout")
        assert 40 < wait.until - loop.time() <= 50

        other = asyncio.create_task(event.wait(), name="other")
        await ferrio.sleep(0)
        number = info_of(other).id
        wait = (await waits_for(other)).wait
        assert (wait.kind, wait.what, wait.tasks) == ("task", "other", (number,))
        assert other.cancelled()
        info = await waits_for(ferrio.gather(event.wait(), event.wait()))
        assert (info.wait.kind, info.wait.what) == ("tasks", "2 of 2 tasks")
        assert len(info.wait.tasks) == 2
        info = await waits_for(in_group())
        assert (info.wait.kind, len(info.wait.tasks), info.wait.certain) == ("task-group", 1, True)

    ferrio.run(main())


def test_what_asyncios_own_coroutines_wait_for():
    async def main():
        lock, event, queue = asyncio.Lock(), asyncio.Event(), asyncio.Queue()
        await lock.acquire()
        assert (await waits_for(lock.acquire())).wait.kind == "lock"
        assert (await waits_for(event.wait())).wait.kind == "event"
        wait = (await waits_for(queue.get())).wait
        assert wait.kind == "queue-get"
        assert wait.what.startswith(f"<Queue at {id(queue):#x} ")
        wait = (await waits_for(asyncio.sleep(50))).wait
        assert wait.kind == "sleep"
        assert 40 < wait.until - asyncio.get_running_loop().time() <= 50

    ferrio.run(main())


def test_a_call_in_a_thread():
    async def main():
        go = threading.Event()
        loop = asyncio.get_running_loop()
        try:
            future = loop.run_in_executor(None, go.wait)
            assert (await waits_for(asyncio.shield(future))).wait.kind == "future"

            async def direct():
                await future

            task = asyncio.create_task(direct(), name="direct")
            await ferrio.sleep(0)
            assert info_of(task).wait.kind == "executor"
            assert (await waits_for(asyncio.to_thread(go.wait))).wait.kind == "executor"
        finally:
            go.set()
        await task

    ferrio.run(main())


def test_an_asynchronous_generator_is_part_of_the_stack():
    async def numbers(event):
        yield 1
        await event.wait()  # inner
        yield 2

    async def consume(event):
        async for _ in numbers(event):  # outer
            pass

    async def main():
        event = ferrio.Event()
        task = asyncio.create_task(consume(event), name="consumer")
        await ferrio.sleep(0)
        info = info_of(task)
        assert [site.line for site in info.stack] == [
            line_of(consume, "# outer"),
            line_of(numbers, "# inner"),
        ]
        assert info.wait.kind == "event"
        event.set()
        await task

    ferrio.run(main())


def test_a_timeout_says_when_it_ends_the_wait():
    async def main(library):
        loop = asyncio.get_running_loop()

        async def limited():
            async with library.timeout(50):
                await loop.create_future()

        info = await waits_for(limited())
        assert info.wait.kind == "future"
        assert 40 < info.wait.until - loop.time() <= 50

    for library in (asyncio, ferrio):
        ferrio.run(main(library))


def test_a_foreign_task():
    async def main():
        event = ferrio.Event()
        loop = asyncio.get_running_loop()
        task = asyncio.Task(event.wait(), loop=loop, name="foreign")
        await ferrio.sleep(0)
        info = info_of(task)
        assert info.foreign
        assert (info.created, info.steps, info.owner.kind) == (None, None, "user")
        assert info.coroutine == "Event.wait"
        assert info.wait.kind == "event"
        assert info_of(task).id == info.id
        assert (await waits_for(task)).wait.tasks == (info.id,)
        await ferrio.wait([task])

    ferrio.run(main())


def test_ids_are_never_given_twice():
    async def nothing():
        pass

    async def main():
        seen = set()
        for _ in range(300):
            tasks = [asyncio.create_task(nothing()) for _ in range(3)]
            ids = {info.id for info in ferrio.tasks()}
            assert len(ids) == 4
            assert len(seen & ids) <= 1
            seen |= ids
            await ferrio.wait(tasks)
        assert len(seen) == 901

    ferrio.run(main())


def test_from_another_thread_while_the_loop_is_blocked():
    blocked, seen = threading.Event(), threading.Event()
    found = []

    def look():
        blocked.wait(30)
        found.extend(ferrio.tasks())
        seen.set()

    async def block():
        blocked.set()
        seen.wait(30)  # blocks

    thread = threading.Thread(target=look)
    thread.start()
    ferrio.run(block())
    thread.join()
    (info,) = found
    assert info.state == "running"
    outermost = info.stack[0]
    assert (outermost.line, outermost.function) == (line_of(block, "# blocks"), block.__qualname__)


def test_the_tree():
    async def child(event):
        await event.wait()

    async def main():
        event = ferrio.Event()
        async with ferrio.TaskGroup() as group:
            group.create_task(child(event), name="first")
            group.create_task(child(event), name="second")
            await ferrio.sleep(0)
            tree = ferrio.task_tree()
            (root,) = tree.roots
            assert [node.task.name for node in root.children] == ["first", "second"]
            heading, *lines = str(tree).splitlines()
            assert heading.startswith("loop ")
            first, second, third = (re.sub(r"#\d+", "#N", line) for line in lines)
            assert first.startswith(f"└─ #N {root.task.name}  {main.__qualname__}  running")
            assert second.startswith(f"   ├─ #N first  {child.__qualname__}  waits ")
            assert third.startswith(f"   └─ #N second  {child.__qualname__}  waits ")
            assert "event " in second
            event.set()

    ferrio.run(main())


def test_a_tree_may_be_as_deep_as_a_program_is():
    deep = 3 * sys.getrecursionlimit()

    async def nest(left):
        if left:
            task = asyncio.create_task(nest(left - 1))
            await event.wait()
            await task
        else:
            reached.set()

    async def main():
        nonlocal event, reached
        event, reached = ferrio.Event(), ferrio.Event()
        task = asyncio.create_task(nest(deep))
        await reached.wait()
        (node,) = ferrio.task_tree().roots
        depth = 0
        while node.children:
            (node,) = node.children
            depth += 1
        event.set()
        await task
        return depth

    event = reached = None
    # The innermost may have ended by then.
    assert ferrio.run(main()) in (deep, deep + 1)


def test_the_dump():
    async def child(event):
        await event.wait()  # waits

    async def main():
        event = ferrio.Event()
        task = asyncio.create_task(child(event), name="the child")  # makes
        await ferrio.sleep(0)
        file = io.StringIO()
        ferrio.dump(file)
        task.cancel()
        return file.getvalue(), repr(event)

    text, event = ferrio.run(main())
    heading, its_loop, whole, of_child = text.split("\n\n")
    version = ".".join(map(str, sys.version_info[:3]))
    assert heading.startswith(f"process {os.getpid()}  ")
    assert f"Python {version}" in heading
    assert re.fullmatch(
        r"loop \d+ · thread \d+ · running #\d+ .* · 2 tasks · 0 ready · 0 timers · .*", its_loop
    )
    assert f"  {main.__qualname__}\n  state    running" in whole
    made, waits = line_of(main, "# makes"), line_of(child, "# waits")
    patterns = [
        rf"task #\d+ the child  {re.escape(child.__qualname__)}",
        r"  state    waiting for .*",
        rf"  waits    event {re.escape(event)}",
        r"  owner    create_task",
        rf"  created  .* ago by #\d+ at {re.escape(__file__)}:{made} "
        rf"in {re.escape(main.__qualname__)}",
        r"  work     1 step",
        r"  stack, the innermost call last",
        rf"    {re.escape(__file__)}:{waits} in {re.escape(child.__qualname__)}",
    ]
    for line, pattern in zip(of_child.splitlines(), patterns, strict=True):
        assert re.fullmatch(pattern, line), (line, pattern)


def test_a_dump_on_a_signal():
    async def main(file):
        os.kill(os.getpid(), signal.SIGUSR2)
        await ferrio.sleep(0)
        return file.getvalue()

    before = signal.getsignal(signal.SIGUSR2)
    file = io.StringIO()
    try:
        ferrio.dump_on_signal(signal.SIGUSR2, file)
        text = ferrio.run(main(file))
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert "· 1 task ·" in text
    assert f"  {main.__qualname__}\n  state    running" in text


def run_program(program, **environment):
    return subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_dump_on_the_environments_signal_while_python_code_blocks():
    program = """
import os, signal, time
import ferrio

async def main():
    os.kill(os.getpid(), signal.SIGUSR1)
    end = time.monotonic() + 0.01
    while time.monotonic() < end:
        pass

ferrio.run(main())
"""
    outcome = run_program(program, FERRIO_DUMP_SIGNAL="USR1")
    assert outcome.returncode == 0
    assert "task #1 Task-1  main\n  state    running" in outcome.stderr
    outcome = run_program("import ferrio", FERRIO_DUMP_SIGNAL="NOTHING")
    assert outcome.stderr == "ferrio: FERRIO_DUMP_SIGNAL=NOTHING: KeyError('SIGNOTHING')\n"


def test_without_the_registry():
    program = """
import asyncio, ferrio

async def main():
    task = asyncio.create_task(asyncio.sleep(0), name="other")
    known = {info.name: info for info in ferrio.tasks()}
    info = known["other"]
    print(info.created, info.parent, info.steps, info.created_at, info.owner.kind)
    await task

ferrio.run(main())
"""
    outcome = run_program(program, FERRIO_REGISTRY="0")
    assert (outcome.stdout, outcome.stderr) == ("None None None None user\n", "")


def test_times_of_steps():
    async def busy():
        end = time.thread_time() + 0.02
        while time.thread_time() < end:
            pass
        await ferrio.sleep(0)
        await ferrio.sleep(50)

    async def main():
        task = asyncio.create_task(busy(), name="busy")
        for _ in range(3):
            await ferrio.sleep(0)
        info = info_of(task)
        assert info.steps == 2
        assert 0.02 <= info.cpu
        assert 0.02 <= info.longest_step
        task.cancel()

    ferrio.run(main(), task_times=True)
    from ferrio import _ferrio

    _ferrio._measure_steps(False)


def test_ferrio_tasks_is_asyncios_module_too():
    assert ferrio.tasks.Task is asyncio.tasks.Task
    assert ferrio.tasks() == []
    with pytest.raises(AttributeError):
        ferrio.tasks.nothing  # noqa: B018


def test_nothing_is_kept_alive():
    class Kept:
        pass

    async def holder(kept):
        await ferrio.sleep(0)

    async def main():
        import weakref

        kept = Kept()
        reference = weakref.ref(kept)
        task = asyncio.create_task(holder(kept))
        del kept
        ferrio.tasks()
        await ferrio.sleep(0)
        ferrio.dump(io.StringIO())
        await task
        del task
        gc.collect()
        assert reference() is None

    ferrio.run(main())
