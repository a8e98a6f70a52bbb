"""What ``ferrio.tasks()`` says that tasks wait for: each kind, with both libraries."""

import asyncio
import contextlib
import functools
import socket
import sys
import threading

import pytest

import ferrio

LIBRARIES = {"asyncio's": asyncio, "ferrio's": ferrio}
TASKS = {"C task": asyncio.tasks.Task, "Python task": asyncio.tasks._PyTask, "native": ferrio.Task}

pytestmark = [
    pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES),
    pytest.mark.parametrize("task_class", TASKS.values(), ids=TASKS),
]

# From 3.14 on the function in C does not know that a task in Python is the current one.
UNKNOWN_TASKS = [asyncio.tasks._PyTask] if sys.version_info >= (3, 14) else []
ASK_FOR_THE_CURRENT_TASK = ["test_time", "test_other_tasks"]


def run(look):
    """Have a test's coroutine function run on a loop; it gets what finds out about a wait."""

    def test(library, task_class):
        if look.__name__ in ASK_FOR_THE_CURRENT_TASK and task_class in UNKNOWN_TASKS:
            pytest.skip("asyncio's timeouts and groups do not work in tasks of the class in Python")

        async def main():
            await asyncio.wait_for(look(library, functools.partial(wait_of, task_class)), 60)

        ferrio.run(main())

    test.__name__ = look.__name__
    return test


async def wait_of(task_class, awaitable):
    """Have a task of that class wait for ``awaitable``; return what is known of it."""

    async def watched():
        return await awaitable  # waits

    task = task_class(watched(), loop=asyncio.get_running_loop(), name="watched")
    try:
        for _ in range(200):
            await ferrio.sleep(0.001)
            (info,) = [info for info in ferrio.tasks() if info.name == "watched"]
            if info.wait is not None:
                break
        assert info.state == "waiting"
        assert info.foreign == (task_class is not ferrio.Task)
        assert info.coroutine == "wait_of.<locals>.watched"
        assert info.id > 0
        assert info.stack[0].function == "wait_of.<locals>.watched"
        assert info.wait.site is not None
        assert info.wait.site.file == __file__
        if task_class is ferrio.Task:
            assert 0 <= info.taken_at - info.wait.since < 60
        return info.wait
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@run
async def test_a_lock(library, wait_of):
    lock = library.Lock()
    async with lock:
        wait = await wait_of(lock.acquire())
        assert wait.kind == "lock"
        assert wait.what == repr(lock).replace(", waiters:1", "") or "locked" in wait.what

        async def section():
            async with lock:
                pass

        assert (await wait_of(section())).kind == "lock"


@run
async def test_queues(library, wait_of):
    for make in (library.Queue, library.LifoQueue, library.PriorityQueue):
        queue = make(1)
        wait = await wait_of(queue.get())
        assert wait.kind == "queue-get"
        assert wait.what.startswith(f"<{make.__name__} at {id(queue):#x}")
        queue.put_nowait(1)
        assert (await wait_of(queue.put(2))).kind == "queue-put"
        assert (await wait_of(queue.join())).kind == "queue-join"


@run
async def test_the_other_locks(library, wait_of):
    condition = library.Condition()

    async def notified():
        async with condition:
            await condition.wait()

    async def predicated():
        async with condition:
            await condition.wait_for(lambda: False)

    assert (await wait_of(library.Event().wait())).kind == "event"
    assert (await wait_of(library.Semaphore(0).acquire())).kind == "semaphore"
    assert (await wait_of(library.BoundedSemaphore(0).acquire())).kind == "semaphore"
    assert (await wait_of(notified())).kind == "condition"
    assert (await wait_of(predicated())).kind == "condition"
    assert (await wait_of(library.Barrier(2).wait())).kind == "barrier"


@run
async def test_a_future(library, wait_of):
    future = asyncio.get_running_loop().create_future()
    wait = await wait_of(future)
    assert wait.kind == "future"
    assert wait.until is None
    assert (await wait_of(library.Future())).kind == "future"


@run
async def test_time(library, wait_of):
    loop = asyncio.get_running_loop()
    wait = await wait_of(library.sleep(50))
    assert wait.kind == "sleep"
    assert 40 < wait.until - loop.time() <= 50

    async def limited():
        async with library.timeout(50):
            await loop.create_future()

    wait = await wait_of(limited())
    assert wait.kind == "future"
    assert 40 < wait.until - loop.time() <= 50

    wait = await wait_of(library.wait_for(library.Event().wait(), 50))
    assert wait.kind == ("event" if sys.version_info >= (3, 12) else "timeout")
    assert 40 < wait.until - loop.time() <= 50


@run
async def test_sockets_and_their_directions(library, wait_of):
    loop = asyncio.get_running_loop()
    one, other = socket.socketpair()
    with one, other, socket.socket() as listening:
        one.setblocking(False)
        listening.setblocking(False)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        wait = await wait_of(loop.sock_recv(one, 10))
        assert (wait.kind, wait.what) == ("read", f"fd {one.fileno()}")
        wait = await wait_of(loop.sock_recv_into(one, bytearray(10)))
        assert (wait.kind, wait.what) == ("read", f"fd {one.fileno()}")
        wait = await wait_of(loop.sock_sendall(one, bytes(10_000_000)))
        assert (wait.kind, wait.what) == ("write", f"fd {one.fileno()}")
        wait = await wait_of(loop.sock_accept(listening))
        assert (wait.kind, wait.what) == ("connection", f"fd {listening.fileno()}")


@run
async def test_streams(library, wait_of):
    accepted = asyncio.get_running_loop().create_future()

    async def serve(_reader, writer):
        accepted.set_result(writer)
        await asyncio.get_running_loop().create_future()

    server = await library.start_server(serve, "127.0.0.1", 0)
    reader, writer = await library.open_connection(*server.sockets[0].getsockname())
    peer = await accepted
    try:
        for coroutine in (reader.read(10), reader.readline(), reader.readexactly(3)):
            assert (await wait_of(coroutine)).kind == "read"

        async def iterated():
            async for _ in reader:
                pass

        assert (await wait_of(iterated())).kind == "read"
        writer.write(bytes(50_000_000))
        assert (await wait_of(writer.drain())).kind == "write"
    finally:
        writer.transport.abort()
        peer.transport.abort()
        server.close()


@run
async def test_a_job_in_a_thread(library, wait_of):
    go = threading.Event()
    loop = asyncio.get_running_loop()
    try:
        assert (await wait_of(library.to_thread(go.wait))).kind == "executor"
        assert (await wait_of(loop.run_in_executor(None, go.wait))).kind == "executor"
    finally:
        go.set()


@run
async def test_a_subprocess(library, wait_of):
    process = await library.create_subprocess_exec(
        sys.executable, "-c", "input()", stdin=-1, stdout=-1
    )
    try:
        assert (await wait_of(process.wait())).kind == "subprocess"
        assert (await wait_of(process.communicate())).kind in ("subprocess", "tasks")
        assert (await wait_of(process.stdout.read())).kind == "read"
    finally:
        process.kill()
        await process.wait()
        process._transport.close()


@run
async def test_other_tasks(library, wait_of):
    loop = asyncio.get_running_loop()
    event = library.Event()
    others = [
        asyncio.tasks.Task(event.wait(), loop=loop, name="C"),
        ferrio.Task(event.wait(), loop=loop, name="ours"),
    ]
    await ferrio.sleep(0)
    numbers = {info.name: info.id for info in ferrio.tasks()}
    for task in others:
        wait = await wait_of(asyncio.shield(task))
        wait = await wait_of(library.wait([task]))
        assert (wait.kind, wait.tasks) == ("tasks", (numbers[task.get_name()],))
        assert wait.what == "1 of 1 tasks"
    wait = await wait_of(library.gather(library.Event().wait(), library.Event().wait()))
    assert (wait.kind, len(wait.tasks)) == ("tasks", 2)

    async def in_group():
        async with library.TaskGroup() as group:
            group.create_task(library.Event().wait())

    wait = await wait_of(in_group())
    assert (wait.kind, len(wait.tasks)) == ("task-group", 1)
    # Cancelling the one that waits cancels what it waits for.
    for task in others:
        wait = await wait_of(task)
        assert (wait.kind, wait.what) == ("task", task.get_name())
        assert wait.tasks == (numbers[task.get_name()],)
