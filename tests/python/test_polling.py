"""I/O happens while a program yields: ``for _ in range(n): await sleep(0)`` is how tests wait.

A busy ferrio loop may skip asking the kernel, but never where a program could notice.
"""

import asyncio
import contextlib
import os
import socket

import pytest

from turns import run_turn, run_turns


@pytest.fixture
def pair():
    one, other = socket.socketpair()
    one.setblocking(False)
    yield one, other
    one.close()
    other.close()


async def yields(count):
    for _ in range(count):
        await asyncio.sleep(0)


def test_the_first_turn_of_a_run_polls(loop, pair):
    one, other = pair
    calls = []
    loop.add_reader(one, calls.append, 1)
    for number in range(1, 50):
        other.send(b"x")
        loop.call_soon(int)
        run_turn(loop)
        assert len(calls) == number
        one.recv(10)
    loop.remove_reader(one)


def test_the_turn_in_which_stop_takes_effect_polls(loop, pair):
    """What happened before the stop is told before the run ends."""
    one, other = pair
    calls = []
    loop.add_reader(one, calls.append, "read")

    async def main():
        await yields(500)
        other.send(b"x")
        loop.stop()

    loop.create_task(main())
    loop.run_forever()
    run_turn(loop)
    assert calls[:1] == ["read"]
    one.recv(10)
    loop.remove_reader(one)


def test_a_registration_is_followed_by_a_poll(loop, pair):
    one, other = pair
    calls = []
    other.send(b"x")

    async def main():
        await yields(500)
        loop.add_reader(one, calls.append, "read")
        await yields(2)
        return list(calls)

    assert loop.run_until_complete(main())[:1] == ["read"]
    loop.remove_reader(one)


def test_after_an_event_polls_go_on(loop, pair):
    """An exchange of several messages takes a few turns, not a few skipped polls."""
    one, other = pair
    other.setblocking(False)
    log = []

    def echo():
        other.send(other.recv(10))

    def answered():
        log.append(one.recv(10))
        if len(log) < 5:
            one.send(b"x")

    async def main():
        await yields(500)
        loop.add_reader(other, echo)
        loop.add_reader(one, answered)
        one.send(b"x")
        await yields(16)
        return len(log)

    assert loop.run_until_complete(main()) == 5
    loop.remove_reader(one)
    loop.remove_reader(other)


def test_a_thread_safe_call_arrives_within_a_few_turns(loop):
    import threading

    calls = []

    async def main():
        await yields(500)
        thread = threading.Thread(target=loop.call_soon_threadsafe, args=(calls.append, 1))
        thread.start()
        thread.join()
        await yields(2)
        return list(calls)

    assert loop.run_until_complete(main()) == [1]


def test_a_timer_that_is_due_fires_in_the_next_turn(clocked_loop):
    loop = clocked_loop
    calls = []

    async def main():
        await yields(500)
        loop.call_later(10, calls.append, 1)
        loop.now += 10
        await yields(2)
        return list(calls)

    assert loop.run_until_complete(main()) == [1]


def test_streams_within_a_few_yields(loop):
    """Connect, write, read: each is done after a handful of turns."""
    server = socket.create_server(("127.0.0.1", 0))
    server.setblocking(False)
    client = socket.socket()
    client.setblocking(False)
    accepted = []

    def accept():
        connection, _ = server.accept()
        connection.setblocking(False)
        accepted.append(connection)
        loop.add_reader(connection, lambda: connection.send(connection.recv(100)))

    received = []

    async def main():
        loop.add_reader(server, accept)
        with contextlib.suppress(BlockingIOError):
            client.connect(server.getsockname())
        loop.add_writer(client, lambda: (loop.remove_writer(client), client.send(b"hello")))
        loop.add_reader(client, lambda: received.append(client.recv(100)))
        await yields(10)

    loop.run_until_complete(main())
    for each in (server, client, *accepted):
        loop.remove_reader(each)
        each.close()
    assert received == [b"hello"]


def test_a_child_s_pipe_within_one_poll(loop):
    reader, writer = os.pipe()
    calls = []
    loop.add_reader(reader, lambda: calls.append(os.read(reader, 10)))
    os.write(writer, b"x")
    run_turns(loop, 1)
    assert calls == [b"x"]
    loop.remove_reader(reader)
    os.close(reader)
    os.close(writer)


def test_order_of_io_and_ready_callbacks_in_a_turn(loop, pair):
    """What was ready before the turn runs before what the poll has found."""
    one, other = pair
    log = []
    loop.add_reader(one, log.append, "read")
    other.send(b"x")
    loop.call_soon(log.append, "ready before")
    loop.call_later(0, log.append, "timer")
    run_turn(loop)
    assert log == ["ready before", "read", "timer"]
    loop.remove_reader(one)


def test_one_poll_a_turn_on_demand(monkeypatch, make_loop, pair):
    """FERRIO_POLL_EVERY_TURN=1: what the kernel has to tell is told in the very next turn."""
    monkeypatch.setenv("FERRIO_POLL_EVERY_TURN", "1")
    loop = make_loop()
    one, other = pair
    turn = 0
    told = []

    def read():
        one.recv(10)
        told.append(turn)

    async def main():
        nonlocal turn
        sent = []
        for _ in range(100):
            # For so long nothing has happened that a busy loop would not ask every time.
            for _ in range(30):
                await asyncio.sleep(0)
                turn += 1
            other.send(b"x")
            sent.append(turn)
        await asyncio.sleep(0)
        turn += 1
        await asyncio.sleep(0)
        return sent

    loop.add_reader(one, read)
    sent = loop.run_until_complete(main())
    loop.remove_reader(one)
    # In the next turn, in which the task comes first.
    assert [heard - said for said, heard in zip(sent, told, strict=True)] == [1] * 100
