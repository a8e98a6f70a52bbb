"""``add_reader`` and ``add_writer``: directions, removal, files closed behind our back."""

import asyncio
import contextlib
import gc
import os
import socket
import sys
import weakref

import pytest

from turns import run_turn, run_turns, run_until


@pytest.fixture
def pair():
    one, other = socket.socketpair()
    one.setblocking(False)
    other.setblocking(False)
    yield one, other
    one.close()
    other.close()


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    yield reader, writer
    for fd in (reader, writer):
        with contextlib.suppress(OSError):
            os.close(fd)


def test_a_reader_is_called_while_there_is_something_to_read(loop, pair):
    one, other = pair
    calls = []
    assert loop.add_reader(one, calls.append, "readable") is None
    run_turns(loop, 3)
    assert calls == []
    other.send(b"x")
    run_turns(loop, 3)
    # Level-triggered: as long as nobody reads.
    assert calls == ["readable"] * 3
    one.recv(10)
    run_turns(loop, 3)
    assert calls == ["readable"] * 3
    assert loop.remove_reader(one) is True
    other.send(b"x")
    run_turns(loop, 3)
    assert calls == ["readable"] * 3


def test_a_writer_is_called_while_there_is_room(loop, pair):
    one, other = pair
    calls = []
    loop.add_writer(one, calls.append, "writable")
    run_turns(loop, 3)
    assert calls == ["writable"] * 3
    with contextlib.suppress(BlockingIOError):
        while True:
            one.send(b"x" * 65536)
    run_turns(loop, 3)
    assert calls == ["writable"] * 3
    with contextlib.suppress(BlockingIOError):
        while True:
            other.recv(1 << 20)
    run_turns(loop, 1)
    assert calls == ["writable"] * 4
    assert loop.remove_writer(one) is True


def test_both_directions_at_once(loop, pair):
    one, other = pair
    calls = []
    loop.add_reader(one, calls.append, "read")
    loop.add_writer(one, calls.append, "write")
    run_turn(loop)
    assert calls == ["write"]
    other.send(b"x")
    calls.clear()
    run_turn(loop)
    assert calls == ["read", "write"]
    assert loop.remove_writer(one)
    calls.clear()
    run_turn(loop)
    assert calls == ["read"]
    loop.add_writer(one, calls.append, "write again")
    assert loop.remove_reader(one)
    calls.clear()
    run_turn(loop)
    assert calls == ["write again"]
    assert loop.remove_writer(one)
    calls.clear()
    run_turn(loop)
    assert calls == []


def test_removing_what_is_not_there(loop, pair):
    one, other = pair
    assert loop.remove_reader(one) is False
    assert loop.remove_writer(one) is False
    loop.add_reader(one, int)
    assert loop.remove_writer(one) is False
    assert loop.remove_reader(one) is True
    assert loop.remove_reader(one) is False
    assert loop.remove_reader(10_000) is False


def test_replacing_a_callback(loop, pair):
    one, other = pair
    calls = []
    loop.add_reader(one, calls.append, "first")
    loop.add_reader(one, calls.append, "second")
    other.send(b"x")
    run_turn(loop)
    assert calls == ["second"]
    loop.remove_reader(one)


def test_replacing_in_the_callback(loop, pair):
    one, other = pair
    calls = []

    def first():
        calls.append("first")
        loop.add_reader(one, second)

    def second():
        calls.append("second")
        one.recv(10)

    loop.add_reader(one, first)
    other.send(b"x")
    run_turns(loop, 3)
    assert calls == ["first", "second"]
    loop.remove_reader(one)


def test_removing_in_the_callback(loop, pair):
    one, other = pair
    calls = []

    def callback():
        calls.append(loop.remove_reader(one))

    loop.add_reader(one, callback)
    other.send(b"x")
    run_turns(loop, 3)
    assert calls == [True]


def test_removing_another_that_is_ready_in_the_same_turn(loop):
    pairs = [socket.socketpair() for _ in range(2)]
    calls = []

    def callback(index):
        calls.append(index)
        loop.remove_reader(pairs[0][0])
        loop.remove_reader(pairs[1][0])

    for index, (one, other) in enumerate(pairs):
        loop.add_reader(one, callback, index)
        other.send(b"x")
    run_turns(loop, 3)
    assert len(calls) == 1
    for one, other in pairs:
        one.close()
        other.close()


def test_the_writer_removed_by_the_reader_of_the_same_event(loop, pair):
    one, other = pair
    calls = []

    def read():
        calls.append("read")
        loop.remove_writer(one)
        one.recv(10)

    loop.add_reader(one, read)
    loop.add_writer(one, calls.append, "write")
    other.send(b"x")
    run_turn(loop)
    assert calls == ["read"]
    loop.remove_reader(one)


def test_by_number_by_object_and_by_anything_with_a_fileno(loop, pair):
    one, other = pair

    class File:
        def fileno(self):
            return one.fileno()

    calls = []
    for given in (one, one.fileno(), File()):
        loop.add_reader(given, calls.append, type(given).__name__)
        other.send(b"x")
        run_turn(loop)
        one.recv(10)
        assert loop.remove_reader(one.fileno())
    assert calls == ["socket", "int", "File"]


@pytest.mark.parametrize(
    "wrong", ["text", None, object(), 1.5, -1, [], type("F", (), {"fileno": lambda self: -1})()]
)
def test_what_is_no_file(loop, wrong):
    for method in (loop.add_reader, loop.add_writer):
        with pytest.raises((ValueError, TypeError)):
            method(wrong, print)
    for method in (loop.remove_reader, loop.remove_writer):
        with pytest.raises((ValueError, TypeError)):
            method(wrong)


def test_a_closed_socket_object(loop, pair):
    one, other = pair
    one.close()
    with pytest.raises(ValueError):
        loop.add_reader(one, print)


def test_a_fileno_that_fails(loop):
    class File:
        def fileno(self):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        loop.add_reader(File(), print)


def test_a_number_that_is_not_open(loop):
    fd = os.dup(0)
    os.close(fd)
    with pytest.raises(OSError) as raised:
        loop.add_reader(fd, print)
    assert raised.value.errno == 9
    # Nothing is left of the attempt.
    assert loop.remove_reader(fd) is False


def test_a_regular_file_cannot_be_watched(loop, tmp_path):
    """epoll says EPERM, which is asyncio's PermissionError."""
    path = tmp_path / "file"
    path.write_bytes(b"content")
    with path.open("rb") as file:
        for method in (loop.add_reader, loop.add_writer):
            with pytest.raises(PermissionError):
                method(file, print)
        assert loop.remove_reader(file) is False
        assert loop.remove_writer(file) is False


def test_a_second_direction_that_cannot_be_watched(loop, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"content")
    with path.open("rb") as file:
        with pytest.raises(PermissionError):
            loop.add_reader(file, print)
        with pytest.raises(PermissionError):
            loop.add_writer(file, print)


def test_hang_up_calls_both(loop, pipe):
    reader, writer = pipe
    calls = []
    loop.add_reader(reader, calls.append, "read")
    os.close(writer)
    run_turn(loop)
    assert calls == ["read"]
    assert os.read(reader, 10) == b""
    loop.remove_reader(reader)


def test_an_error_calls_the_writer(loop, pipe):
    """The reading end of a pipe goes away: whoever waits to write must hear of it."""
    reader, writer = pipe
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 65536)
    calls = []
    loop.add_writer(writer, calls.append, "write")
    run_turn(loop)
    assert calls == []
    os.close(reader)
    run_turn(loop)
    assert calls == ["write"]
    loop.remove_writer(writer)


def test_a_descriptor_closed_behind_our_back_is_silent(loop):
    """The kernel forgets it; nothing is called, nothing spins, and it can be removed."""
    one, other = socket.socketpair()
    calls = []
    loop.add_reader(one, calls.append, "read")
    other.send(b"x")
    fd = one.fileno()
    one.close()
    run_turns(loop, 5)
    assert calls == []
    assert loop.remove_reader(fd) is True
    other.close()


def test_a_closed_object_is_known_by_its_identity(loop):
    """Libraries close a socket and remove its reader later, in the callback of a future."""
    one, other = socket.socketpair()
    calls = []
    loop.add_reader(one, calls.append, "read")
    loop.add_writer(one, calls.append, "write")
    one.close()
    with pytest.raises(OSError):
        # The kernel has forgotten it, and is asked to watch the rest.
        loop.remove_writer(one)
    second, third = socket.socketpair()
    loop.add_reader(second, calls.append, "read")
    second.close()
    assert loop.remove_reader(second) is True
    with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
        loop.remove_reader(second)
    run_turns(loop, 2)
    assert calls == []
    for each in (other, third):
        each.close()


def test_a_closed_object_that_was_watched_by_its_number(loop):
    one, other = socket.socketpair()
    fd = one.fileno()
    loop.add_reader(fd, print)
    one.close()
    with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
        loop.remove_reader(one)
    assert loop.remove_reader(fd) is True
    other.close()


def test_a_closed_object_whose_reader_was_removed_by_number(loop):
    one, other = socket.socketpair()
    loop.add_reader(one, print)
    assert loop.remove_reader(one.fileno()) is True
    one.close()
    with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
        loop.remove_reader(one)
    other.close()


def test_a_watched_object_lives_until_it_is_watched_no_longer(loop, pair):
    class File:
        def fileno(self):
            return pair[0].fileno()

    file = File()
    gone = []
    weakref.finalize(file, gone.append, "gone")
    loop.add_reader(file, print)
    loop.add_writer(file, print)
    del file
    loop.remove_reader(pair[0])
    gc.collect()
    assert gone == []
    loop.remove_writer(pair[0])
    gc.collect()
    assert gone == ["gone"]


def test_a_closed_loop_knows_no_closed_object(make_loop):
    loop = make_loop()
    one, other = socket.socketpair()
    loop.add_reader(one, print)
    one.close()
    loop.close()
    assert loop.remove_reader(one) is False
    other.close()


def test_a_number_that_is_reused_after_a_close_behind_our_back(loop, implementation):
    """The new file with the old number is another file."""
    if not implementation.is_ferrio:
        pytest.skip("asyncio's selector raises FileNotFoundError: it thinks it knows the file")
    calls = []
    one, other = socket.socketpair()
    fd = one.fileno()
    loop.add_reader(one, calls.append, "old")
    one.close()
    new, far = socket.socketpair()
    try:
        if new.fileno() != fd:
            os.dup2(new.fileno(), fd)
        loop.add_reader(fd, calls.append, "new")
        run_turn(loop)
        assert calls == []
        far.send(b"x")
        run_turn(loop)
        assert calls == ["new"]
        assert loop.remove_reader(fd)
    finally:
        if new.fileno() != fd:
            os.close(fd)
        for each in (other, new, far):
            each.close()


def test_a_number_that_is_reused_within_a_turn(loop):
    """The first callback closes the second's file and opens another with its number."""
    pairs = [socket.socketpair() for _ in range(2)]
    opened, calls = [], []

    def replace(mine, others):
        calls.append(mine)
        loop.remove_reader(pairs[mine][0])
        fd = pairs[others][0].fileno()
        loop.remove_reader(fd)
        pairs[others][0].close()
        one, other = socket.socketpair()
        opened.extend((one, other))
        loop.add_reader(one, calls.append, "the new file, with nothing to read")

    for mine, others in ((0, 1), (1, 0)):
        loop.add_reader(pairs[mine][0], replace, mine, others)
        pairs[mine][1].send(b"x")
    run_turns(loop, 3)
    assert len(calls) == 1
    loop.remove_reader(opened[0])
    for each in (*opened, *[end for ends in pairs for end in ends]):
        each.close()


def test_a_duplicate_of_a_watched_descriptor(loop, pair):
    """Closing one number does not end the watch of another for the same file."""
    one, other = pair
    duplicate = os.dup(one.fileno())
    calls = []
    loop.add_reader(one, calls.append, "original")
    loop.add_reader(duplicate, calls.append, "duplicate")
    other.send(b"x")
    run_turn(loop)
    assert sorted(calls) == ["duplicate", "original"]
    assert loop.remove_reader(duplicate)
    os.close(duplicate)
    calls.clear()
    run_turn(loop)
    assert calls == ["original"]
    loop.remove_reader(one)


def test_a_watched_descriptor_whose_duplicate_lives_on(loop, pair, implementation):
    """epoll goes on reporting a closed number while a duplicate of its file is open."""
    one, other = pair
    number = os.dup(one.fileno())
    calls = []
    loop.add_reader(number, calls.append, "called")
    os.close(number)
    other.send(b"x")
    run_turns(loop, 3)
    # asyncio is called for a number that is closed; what matters is that it can be ended.
    loop.remove_reader(number)
    calls.clear()
    run_turns(loop, 3)
    if implementation.is_ferrio:
        assert calls == []


def test_the_same_descriptor_in_two_loops(loop, make_loop, pair):
    one, other = pair
    second = make_loop()
    calls = []
    loop.add_reader(one, calls.append, "first loop")
    second.add_reader(one, calls.append, "second loop")
    other.send(b"x")
    run_turn(loop)
    run_turn(second)
    assert calls == ["first loop", "second loop"]
    loop.remove_reader(one)
    second.remove_reader(one)


def test_a_loop_watched_by_another(loop, make_loop, implementation):
    """A loop's own descriptor tells when it has something to do: loops can be nested so."""
    if implementation.is_ferrio:
        pytest.skip("ferrio does not hand its descriptor out")
    inner = make_loop()
    calls = []
    loop.add_reader(inner._selector.fileno(), calls.append, "inner has work")
    inner.call_soon_threadsafe(int)
    run_turn(loop)
    assert calls == ["inner has work"]
    loop.remove_reader(inner._selector.fileno())
    run_turn(inner)


def test_an_exception_in_a_callback_is_reported_every_time(loop, pair, reports):
    one, other = pair
    loop.add_reader(one, lambda: 1 / 0)
    other.send(b"x")
    run_turns(loop, 3)
    loop.remove_reader(one)
    assert len(reports.take()) == 3


def test_context_of_a_callback(loop, pair):
    import contextvars

    one, other = pair
    variable = contextvars.ContextVar("variable", default="unset")
    seen = []
    token = variable.set("at adding")
    loop.add_reader(one, lambda: seen.append(variable.get()))
    variable.reset(token)
    other.send(b"x")
    run_turn(loop)
    assert seen == ["at adding"]
    loop.remove_reader(one)


def test_parameters_by_keyword(loop, pair):
    one, other = pair
    calls = []
    loop.add_reader(fd=one, callback=lambda: calls.append("read"))
    loop.add_writer(fd=one, callback=lambda: calls.append("write"))
    other.send(b"x")
    run_turn(loop)
    assert calls == ["read", "write"]
    assert loop.remove_reader(fd=one)
    assert loop.remove_writer(fd=one)


def test_a_callback_is_needed(loop, pair):
    for method in (loop.add_reader, loop.add_writer):
        with pytest.raises(TypeError):
            method(pair[0])
        with pytest.raises(TypeError):
            method()


def test_many_descriptors(loop):
    """More than come in one batch of events."""
    pairs = [socket.socketpair() for _ in range(400)]
    calls = set()
    for index, (one, other) in enumerate(pairs):
        loop.add_reader(one, calls.add, index)
        other.send(b"x")
    run_until(loop, lambda: len(calls) == 400, turns=10)
    for one, other in pairs:
        loop.remove_reader(one)
        one.close()
        other.close()


def test_adding_and_removing_very_often(loop, pair):
    one, other = pair
    other.send(b"x")
    calls = []
    for number in range(2000):
        loop.add_reader(one, calls.append, number)
        if number % 10 == 0:
            run_turn(loop)
            assert calls[-1] == number
        loop.remove_reader(one)
    run_turn(loop)
    assert len(calls) == 200


def test_closing_the_loop_forgets_its_descriptors(make_loop, pair):
    import gc
    import weakref

    class Argument:
        pass

    loop = make_loop()
    argument = Argument()
    reference = weakref.ref(argument)
    loop.add_reader(pair[0], print, argument)
    loop.add_writer(pair[0], print, argument)
    del argument
    loop.close()
    gc.collect()
    assert reference() is None
    if sys.version_info >= (3, 12):
        assert loop.remove_reader(pair[0]) is False


def test_a_task_that_waits_for_a_descriptor(loop, pair):
    one, other = pair

    async def readable(sock):
        future = loop.create_future()
        loop.add_reader(sock, future.set_result, None)
        try:
            await future
        finally:
            loop.remove_reader(sock)

    async def main():
        loop.call_soon(other.send, b"content")
        await readable(one)
        content = one.recv(100)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.005):
                await readable(one)
        assert loop.remove_reader(one) is False
        return content

    assert loop.run_until_complete(main()) == b"content"


def test_out_of_band_data_does_not_wake_a_reader(loop):
    server = socket.create_server(("127.0.0.1", 0))
    one = socket.create_connection(server.getsockname())
    other, _ = server.accept()
    calls = []
    loop.add_reader(one, calls.append, "read")
    other.send(b"!", socket.MSG_OOB)
    run_turns(loop, 3)
    other.send(b"x")
    run_until(loop, lambda: calls)
    loop.remove_reader(one)
    for each in (server, one, other):
        each.close()
