"""asyncio's classes can be patched, and so can the native ones in their places."""

import asyncio
import inspect
from unittest import mock

import pytest

pytest_plugins = ["library_fixtures"]


@pytest.fixture
def patched(monkeypatch):
    """Replace a method of a class by one that notes its calls and makes them; return the notes."""

    def patch(cls, name):
        original = getattr(cls, name)
        calls = []

        def method(self, *arguments, **keywords):
            calls.append(arguments)
            return original(self, *arguments, **keywords)

        monkeypatch.setattr(cls, name, method)
        return calls

    return patch


def test_methods_of_streams(library, loop, patched):
    """What a program patches to see or to break a connection."""

    async def main():
        async def serve(reader, writer):
            writer.write(await reader.readexactly(4))
            await writer.drain()
            writer.close()

        server = await library.start_server(serve, "127.0.0.1", 0)
        reader, writer = await library.open_connection(*server.sockets[0].getsockname())
        with mock.patch.object(library.StreamWriter, "writelines") as writelines:
            writelines.side_effect = OSError("refused")
            with pytest.raises(OSError, match="refused"):
                writer.writelines([b"lost"])
        writer.writelines([b"wo", b"rd"])
        received = await reader.read()
        writer.close()
        server.close()
        await server.wait_closed()
        return received

    fed = patched(library.StreamReader, "feed_data")
    ended = patched(library.StreamReader, "feed_eof")
    made = patched(library.StreamReaderProtocol, "connection_made")
    assert loop.run_until_complete(asyncio.wait_for(main(), 30)) == b"word"
    assert [(b"word",)] * 2 == fed
    assert ended
    assert len(made) == 2


def test_a_readers_methods_call_each_other(library, loop, patched):
    async def main():
        reader = library.StreamReader()
        reader.feed_data(b"line\n")
        reader.feed_eof()
        return await reader.readline()

    until = patched(library.StreamReader, "readuntil")
    assert loop.run_until_complete(main()) == b"line\n"
    assert until == [(b"\n",)]


@pytest.mark.parametrize("name", ["Lock", "Semaphore", "BoundedSemaphore", "Condition"])
def test_what_a_with_block_calls(library, loop, patched, name):
    async def main():
        thing = getattr(library, name)()
        async with thing:
            if name == "Condition":
                # Its methods are its lock's, each object's own.
                return
        async with thing:
            pass

    cls = getattr(library, "Lock" if name == "Condition" else name)
    acquired, released = patched(cls, "acquire"), patched(cls, "release")
    loop.run_until_complete(main())
    assert len(acquired) == len(released) == (1 if name == "Condition" else 2)


def test_what_a_condition_calls(library, loop, patched):
    async def main():
        condition = library.Condition()
        values = iter([False, True])

        async def wake():
            async with condition:
                condition.notify_all()

        async with condition:
            waking = loop.create_task(wake())
            await condition.wait_for(lambda: next(values))
        await waking

    waits = patched(library.Condition, "wait")
    notifications = patched(library.Condition, "notify")
    loop.run_until_complete(main())
    assert (len(waits), len(notifications)) == (1, 1)


@pytest.mark.parametrize("name", ["Queue", "LifoQueue", "PriorityQueue"])
def test_what_a_queue_calls(library, loop, patched, name):
    """A change of the class is one of the classes below it."""

    async def main():
        queue = getattr(library, name)(1)
        await queue.put(1)
        return await queue.get()

    put, got = patched(library.Queue, "put_nowait"), patched(library.Queue, "get_nowait")
    full = patched(library.Queue, "full")
    assert loop.run_until_complete(main()) == 1
    assert (put, got) == ([(1,)], [()])
    assert full


def test_what_a_timeout_and_a_group_call(library, loop, patched):
    async def main():
        async with library.timeout(60):
            pass
        async with library.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))

    if not hasattr(library, "Timeout"):
        pytest.skip("it has none in this version")
    rescheduled = patched(library.Timeout, "reschedule")
    created = patched(library.TaskGroup, "create_task")
    loop.run_until_complete(main())
    assert (len(rescheduled), len(created)) == (1, 1)


CLASSES = [
    "Lock",
    "Event",
    "Condition",
    "Semaphore",
    "BoundedSemaphore",
    "Barrier",
    "Queue",
    "LifoQueue",
    "PriorityQueue",
    "StreamReader",
    "StreamWriter",
    "StreamReaderProtocol",
    "Timeout",
    "TaskGroup",
]


@pytest.mark.parametrize("name", CLASSES)
def test_every_public_method(library, name):
    cls = getattr(library, name)
    for method, _ in inspect.getmembers(cls, callable):
        if method.startswith("_"):
            continue
        with mock.patch.object(cls, method) as replaced:
            assert getattr(cls, method) is replaced
        assert getattr(cls, method) is not replaced


@pytest.mark.parametrize("name", CLASSES)
def test_attributes_of_the_class(library, name):
    cls = getattr(library, name)
    cls.anything = 1
    try:
        assert cls.anything == 1
    finally:
        del cls.anything
    assert not hasattr(cls, "anything")


def test_objects_work_whatever_was_done_to_their_class(library, loop):
    """Also when a special method was replaced, and is there again."""

    async def main():
        for name in ("__init__", "__aenter__", "__aexit__", "__repr__", "acquire", "release"):
            for cls in (library.Lock, library.Semaphore):
                with mock.patch.object(cls, name, autospec=True):
                    pass
                thing = cls()
                async with thing:
                    assert "locked" in repr(thing)
                assert not thing.locked()

    loop.run_until_complete(main())
