"""The subprocess's transport: what a protocol hears and when, and how processes are watched."""

import asyncio
import errno
import gc
import logging
import os
import signal
import subprocess
import sys
import threading
import warnings
from asyncio.subprocess import PIPE
from unittest import mock

import pytest

import ferrio


class Recorder(asyncio.SubprocessProtocol):
    """Keeps what happened, in order."""

    def __init__(self):
        self.transport = None
        self.events = []
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        self.events.append("made")

    def pipe_data_received(self, fd, data):
        self.events.append(("data", fd, data))

    def pipe_connection_lost(self, fd, exc):
        self.events.append(("pipe lost", fd))

    def process_exited(self):
        self.events.append("exited")

    def connection_lost(self, exc):
        self.events.append(("lost", exc))
        self.lost.set_result(self.transport.get_returncode())


def run(loop, main):
    return loop.run_until_complete(asyncio.wait_for(main, 60))


def test_what_a_protocol_hears_and_in_which_order(loop):
    async def main():
        transport, protocol = await loop.subprocess_shell(
            Recorder, "echo out; echo err >&2; exit 5"
        )
        assert isinstance(transport, asyncio.SubprocessTransport)
        assert protocol.transport is None or protocol.transport is transport
        transport.get_pipe_transport(0).close()
        assert await protocol.lost == 5
        events = protocol.events
        assert events[0] == "made"
        assert events[-1] == ("lost", None)
        for fd, data in ((1, b"out\n"), (2, b"err\n")):
            mine = [event for event in events if event[:1] != "m" and event[1:2] == (fd,)]
            assert mine == [("data", fd, data), ("pipe lost", fd)]
        assert events.count("exited") == 1
        assert ("pipe lost", 0) in events
        transport.close()

    run(loop, main())


def test_what_the_transport_tells(loop):
    async def main():
        transport, protocol = await loop.subprocess_exec(Recorder, "cat", stderr=None)
        process = transport.get_extra_info("subprocess")
        assert isinstance(process, subprocess.Popen)
        assert transport.get_pid() == process.pid
        assert transport.get_returncode() is None
        assert isinstance(transport.get_pipe_transport(0), asyncio.WriteTransport)
        assert isinstance(transport.get_pipe_transport(1), asyncio.ReadTransport)
        assert transport.get_pipe_transport(2) is None
        assert transport.get_pipe_transport(7) is None
        assert f"pid={process.pid} running stdin=" in repr(transport)
        assert transport.get_protocol() is protocol
        transport.get_pipe_transport(0).write(b"hello")
        transport.get_pipe_transport(0).close()
        assert await protocol.lost == 0
        assert process.returncode == 0
        assert not transport.is_closing()
        assert f"pid={process.pid} returncode=0" in repr(transport)
        transport.close()
        assert transport.is_closing()

    run(loop, main())


def test_closing_kills(loop):
    async def main():
        transport, protocol = await loop.subprocess_exec(Recorder, "cat")
        transport.close()
        transport.close()
        assert transport.is_closing()
        assert await protocol.lost == -signal.SIGKILL

    run(loop, main())


@pytest.mark.parametrize(
    "callback",
    ["connection_made", "pipe_data_received", "pipe_connection_lost", "process_exited", "lost"],
)
def test_closing_in_every_callback(loop, callback):
    """The process is killed unless it has ended, and the protocol hears of both ends."""

    class Closing(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            self.close_in("connection_made")

        def pipe_data_received(self, fd, data):
            super().pipe_data_received(fd, data)
            self.close_in("pipe_data_received")

        def pipe_connection_lost(self, fd, exc):
            super().pipe_connection_lost(fd, exc)
            self.close_in("pipe_connection_lost")

        def process_exited(self):
            super().process_exited()
            self.close_in("process_exited")

        def connection_lost(self, exc):
            super().connection_lost(exc)
            self.close_in("lost")

        def close_in(self, name):
            if name == callback:
                self.transport.close()

    async def main():
        # What it would do if it went on: wait for ever, or exit once its standard input ends.
        transport, protocol = await loop.subprocess_shell(Closing, "echo out; exec >&-; read line")
        if callback in ("process_exited", "lost"):
            transport.get_pipe_transport(0).close()
        returncode = await protocol.lost
        if callback in ("process_exited", "lost"):
            assert returncode == 1
        else:
            # Its input ends when the transport closes the pipe, which it may see before SIGKILL.
            assert returncode in (1, -signal.SIGKILL)
        assert protocol.events.count("exited") == 1
        assert protocol.events[-1] == ("lost", None)
        assert protocol.events.count(("lost", None)) == 1
        assert transport.is_closing()

    run(loop, main())


def test_closing_a_process_that_has_ended_unnoticed(loop, implementation):
    if not implementation.is_ferrio:
        pytest.skip("asyncio takes the exit status itself and then misses it")

    async def main():
        transport, protocol = await loop.subprocess_exec(
            Recorder, "sh", "-c", "read line; exit 3", stdout=None, stderr=None
        )
        transport.get_pipe_transport(0).write(b"\n")
        os.waitid(os.P_PID, transport.get_pid(), os.WEXITED | os.WNOWAIT)
        transport.close()
        assert await protocol.lost == 3

    run(loop, main())


def test_a_child_that_somebody_else_waits_for(loop, implementation, logged):
    if not implementation.is_ferrio and sys.version_info < (3, 12):
        pytest.skip("a thread of asyncio's waits for every child, and may well be the first")

    async def main():
        transport, protocol = await loop.subprocess_exec(
            Recorder, "sleep", "60", stdin=None, stdout=None, stderr=None
        )
        pid = transport.get_pid()
        os.kill(pid, signal.SIGKILL)
        # The loop does not run meanwhile.
        assert os.waitpid(pid, 0)[0] == pid
        assert await protocol.lost == 255
        # Its number may be another's by now.
        with mock.patch("os.kill") as kill, pytest.raises(ProcessLookupError):
            transport.kill()
        assert not kill.called
        transport.close()
        return pid

    pid = run(loop, main())
    (message,) = logged.texts()
    assert str(pid) in message
    assert message.endswith("will report returncode 255")


def test_no_signal_to_a_process_that_was_waited_for(loop, implementation, logged):
    """Even before the loop knows: the number may be a stranger's."""
    if not implementation.is_ferrio:
        pytest.skip("asyncio sends it to whoever has the number")

    async def main():
        transport, protocol = await loop.subprocess_exec(
            Recorder, "sleep", "60", stdin=None, stdout=None, stderr=None
        )
        pid = transport.get_pid()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        with mock.patch("os.kill") as kill:
            transport.send_signal(signal.SIGTERM)
            transport.kill()
            transport.close()
        assert not kill.called
        assert await protocol.lost == 255

    run(loop, main())
    logged.take()


def test_a_sigchld_handler_of_the_programs_own(loop):
    calls = []
    before = signal.signal(signal.SIGCHLD, lambda number, frame: calls.append(number))
    try:

        async def main():
            transport, protocol = await loop.subprocess_shell(Recorder, "exit 4", stdin=None)
            assert await protocol.lost == 4
            transport.close()

        run(loop, main())
        assert calls
        assert signal.getsignal(signal.SIGCHLD).__name__ == "<lambda>"
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_sigchld_that_is_ignored(loop, logged):
    """The kernel takes the exit status itself then."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:

        async def main():
            transport, protocol = await loop.subprocess_exec(
                Recorder, "cat", stdout=None, stderr=None
            )
            transport.get_pipe_transport(0).close()
            assert await protocol.lost == 255
            transport.close()

        run(loop, main())
    finally:
        signal.signal(signal.SIGCHLD, before)
    (message,) = logged.texts()
    assert "will report returncode 255" in message


def test_outside_of_the_main_thread_and_in_several_loops(implementation, watched):
    results = []

    async def main():
        process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        out, _ = await process.communicate(threading.current_thread().name.encode())
        results.append((out.decode(), process.returncode))

    def in_thread():
        implementation.run(asyncio.wait_for(main(), 60))

    threads = [threading.Thread(target=in_thread, name=f"thread {n}") for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [(f"thread {n}", 0) for n in range(4)]


@pytest.fixture(params=[errno.ENOSYS, errno.EPERM, errno.EMFILE])
def refused_pidfd(request):
    """A kernel or a sandbox that gives out no pidfd."""
    error = OSError(request.param, os.strerror(request.param))
    with mock.patch("os.pidfd_open", side_effect=error) as pidfd_open:
        yield pidfd_open


def test_without_pidfds_a_thread_waits(refused_pidfd, watched):
    async def main():
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.subprocess_shell(Recorder, "read x; exit 6")
        (thread,) = (t for t in threading.enumerate() if t.name.startswith("asyncio-waitpid-"))
        assert thread.daemon
        transport.send_signal(0)
        transport.get_pipe_transport(0).close()
        assert await protocol.lost == 6
        transport.close()
        thread.join()
        process = await asyncio.create_subprocess_exec("sleep", "60")
        process.kill()
        assert await process.wait() == -signal.SIGKILL

    ferrio.run(asyncio.wait_for(main(), 60))
    assert refused_pidfd.called


def test_without_pidfds_and_with_somebody_else_waiting(refused_pidfd, watched):
    async def main():
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.subprocess_exec(
            Recorder, "sleep", "60", stdin=None, stdout=None, stderr=None
        )
        pid = transport.get_pid()
        os.kill(pid, signal.SIGKILL)
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            # The thread was faster.
            assert await protocol.lost == -signal.SIGKILL
        else:
            assert await protocol.lost in (255, -signal.SIGKILL)
        transport.close()

    ferrio.run(asyncio.wait_for(main(), 60))
    watched.take()


def test_a_loop_that_closes_before_its_child_ends(implementation, watched):
    if not implementation.is_ferrio:
        pytest.skip("asyncio leaves the pidfd open")
    loop = implementation.EventLoop()

    async def main():
        return await loop.subprocess_exec(
            asyncio.SubprocessProtocol, "sleep", "60", stdin=None, stdout=None, stderr=None
        )

    transport, _ = loop.run_until_complete(main())
    process = transport.get_extra_info("subprocess")
    loop.close()
    transport.close()
    assert process.wait() == -signal.SIGKILL
    del transport
    gc.collect()


def test_an_abandoned_transport_warns_and_kills(watched):
    loop = ferrio.new_event_loop()
    transport, _ = loop.run_until_complete(
        loop.subprocess_exec(asyncio.SubprocessProtocol, "sleep", "60", stdout=None, stderr=None)
    )
    process = transport.get_extra_info("subprocess")
    loop.close()
    with pytest.warns(ResourceWarning) as warned:
        del transport
        gc.collect()
    assert any("unclosed transport <SubprocessTransport" in str(one.message) for one in warned)
    assert process.wait() == -signal.SIGKILL


def test_debug_mode_logs(loop, caplog, logged):
    loop.set_debug(True)
    loop.slow_callback_duration = 100
    logger = logging.getLogger("asyncio")
    records = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.DEBUG)
    try:

        async def main():
            transport, protocol = await loop.subprocess_exec(
                Recorder, "sleep", "60", stdin=None, stderr=subprocess.STDOUT
            )
            transport.close()
            await protocol.lost

        run(loop, main())
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
        loop.set_debug(False)
    text = "\n".join(records)
    assert "execute program 'sleep' stdout=stderr=<pipe>" in text
    assert "Close running child process: kill" in text
    assert "exited with return code -9" in text
    logged.take()


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="child watchers are gone")
def test_a_child_watcher_of_the_programs_own_is_asked(loop):
    policy = asyncio.get_event_loop_policy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)

        class Watcher(asyncio.ThreadedChildWatcher):
            pids = []

            def add_child_handler(self, pid, callback, *args):
                self.pids.append(pid)
                super().add_child_handler(pid, callback, *args)

        watcher = Watcher()
        policy.set_child_watcher(watcher)
    try:

        async def main():
            process = await asyncio.create_subprocess_shell("exit 9")
            assert await process.wait() == 9
            return process.pid

        assert watcher.pids == [run(loop, main())]
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            policy.set_child_watcher(None)


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="child watchers are gone")
def test_a_child_watcher_that_is_not_active(loop):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        watcher = mock.create_autospec(asyncio.AbstractChildWatcher)
        watcher.is_active.return_value = False
        # 3.11 asks what entering it gave.
        watcher.__enter__.return_value = watcher
        asyncio.set_child_watcher(watcher)
    try:

        async def main():
            with pytest.raises(RuntimeError, match="not activated"):
                await asyncio.create_subprocess_exec("true")

        run(loop, main())
        assert not watcher.add_child_handler.called
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            asyncio.set_child_watcher(None)


def test_process_exits_while_a_grandchild_holds_the_pipe(loop):
    async def main():
        transport, protocol = await loop.subprocess_shell(
            Recorder, "sleep 60 & echo $!; exit 2", stdin=None, stderr=None
        )
        while "exited" not in protocol.events:
            await asyncio.sleep(0.001)
        while not any(event[:1] == ("data",) for event in protocol.events):
            await asyncio.sleep(0.001)
        assert not protocol.lost.done()
        assert transport.get_returncode() == 2
        grandchild = int(next(event[2] for event in protocol.events if event[0] == "data"))
        # Known to have ended, but the transport goes on.
        transport.send_signal(signal.SIGTERM)
        os.kill(grandchild, signal.SIGKILL)
        assert await protocol.lost == 2
        transport.close()

    run(loop, main())
