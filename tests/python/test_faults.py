"""What the system may do to a program, and a program to itself: each is survived and told of."""

import asyncio
import contextlib
import errno
import gc
import os
import resource
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from unittest import mock

import pytest

import seccomp
from package_support import Echo, Recorder, close, tls_contexts
from turns import run_turns

HOST = "127.0.0.1"


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


async def exchange(loop, address):
    """One message there and back, by a transport and by hand."""
    _, protocol = await loop.create_connection(Recorder, *address)
    protocol.transport.write(b"by a transport")
    await until(lambda: protocol.received == b"by a transport")
    await close(protocol)
    with socket.socket() as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, address)
        await loop.sock_sendall(sock, b"by hand")
        received = b""
        while len(received) < 7:
            received += await loop.sock_recv(sock, 100)
        assert received == b"by hand"


class Faulty(socket.socket):
    """A listening socket whose accept() fails as often as it is told to."""

    faults: list
    failed_calls: list
    calls = 0

    def accept(self):
        self.calls += 1
        if self.faults:
            self.failed_calls.append(self.calls)
            raise self.faults.pop(0)
        connection, address = super().accept()
        return socket.socket(fileno=connection.detach()), address


@contextlib.asynccontextmanager
async def serving(loop, faults, backlog):
    with Faulty() as listening:
        listening.faults, listening.failed_calls = faults, []
        listening.bind((HOST, 0))
        made = []

        def make():
            made.append(Echo())
            return made[-1]

        server = await loop.create_server(make, sock=listening, backlog=backlog)
        try:
            yield listening
        finally:
            for protocol in made:
                await protocol.lost
            server.close()


class TestAccepting:
    OUT_OF_RESOURCES = [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM]

    @pytest.mark.parametrize("backlog", [1, 100])
    @pytest.mark.parametrize("number", OUT_OF_RESOURCES, ids=errno.errorcode.get)
    def test_out_of_resources_it_is_told_once_and_tried_again_later(
        self, loop, implementation, reports, number, backlog
    ):
        if backlog > 1 and not implementation.is_ferrio:
            pytest.skip("asyncio fails and schedules itself as often as its backlog is long")
        fault = OSError(number, os.strerror(number))

        async def main():
            # Three times in a row, to see that one retry does not become many.
            async with serving(loop, [fault] * 3, backlog) as listening:
                with mock.patch("asyncio.constants.ACCEPT_RETRY_DELAY", 0.02):
                    client = socket.create_connection(listening.getsockname())
                    await until(lambda: len(reports) == 3)
                    # Between the tries the socket is not looked at, though it is ready.
                    assert listening.failed_calls == [1, 2, 3]
                    client.close()
                await exchange(loop, listening.getsockname())
                # asyncio's last try may have been put off, whoever comes meanwhile.
                await asyncio.sleep(0.05)
            for report in reports.take():
                assert report["message"] == "socket.accept() out of system resource"
                assert report["exception"] is fault
                assert report["socket"].fileno() >= -1

        loop.run_until_complete(main())

    @pytest.mark.parametrize(
        "fault",
        [
            ConnectionAbortedError(errno.ECONNABORTED, "Software caused connection abort"),
            InterruptedError(errno.EINTR, "Interrupted system call"),
            BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"),
        ],
        ids=lambda fault: type(fault).__name__,
    )
    def test_what_is_no_fault_of_the_servers_is_not_told(self, loop, fault):
        # An exception that is raised again keeps the frames of the first time.
        faults = [type(fault)(*fault.args) for _ in range(2)]

        async def main():
            async with serving(loop, faults, 100) as listening:
                await exchange(loop, listening.getsockname())

        loop.run_until_complete(main())

    def test_another_error_is_reported_and_serving_goes_on(self, loop, reports):
        fault = OSError(errno.EPROTO, "Protocol error")

        async def main():
            async with serving(loop, [fault], 100) as listening:
                await exchange(loop, listening.getsockname())

        loop.run_until_complete(main())
        assert reports.take_one()["exception"] is fault


class Interrupted(socket.socket):
    """A socket whose every system call is interrupted the first two times."""

    def _interrupted(name):
        method = getattr(socket.socket, name)

        def call(self, *arguments):
            counts = self.__dict__.setdefault("counts", {})
            counts[name] = counts.get(name, 0) + 1
            if counts[name] <= 2:
                raise InterruptedError(errno.EINTR, "Interrupted system call")
            return method(self, *arguments)

        return call

    recv = _interrupted("recv")
    recv_into = _interrupted("recv_into")
    recvfrom = _interrupted("recvfrom")
    recvfrom_into = _interrupted("recvfrom_into")
    send = _interrupted("send")
    sendto = _interrupted("sendto")


def test_interrupted_system_calls_are_made_again(loop):
    async def main():
        plain, other = socket.socketpair(type=socket.SOCK_DGRAM)
        with Interrupted(fileno=plain.detach()) as one, other:
            one.setblocking(False)
            other.setblocking(False)
            await loop.sock_sendall(one, b"sendall")
            assert await loop.sock_recv(other, 100) == b"sendall"
            memory = bytearray(100)
            for call in (
                lambda: loop.sock_recv(one, 100),
                lambda: loop.sock_recv_into(one, memory),
                lambda: loop.sock_recvfrom(one, 100),
                lambda: loop.sock_recvfrom_into(one, memory),
            ):
                other.send(b"x" * 7)
                received = await call()
                received = received[0] if isinstance(received, tuple) else received
                assert received in (b"x" * 7, 7)

    loop.run_until_complete(main())


def test_signals_while_everything_is_going_on(loop, tmp_path):
    """A timer interrupts whatever system call happens to be made, thousands of times."""
    path = tmp_path / "data"
    path.write_bytes(os.urandom(300_000))
    seen = []
    before = signal.signal(signal.SIGALRM, lambda *_: seen.append(1))

    async def main():
        server = await loop.create_server(Echo, HOST, 0)
        address = server.sockets[0].getsockname()
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        try:
            while len(seen) < 300:
                await exchange(loop, address)
                one, other = socket.socketpair()
                with one, other, path.open("rb") as file:
                    one.setblocking(False)
                    other.setblocking(False)
                    sending = asyncio.ensure_future(loop.sock_sendfile(one, file))
                    received = b""
                    while len(received) < 300_000:
                        received += await loop.sock_recv(other, 100_000)
                    assert await sending == 300_000
                    assert received == path.read_bytes()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        server.close()
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0)

    try:
        loop.run_until_complete(main())
        run_turns(loop, 5)
    finally:
        signal.signal(signal.SIGALRM, before)


class TestAPeerThatNeverReads:
    """What a program that honours flow control keeps in memory is bounded (CVE-2024-12254)."""

    SIZE = 50_000

    @pytest.mark.parametrize("how", ["write", "writelines"])
    def test_a_stream_waits(self, loop, implementation, how):
        fixed = sys.version_info[:3] >= {12: (3, 12, 9), 13: (3, 13, 2)}.get(
            sys.version_info[1], (3, 11)
        )
        if how == "writelines" and not fixed and not implementation.is_ferrio:
            pytest.skip("asyncio had not fixed it yet")

        async def main():
            with socket.create_server((HOST, 0)) as listening:
                _, writer = await asyncio.open_connection(*listening.getsockname())
                peer, _ = listening.accept()
            _, high = writer.transport.get_write_buffer_limits()
            chunk = bytes(self.SIZE)

            async def write_for_ever():
                while True:
                    if how == "write":
                        writer.write(chunk)
                    else:
                        writer.writelines([chunk[:10_000]] * 5)
                    await writer.drain()

            writing = asyncio.ensure_future(write_for_ever())
            await until(lambda: writer.transport.get_write_buffer_size() > high)
            for _ in range(200):
                await asyncio.sleep(0)
            assert writer.transport.get_write_buffer_size() <= high + self.SIZE
            assert not writing.done()
            writing.cancel()
            writer.transport.abort()
            peer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

        loop.run_until_complete(main())


def raise_file_limit(count):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        pytest.skip(f"the system allows no more than {hard} files")
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    return soft, hard


@pytest.fixture
def many_files():
    """Every number below 1,100 is taken."""
    before = raise_file_limit(2_000)
    taken = []
    while not taken or taken[-1] < 1_100:
        taken.append(os.open(os.devnull, os.O_RDONLY))
    yield
    for fd in taken:
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_descriptors_above_1024(many_files, make_loop):
    loop = make_loop()

    async def main():
        server = await loop.create_server(Echo, HOST, 0)
        assert server.sockets[0].fileno() > 1024
        await exchange(loop, server.sockets[0].getsockname())
        one, other = socket.socketpair()
        with one, other:
            seen = asyncio.Event()
            loop.add_reader(one, seen.set)
            other.send(b"x")
            await seen.wait()
            loop.remove_reader(one)
        loop.add_signal_handler(signal.SIGUSR1, seen.clear)
        signal.raise_signal(signal.SIGUSR1)
        await until(lambda: not seen.is_set())
        loop.remove_signal_handler(signal.SIGUSR1)
        server.close()
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0)

    loop.run_until_complete(main())


def run_child(source, implementation, *arguments, **options):
    """Run a program in a process of its own; ``EventLoop`` is the implementation's."""
    prelude = (
        "import asyncio, os, signal, socket, sys\n"
        + (
            "from ferrio import EventLoop\n"
            if implementation.is_ferrio
            else "from asyncio import SelectorEventLoop as EventLoop\n"
        )
        + "def run(main):\n"
        "    with asyncio.Runner(loop_factory=EventLoop) as runner:\n"
        "        return runner.run(main)\n"
    )
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", prelude + textwrap.dedent(source), *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
        **options,
    )


ECHO_TO_SELF = """
async def echo_to_self():
    async def echo(reader, writer):
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    loop = asyncio.get_running_loop()
    for number in range(20):
        writer.write(b"%02d" % number)
        assert await reader.readexactly(2) == b"%02d" % number
        await asyncio.sleep(0.0001)
    writer.close()
    await writer.wait_closed()
    one, other = socket.socketpair()
    one.setblocking(False)
    waiting = asyncio.ensure_future(loop.sock_recv(one, 10))
    await asyncio.sleep(0)
    other.send(b"x")
    assert await waiting == b"x"
    one.close()
    other.close()
    server.close()
"""


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_standard_streams_closed_at_the_start(implementation, tmp_path, closed):
    """The loop's own files get the numbers 0 to 2, and so may its sockets."""
    result = tmp_path / "result"
    program = ECHO_TO_SELF + (
        "async def main():\n"
        "    await echo_to_self()\n"
        "    seen = asyncio.Event()\n"
        "    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, seen.set)\n"
        "    signal.raise_signal(signal.SIGUSR1)\n"
        "    await seen.wait()\n"
        "    assert await asyncio.to_thread(int, '7') == 7\n"
        "run(main())\n"
        "open(sys.argv[1], 'w').write('fine')\n"
    )

    def close_them():
        for fd in closed:
            os.close(fd)

    outcome = run_child(program, implementation, str(result), preexec_fn=close_them)
    assert result.exists(), outcome.stderr
    assert result.read_text() == "fine"
    assert outcome.returncode == 0


@pytest.mark.skipif(not seccomp.is_available(), reason="no filter of system calls here")
@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EPERM], ids=errno.errorcode.get)
def test_epoll_pwait2_is_refused(implementation, error):
    """Old kernels do not know it and sandboxes refuse it; then the loop waits in another way."""
    program = ECHO_TO_SELF + (
        "import seccomp\n"
        "seccomp.refuse(seccomp.EPOLL_PWAIT2, int(sys.argv[1]))\n"
        "async def main():\n"
        "    loop = asyncio.get_running_loop()\n"
        "    for delay in (0.0001, 0.0015, 0.01, 0.0123456):\n"
        "        started = loop.time()\n"
        "        await asyncio.sleep(delay)\n"
        "        assert loop.time() - started >= delay - 1e-9\n"
        "    await echo_to_self()\n"
        "    print('fine')\n"
        "run(main())\n"
    )
    outcome = run_child(program, implementation, str(error))
    assert (outcome.stdout, outcome.returncode) == ("fine\n", 0), outcome.stderr


WORK = {
    "tasks and timers": """
        async def sleeper():
            await asyncio.sleep(1000)
        tasks = [asyncio.create_task(sleeper()) for _ in range(10)]
        asyncio.get_running_loop().call_later(1000, print)
        await asyncio.sleep(0)
    """,
    "sockets": """
        one, other = socket.socketpair()
        one.setblocking(False)
        waiting = asyncio.create_task(loop.sock_recv(one, 1))
        loop.add_reader(other, print)
        await asyncio.sleep(0)
    """,
    "streams": """
        server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
        streams = await asyncio.open_connection(*server.sockets[0].getsockname())
        streams[1].write(bytes(10_000_000))
        reading = asyncio.create_task(streams[0].read())
        await asyncio.sleep(0)
    """,
    "subprocesses and pipes": """
        process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
        waiting = asyncio.create_task(process.wait())
        reading = asyncio.create_task(process.stdout.read())
        read, write = os.pipe()
        pipe = await loop.connect_write_pipe(asyncio.Protocol, open(write, "wb", 0))
        pipe[0].write(bytes(10_000_000))
        await asyncio.sleep(0)
    """,
    "datagrams": """
        one = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
        )
        for _ in range(10):
            one[0].sendto(b"x", one[0].get_extra_info("sockname"))
    """,
    "generators and signals": """
        async def numbers():
            try:
                while True:
                    yield await asyncio.sleep(0, 1)
            finally:
                await asyncio.sleep(0)
        generator = numbers()
        await anext(generator)
        loop.add_signal_handler(signal.SIGUSR1, list)
        os.kill(os.getpid(), signal.SIGUSR1)
    """,
    "TLS": """
        from package_support import tls_contexts
        server_context, client_context = tls_contexts()
        def serve(reader, writer):
            writer.write(bytes(100_000))
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context)
        address = server.sockets[0].getsockname()
        streams = await asyncio.open_connection(
            *address, ssl=client_context, server_hostname="localhost"
        )
        streams[1].write(bytes(10_000_000))
        reading = asyncio.create_task(streams[0].read())
        connecting = asyncio.create_task(
            asyncio.open_connection(*address, ssl=client_context, server_hostname="localhost")
        )
        await streams[0].readexactly(10)
    """,
    "lookups and threads": """
        lookup = asyncio.create_task(loop.getaddrinfo("localhost", 80))
        other = loop.run_in_executor(None, os.getpid)
        await asyncio.sleep(0)
    """,
}
ENDS = {
    "returns": "return",
    "stops": "loop.stop(); await asyncio.sleep(1000)",
    "raises SystemExit": "sys.exit(3)",
    "raises KeyboardInterrupt": "raise KeyboardInterrupt",
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("work", WORK)
def test_the_interpreter_exits_with_work_pending(implementation, work, end):
    """It ends as it does on asyncio; the loop is left to the interpreter, unclosed."""
    program = "".join(
        [
            "import warnings\nwarnings.simplefilter('ignore')\n",
            "loop = EventLoop()\n",
            "async def main():\n",
            textwrap.indent(textwrap.dedent(WORK[work]), "    "),
            "    globals().update(locals())\n",
            f"    {ENDS[end]}\n",
            "try:\n    loop.run_until_complete(main())\n",
            "except RuntimeError:\n    pass\n",
            "print('end')\n",
        ]
    )
    outcome = run_child(program, implementation)
    expected = {"raises SystemExit": 3, "raises KeyboardInterrupt": -signal.SIGINT}.get(end, 0)
    assert outcome.returncode == expected, outcome.stderr
    assert outcome.stdout == ("" if expected else "end\n")
    assert "Fatal Python error" not in outcome.stderr


IN_DAEMON_THREADS = {
    "sleeps": "while True: await asyncio.sleep(0)",
    "waits": "await asyncio.sleep(1000)",
    "timers": "while True: await asyncio.sleep(0.0001)",
    "callbacks": """
        def again():
            loop.call_soon(again)
        again()
        await asyncio.sleep(1000)
    """,
    "Python code": """
        def again():
            sum(range(1000))
            loop.call_soon(again)
        again()
        await asyncio.sleep(1000)
    """,
    "a blocking call": """
        loop.call_later(0.01, time.sleep, 0.5)
        await asyncio.sleep(1000)
    """,
    "threads": "while True: await asyncio.to_thread(int)",
    "tasks": """
        async def nothing():
            await asyncio.sleep(0)
        while True:
            await asyncio.gather(*[nothing() for _ in range(10)])
    """,
    "calls of sockets": """
        one, other = socket.socketpair()
        one.setblocking(False)
        other.setblocking(False)
        while True:
            await loop.sock_sendall(one, b"x")
            await loop.sock_recv(other, 1)
    """,
    "streams": """
        async def echo(reader, writer):
            while data := await reader.read(100):
                writer.write(data)
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        while True:
            writer.write(b"hello")
            await reader.readexactly(5)
    """,
}


@pytest.mark.parametrize("busy", IN_DAEMON_THREADS)
def test_the_interpreter_exits_while_a_daemon_thread_runs_a_loop(implementation, busy):
    """Up to 3.13 the thread is ended wherever it is, in the middle of a turn, too."""
    program = "".join(
        [
            "import threading, time\n",
            "async def main():\n",
            "    loop = asyncio.get_running_loop()\n",
            "    ready.set()\n",
            textwrap.indent(textwrap.dedent(IN_DAEMON_THREADS[busy]), "    "),
            "\nready = threading.Event()\n",
            "threading.Thread(target=lambda: run(main()), daemon=True).start()\n",
            "ready.wait(60)\n",
            "time.sleep(float(sys.argv[1]))\n",
            "print('end')\n",
        ]
    )
    # At several moments of what it does.
    for delay in 0, 0.02, 0.0501:
        outcome = run_child(program, implementation, str(delay))
        assert (outcome.returncode, outcome.stdout) == (0, "end\n"), outcome.stderr
        assert "FATAL" not in outcome.stderr


def test_a_storm_of_signals_from_a_thread(loop):
    calls = 0

    def count():
        nonlocal calls
        calls += 1

    loop.add_signal_handler(signal.SIGUSR1, count)
    # A pipe that is full is no news.
    signal.set_wakeup_fd(signal.set_wakeup_fd(-1), warn_on_full_buffer=False)

    def storm():
        for _ in range(20_000):
            os.kill(os.getpid(), signal.SIGUSR1)

    async def main():
        thread = threading.Thread(target=storm)
        thread.start()
        while thread.is_alive():
            await asyncio.sleep(0)
        thread.join()
        await until(lambda: calls)

    loop.run_until_complete(main())
    run_turns(loop, 10)
    # Signals that were pending already are merged by the kernel.
    assert 0 < calls <= 20_000
    assert loop.remove_signal_handler(signal.SIGUSR1)


def test_signals_at_the_moment_a_loop_is_closed(implementation, watched):
    """Whatever the moment, a late signal harms nobody: by default this one is ignored."""
    if not implementation.is_ferrio:
        pytest.skip("asyncio closes the pipe that the signals' numbers are still written to")
    stopping = threading.Event()

    def storm():
        # With a breath between: the main thread would do nothing but take signals.
        while not stopping.wait(0.0001):
            os.kill(os.getpid(), signal.SIGURG)

    thread = threading.Thread(target=storm)
    thread.start()
    calls = []
    try:
        while len(calls) < 5:
            loop = implementation.EventLoop()
            loop.add_signal_handler(signal.SIGURG, calls.append, 1)
            run_turns(loop, 3)
            loop.close()
    finally:
        stopping.set()
        thread.join()


def test_two_loops_with_handlers(make_loop):
    """Each hears of its own signals, whoever runs; the last to add one owns the wakeup."""
    first, second = make_loop(), make_loop()
    calls = []
    first.add_signal_handler(signal.SIGUSR1, calls.append, "first")
    second.add_signal_handler(signal.SIGUSR2, calls.append, "second")
    signal.raise_signal(signal.SIGUSR2)
    run_turns(second, 3)
    assert calls == ["second"]
    assert second.remove_signal_handler(signal.SIGUSR2)
    assert first.remove_signal_handler(signal.SIGUSR1)
    first.add_signal_handler(signal.SIGUSR1, calls.append, "first again")
    signal.raise_signal(signal.SIGUSR1)
    run_turns(first, 3)
    assert calls == ["second", "first again"]
    assert first.remove_signal_handler(signal.SIGUSR1)


def test_everything_collected_while_it_runs(implementation, watched):
    """Loops, tasks, futures, transports and calls that nobody refers to, and the smallest
    threshold: the collector runs at every allocation."""
    before = gc.get_threshold()

    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, HOST, 0)
        for _ in range(5):
            gc.set_threshold(1)
            await exchange(loop, server.sockets[0].getsockname())
            abandoned = loop.create_future()
            abandoned.add_done_callback(lambda future, keep=abandoned: keep)
            del abandoned
            one, other = socket.socketpair()
            one.setblocking(False)
            call = loop.sock_recv(one, 1)
            call.send(None)
            call.close()
            del call
            # asyncio watches on.
            loop.remove_reader(one)
            one.close()
            other.close()
            gc.set_threshold(*before)
            gc.collect()
        server.close()
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0)

    try:
        for _ in range(3):
            with asyncio.Runner(loop_factory=implementation.EventLoop) as runner:
                runner.run(main())
    finally:
        gc.set_threshold(*before)


@pytest.mark.parametrize("turns", range(14))
def test_start_tls_cancelled_at_every_turn(loop, turns):
    """The connection is closed, once, and the next one that gets its number is left alone."""
    server_context, client_context = tls_contexts()

    async def serve(reader, writer):
        with contextlib.suppress(OSError):
            await writer.start_tls(server_context)
            await reader.read()
        writer.close()

    async def main():
        server = await asyncio.start_server(serve, HOST, 0)
        address = server.sockets[0].getsockname()
        transport, protocol = await loop.create_connection(Recorder, *address)
        number = transport.get_extra_info("socket").fileno()
        upgrading = asyncio.ensure_future(
            loop.start_tls(transport, protocol, client_context, server_hostname="localhost")
        )
        for _ in range(turns):
            await asyncio.sleep(0)
        was_done = upgrading.done()
        upgrading.cancel()
        outcome = (await asyncio.gather(upgrading, return_exceptions=True))[0]
        if isinstance(outcome, BaseException):
            assert not was_done
            # Cancelled before it began, the plain connection is as it was.
            transport.abort()
        else:
            outcome.abort()
        await until(lambda: transport.get_extra_info("socket").fileno() == -1)
        one, other = socket.socketpair()
        with one, other:
            assert number in (one.fileno(), other.fileno(), number)
            for _ in range(20):
                await asyncio.sleep(0)
            one.send(b"still open")
            assert other.recv(100) == b"still open"
        server.close()
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.001)

    loop.run_until_complete(main())
