"""A fork while a loop runs: the child has none, and the parent's notices nothing."""

import asyncio
import multiprocessing
import os
import pickle
import signal
import socket
import subprocess
import sys
import textwrap
import traceback
import warnings

import pytest

import ferrio


def in_child(body):
    """Run ``body`` in a forked child; return what it returns or raise what it raises."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # Other tests' threads are none of a fork's business here.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        status = 1
        # It must not outlive a test that fails.
        signal.alarm(30)
        try:
            os.close(reader)
            try:
                outcome = (True, body())
            except BaseException:
                outcome = (False, traceback.format_exc())
            with open(writer, "wb") as file:
                pickle.dump(outcome, file)
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with open(reader, "rb") as file:
        data = file.read()
    _, status = os.waitpid(pid, 0)
    assert status == 0
    succeeded, value = pickle.loads(data)
    assert succeeded, value
    return value


def run(loop, main):
    return loop.run_until_complete(asyncio.wait_for(main, 60))


def test_no_loop_is_running_in_the_child(loop):
    def child():
        try:
            asyncio.get_running_loop()
        except RuntimeError as error:
            return str(error)

    async def main():
        return in_child(child)

    assert run(loop, main()) == "no running event loop"


def test_a_new_loop_and_subprocesses_work_in_the_child(loop, implementation):
    async def work():
        process = await asyncio.create_subprocess_exec("echo", "child's", stdout=-1)
        out, _ = await process.communicate()
        await asyncio.sleep(0.001)
        reader, writer = await asyncio.open_connection(sock=one)
        writer.write(b"x")
        await asyncio.sleep(0)
        assert other.recv(1) == b"x"
        writer.close()
        await writer.wait_closed()
        return out, process.returncode

    one, other = socket.socketpair()

    async def main():
        result = in_child(lambda: implementation.run(work()))
        # And the parent's goes on as if nothing had been.
        process = await asyncio.create_subprocess_exec("echo", "parent's", stdout=-1)
        assert (await process.communicate())[0] == b"parent's\n"
        return result

    assert run(loop, main()) == (b"child's\n", 0)
    one.close()
    other.close()


# What touches a loop. Each is refused in the child.
TOUCHES = {
    "call_soon": lambda loop: loop.call_soon(print),
    "call_soon_threadsafe": lambda loop: loop.call_soon_threadsafe(print),
    "call_later": lambda loop: loop.call_later(0, print),
    "call_at": lambda loop: loop.call_at(0, print),
    "create_task": lambda loop: loop.create_task(asyncio.sleep(0)),
    "add_reader": lambda loop: loop.add_reader(0, print),
    "remove_reader": lambda loop: loop.remove_reader(0),
    "add_writer": lambda loop: loop.add_writer(0, print),
    "remove_writer": lambda loop: loop.remove_writer(0),
    "add_signal_handler": lambda loop: loop.add_signal_handler(signal.SIGUSR1, print),
    "run_in_executor": lambda loop: loop.run_in_executor(None, print),
    "stop": lambda loop: loop.stop(),
    "run_forever": lambda loop: loop.run_forever(),
    "run_until_complete": lambda loop: loop.run_until_complete(loop.create_future()),
}


@pytest.mark.parametrize("touch", TOUCHES)
def test_the_parents_loop_says_whose_it_is(touch, watched):
    loop = ferrio.new_event_loop()

    def child():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                TOUCHES[touch](loop)
            except RuntimeError as error:
                return str(error)

    async def main():
        return in_child(child)

    expected = f"this event loop belongs to process {os.getpid()}"
    assert loop.run_until_complete(main()) == expected
    # One that does not run as well.
    assert in_child(child) == expected
    loop.close()


def test_closing_the_parents_loop_in_the_child_does_nothing(watched):
    loop = ferrio.new_event_loop()

    def child():
        loop.close()
        assert loop.is_closed()
        assert not loop.is_running()
        assert "closed=True" in repr(loop)
        return True

    async def main():
        return in_child(child)

    assert loop.run_until_complete(main())
    assert not loop.is_closed()
    assert loop.run_until_complete(asyncio.sleep(0, "still runs")) == "still runs"
    loop.close()


def test_a_loop_that_was_closed_before_says_so(watched):
    loop = ferrio.new_event_loop()
    loop.close()

    def child():
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            loop.call_soon(print)
        return True

    assert in_child(child)


def watched_by_loop():
    """The descriptors in the one epoll set of this process, as the kernel tells."""
    (fd,) = (name for name in os.listdir("/proc/self/fd") if is_epoll(name))
    with open(f"/proc/self/fdinfo/{fd}") as info:
        return sorted(line.split()[1] for line in info if line.startswith("tfd:"))


def is_epoll(name):
    try:
        return os.readlink(f"/proc/self/fd/{name}") == "anon_inode:[eventpoll]"
    except OSError:
        return False


def test_the_parents_epoll_set_stays_as_it_is(watched):
    """Whatever the child does with transports, sockets, handlers and the loop itself."""
    loop = ferrio.new_event_loop()
    one, other = socket.socketpair()
    reader, writer = os.pipe()
    third, fourth = socket.socketpair()

    async def main():
        loop.add_signal_handler(signal.SIGUSR1, print)
        stream_reader, stream_writer = await asyncio.open_connection(sock=one)
        pipe, _ = await loop.connect_read_pipe(asyncio.Protocol, open(reader, "rb", 0))
        loop.add_reader(third, print)
        before = watched_by_loop()
        assert len(before) == 5

        def child():
            for touch in (
                stream_writer.transport.abort,
                pipe.close,
                lambda: loop.remove_reader(third),
                lambda: loop.add_reader(fourth, print),
                lambda: loop.remove_signal_handler(signal.SIGUSR1),
                loop.close,
                third.close,
                one.close,
            ):
                try:
                    touch()
                except RuntimeError:
                    pass
            ferrio.run(asyncio.sleep(0))
            return [name for name in os.listdir("/proc/self/fd") if is_epoll(name)]

        assert in_child(child) == []
        assert watched_by_loop() == before
        # And everything works.
        other.send(b"x")
        assert await stream_reader.read(1) == b"x"
        loop.remove_reader(third)
        pipe.close()
        stream_writer.close()
        await stream_writer.wait_closed()
        loop.remove_signal_handler(signal.SIGUSR1)

    run(loop, main())
    loop.close()
    for sock in (other, third, fourth):
        sock.close()
    os.close(writer)


def test_what_was_written_is_sent_once(loop):
    one, other = socket.socketpair()

    async def main():
        _, writer = await asyncio.open_connection(sock=one)
        writer.write(b"once")
        in_child(lambda: None)
        await asyncio.sleep(0)
        writer.close()
        await writer.wait_closed()

    run(loop, main())
    assert other.recv(100) == b"once"
    assert other.recv(100) == b""
    other.close()


def test_a_child_that_goes_on_in_the_parents_loop_is_stopped(watched):
    """It leaves run_until_complete() with the error, and runs no callback of the parent's."""
    loop = ferrio.new_event_loop()
    parent = os.getpid()
    reader, writer = os.pipe()

    async def main():
        loop.call_soon(lambda: os.write(writer, b"callback in %d\n" % os.getpid()))
        pid = os.fork()
        await asyncio.sleep(0)
        assert os.getpid() == parent
        return pid

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        status = 1
        try:
            pid = loop.run_until_complete(main())
        except RuntimeError as error:
            status = 0 if str(error) == f"this event loop belongs to process {parent}" else 2
        finally:
            if os.getpid() != parent:
                os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    os.close(writer)
    with open(reader, "rb") as file:
        assert file.read() == b"callback in %d\n" % parent
    loop.close()


def test_a_signal_for_the_child_is_none_for_the_parent(loop, implementation):
    if sys.version_info < (3, 12) and not implementation.is_ferrio:
        pytest.skip("asyncio 3.11 tells the parent")
    heard = []

    def child():
        os.kill(os.getpid(), signal.SIGUSR1)
        return True

    async def main():
        loop.add_signal_handler(signal.SIGUSR1, heard.append, "parent")
        assert in_child(child)
        for _ in range(3):
            await asyncio.sleep(0)
        assert heard == []
        os.kill(os.getpid(), signal.SIGUSR1)
        while not heard:
            await asyncio.sleep(0)
        loop.remove_signal_handler(signal.SIGUSR1)

    run(loop, main())


PROGRAM = """
    import asyncio, os, socket, sys, threading
    import ferrio

    async def main():
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await reader.read()
        writer.close()
        process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
        loop.call_later(1000, print)
        pid = os.fork()
        if pid == 0:
            os._exit(0 if threading.active_count() == 1 else 1)
        assert os.waitpid(pid, 0)[1] == 0
        await process.communicate(b"x")
        server.close()
        assert process.returncode == 0
        await asyncio.to_thread(print, "threads work")

    ferrio.run(main())
"""


def test_no_thread_is_alive_when_a_running_loop_forks():
    """From 3.12 a fork with other threads is a DeprecationWarning, native ones included."""
    subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(PROGRAM)],
        check=True,
        timeout=60,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


def double(connection, number):
    """What a process of multiprocessing's does: it has a loop of its own."""

    async def main():
        await asyncio.sleep(0)
        return number * 2

    connection.send(asyncio.run(main()))
    connection.close()


MULTIPROCESSING = """
    import asyncio, multiprocessing, sys
    import ferrio
    from test_fork import double

    async def main(method):
        context = multiprocessing.get_context(method)
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=double, args=(sender, 21))
        process.start()
        sender.close()
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(None, receiver.recv) == 42
        await loop.run_in_executor(None, process.join)
        assert process.exitcode == 0
        receiver.close()

    if __name__ == "__main__":
        asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
@pytest.mark.parametrize("loops", ["asyncio", "ferrio"])
def test_multiprocessing_from_a_running_loop(method, loops, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(MULTIPROCESSING))
    path = [os.path.dirname(__file__), *filter(None, sys.path)]
    command = [sys.executable, *(["-m", "ferrio"] if loops == "ferrio" else [])]
    subprocess.run(
        [*command, str(program), method],
        check=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
    )
