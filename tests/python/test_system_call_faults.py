"""What the kernel may answer to a system call, native code's included, and what comes of it.

Each program runs in a process of its own, whose calls ``syscall_faults`` has answered.
"""

import errno

import pytest

import seccomp
from test_faults import run_child

PRELUDE = """
if (faults := syscall_faults.inject(ANSWERS)) is None:
    print("not allowed")
    sys.exit()

async def until(condition):
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)
"""


def run_with(answers, program, implementation, *arguments, before=""):
    """Run a program whose system calls are answered so; return what it prints."""
    source = "\n".join(
        ["import errno, syscall_faults", before, f"ANSWERS = {answers}", PRELUDE, program]
    )
    source += "\nrun(main())\n"
    outcome = run_child(source, implementation, *arguments)
    assert outcome.returncode == 0, outcome.stderr
    if outcome.stdout == "not allowed\n":
        pytest.skip("the system lets nobody answer system calls")
    return outcome.stdout


EVERYTHING = """
class Datagrams(asyncio.DatagramProtocol):
    def __init__(self):
        self.received = []

    def datagram_received(self, data, address):
        self.received.append(data)
        if data.startswith(b"?"):
            self.transport.sendto(b"!" + data, address)

    def connection_made(self, transport):
        self.transport = transport

async def datagrams(loop):
    _, server = await loop.create_datagram_endpoint(Datagrams, ("127.0.0.1", 0))
    address = server.transport.get_extra_info("sockname")
    _, client = await loop.create_datagram_endpoint(Datagrams, remote_addr=address)
    for number in range(10):
        client.transport.sendto(b"?%d" % number)
        server.transport.sendto(b"%d" % number, client.transport.get_extra_info("sockname"))
        await until(lambda: len(client.received) == 2 * number + 2)
    client.transport.close()
    server.transport.close()

async def stream_of(kind, tmp):
    async def echo(reader, writer):
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    if kind == "unix":
        server = await asyncio.start_unix_server(echo, tmp + "/socket")
        reader, writer = await asyncio.open_unix_connection(tmp + "/socket")
    else:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    for size in (1, 20, 1000, 100_000, 3_000_000):
        data = os.urandom(size)
        writer.write(data[:7])
        writer.writelines([data[7:20], data[20:1000], data[1000:]])
        assert await reader.readexactly(size) == data
    writer.close()
    await writer.wait_closed()
    server.close()

async def pipes(loop):
    reading, writing = os.pipe()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), open(reading, "rb", 0)
    )
    transport, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, open(writing, "wb", 0))
    data = os.urandom(300_000)
    transport.write(data[:5])
    transport.write(data[5:250_000])
    transport.write(data[250_000:])
    assert await reader.readexactly(len(data)) == data
    transport.close()
    assert await reader.read() == b""

async def processes():
    process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
    data = os.urandom(200_000)
    out, _ = await process.communicate(data)
    assert out == data and process.returncode == 0

async def calls(loop, tmp):
    with open(tmp + "/file", "wb") as file:
        file.write(bytes(100_000))
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as client:
        client.setblocking(False)
        listening.setblocking(False)
        accepting = asyncio.ensure_future(loop.sock_accept(listening))
        await loop.sock_connect(client, listening.getsockname())
        server, _ = await accepting
        with server, open(tmp + "/file", "rb") as file:
            sending = asyncio.ensure_future(loop.sock_sendfile(client, file))
            received = 0
            memory = bytearray(100_000)
            while received < 100_000:
                received += await loop.sock_recv_into(server, memory)
            await sending
            await loop.sock_sendall(server, b"x" * 50)
            received = b""
            while len(received) < 50:
                received += await loop.sock_recv(client, 7)

async def threads_and_signals(loop):
    seen = asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, seen.set)
    for _ in range(5):
        await asyncio.to_thread(os.kill, os.getpid(), signal.SIGUSR1)
        await seen.wait()
        seen.clear()
    loop.remove_signal_handler(signal.SIGUSR1)

async def main():
    loop = asyncio.get_running_loop()
    await datagrams(loop)
    for kind in "tcp", "unix":
        await stream_of(kind, sys.argv[1])
    await pipes(loop)
    await processes()
    await calls(loop, sys.argv[1])
    await threads_and_signals(loop)
    await asyncio.sleep(0.0012345)
    print(" ".join(sorted(faults.counts())))
"""

NATIVE = {
    "accept4",
    "epoll_pwait",
    "epoll_pwait2",
    "read",
    "recvfrom",
    "sendfile",
    "sendmsg",
    "sendto",
    "write",
    "writev",
}


@pytest.mark.parametrize("which", [0, 1], ids=["first", "second"])
def test_every_other_system_call_is_interrupted(implementation, tmp_path, which):
    """Whoever calls, the interpreter or native code, and whatever: it is made again."""
    answers = (
        f"{{name: lambda call: -errno.EINTR if call.count % 2 == {which} else None"
        # Opening a pidfd waits for nothing, so that nothing can interrupt it.
        " for name in syscall_faults.numbers() if name != 'pidfd_open'}"
    )
    output = run_with(answers, EVERYTHING, implementation, str(tmp_path))
    if implementation.is_ferrio:
        assert set(output.split()) >= NATIVE


PARTIAL = """
SIZES = 3, 1, 20, 2, 2000, 4
DATA = os.urandom(sum(SIZES))

async def pair_of(kind):
    loop = asyncio.get_running_loop()
    if kind == "pipe":
        file = open(ours.detach(), "wb", 0)
        transport, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, file)
        return transport
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
    return transport

async def main():
    if not faults.reads_memory:
        print("not allowed")
        return
    transport = await pair_of(sys.argv[1])
    reader, writer = await asyncio.open_connection(sock=theirs)
    pieces, at = [], 0
    for size in SIZES:
        pieces.append(DATA[at : at + size])
        at += size
    offsets = [*range(1, 60), *range(60, len(DATA), 211), *range(len(DATA) - 20, len(DATA))]
    for how in "at once", "lines", "one by one":
        for offset in offsets:
            wanted.value = offset
            if how == "at once":
                transport.write(DATA)
            elif how == "lines":
                transport.writelines(pieces)
            else:
                for piece in pieces:
                    transport.write(piece)
            assert await reader.readexactly(len(DATA)) == DATA, (how, offset)
            # Of the small writes one by one each is a call of its own on asyncio.
            assert wanted.value < offset, (how, offset)
            wanted.value = 0
    assert transport.get_write_buffer_size() == 0
    transport.abort()
    writer.close()
    print("fine")
"""
PARTIAL_BEFORE = """
import ctypes, mmap
wanted = ctypes.c_int.from_buffer(mmap.mmap(-1, 8))
KIND = sys.argv[1]
if KIND == "tcp":
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ours = socket.create_connection(listening.getsockname())
        theirs, _ = listening.accept()
else:
    ours, theirs = socket.socketpair()
number = ours.fileno()
ours.setblocking(False)

def take_in_part(call):
    '''Of the bytes that are written next, take as many as are wanted, then no more for now.'''
    if call.fd != number or wanted.value == 0:
        return None
    if wanted.value < 0:
        wanted.value = 0
        return -errno.EAGAIN
    data = call.data(wanted.value)
    assert os.write(number, data) == len(data)
    wanted.value = wanted.value - len(data) or -1
    return len(data)
"""


@pytest.mark.parametrize("kind", ["tcp", "unix", "pipe"])
def test_writes_that_the_kernel_takes_in_part(implementation, kind):
    """At every offset among the first and the last bytes, and at many between them."""
    answers = "dict.fromkeys(['write', 'writev', 'sendto', 'sendmsg'], take_in_part)"
    assert run_with(answers, PARTIAL, implementation, kind, before=PARTIAL_BEFORE) == "fine\n"


DATAGRAM_ERRORS = """
class Protocol(asyncio.DatagramProtocol):
    def __init__(self):
        self.received, self.errors = [], []

    def datagram_received(self, data, address):
        self.received.append(data)

    def error_received(self, error):
        self.errors.append(error)

async def main():
    loop = asyncio.get_running_loop()
    number = int(sys.argv[1])
    receiving, receiver = await loop.create_datagram_endpoint(Protocol, ("127.0.0.1", 0))
    address = receiving.get_extra_info("sockname")
    for arguments, target in (
        ({"remote_addr": address}, None), ({"family": socket.AF_INET}, address)
    ):
        transport, protocol = await loop.create_datagram_endpoint(Protocol, **arguments)
        transport.sendto(b"before", target)
        failing.value = 1
        transport.sendto(b"fails", target)
        failing.value = 0
        assert [type(error) for error in protocol.errors] == [type(OSError(number, ""))]
        assert protocol.errors[0].errno == number
        transport.sendto(b"after", target)
        await until(lambda: receiver.received == [b"before", b"after"])
        receiver.received.clear()

        # What waits for room fails later.
        failing.value = 2
        transport.sendto(b"waits", target)
        transport.sendto(b"waits too", target)
        assert transport.get_write_buffer_size() > 0
        failing.value = 1
        await until(lambda: len(protocol.errors) > 1)
        failing.value = 0
        assert {error.errno for error in protocol.errors} == {number}
        transport.sendto(b"last", target)
        await until(lambda: b"last" in receiver.received)
        receiver.received.clear()

        # And so may receiving.
        failing.value = 3
        transport.sendto(b"x", target)
        await until(lambda: receiver.errors)
        failing.value = 0
        assert receiver.errors[0].errno == number
        await until(lambda: receiver.received == [b"x"])
        receiver.received.clear()
        receiver.errors.clear()
        transport.close()
    receiving.close()
    print("fine")
"""
FAILING = """
import ctypes, mmap
failing = ctypes.c_int.from_buffer(mmap.mmap(-1, 8))

def sending(call):
    return {0: None, 1: -int(sys.argv[1]), 2: -errno.EAGAIN, 3: None}[failing.value]

def receiving(call):
    return -int(sys.argv[1]) if failing.value == 3 else None
"""


@pytest.mark.parametrize(
    "number", [errno.ENOBUFS, errno.ENOMEM, errno.EPERM], ids=errno.errorcode.get
)
def test_datagrams_that_the_kernel_refuses(implementation, number):
    """The protocol is told, and the endpoint goes on."""
    answers = "{'sendto': sending, 'sendmsg': sending, 'recvfrom': receiving, 'recvmsg': receiving}"
    output = run_with(answers, DATAGRAM_ERRORS, implementation, str(number), before=FAILING)
    assert output == "fine\n"


STREAM_ERRORS = """
class Protocol(asyncio.Protocol):
    def __init__(self):
        self.lost = asyncio.get_running_loop().create_future()

    def connection_lost(self, error):
        self.lost.set_result(error)

async def main():
    loop = asyncio.get_running_loop()
    number = int(sys.argv[1])
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))
    for fault in 1, 3:
        one, other = socket.socketpair()
        with other:
            transport, protocol = await loop.create_connection(Protocol, sock=one)
            failing.value = fault
            if fault == 1:
                transport.write(b"x")
            else:
                other.send(b"x")
            error = await protocol.lost
            failing.value = 0
            assert type(error) is type(OSError(number, "")) and error.errno == number, error
    # Errors of the system are no errors of the program.
    assert not reports
    print("fine")
"""


@pytest.mark.parametrize(
    "number", [errno.ENOBUFS, errno.ENOMEM, errno.ECONNRESET], ids=errno.errorcode.get
)
def test_streams_that_the_kernel_refuses(implementation, number):
    """The connection is lost with that error."""
    answers = "{'sendto': sending, 'sendmsg': sending, 'recvfrom': receiving, 'recvmsg': receiving}"
    output = run_with(answers, STREAM_ERRORS, implementation, str(number), before=FAILING)
    assert output == "fine\n"


ACCEPT_ERRORS = """
async def main():
    loop = asyncio.get_running_loop()
    number = int(sys.argv[1])
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))
    asyncio.constants.ACCEPT_RETRY_DELAY = 0.02

    async def greet(reader, writer):
        writer.write(b"hello")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0, backlog=1)
    left.value = 3
    for _ in range(2):
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        assert await reader.read() == b"hello"
        writer.close()
    server.close()
    assert faults.counts() == {"accept4": 3}
    for report in reports:
        assert report["exception"].errno == number
        assert report["message"].startswith(sys.argv[2])
    print(len(reports))
"""
ACCEPT_BEFORE = """
import ctypes, mmap
left = ctypes.c_int.from_buffer(mmap.mmap(-1, 4))

def accepting(call):
    if left.value == 0:
        return None
    left.value -= 1
    return -int(sys.argv[1])
"""


@pytest.mark.parametrize(
    ("number", "message"),
    [
        *(
            (number, "socket.accept() out of system resource")
            for number in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
        ),
        (errno.ECONNABORTED, None),
        (errno.EAGAIN, None),
        (errno.EPERM, "Exception in callback"),
        (errno.EPROTO, "Exception in callback"),
    ],
    ids=lambda value: errno.errorcode.get(value, "") if isinstance(value, int) else "",
)
def test_connections_that_the_kernel_refuses(implementation, number, message):
    """Each refusal is told of once, unless it is no fault of the server's; it goes on serving."""
    output = run_with(
        "{'accept4': accepting}",
        ACCEPT_ERRORS,
        implementation,
        str(number),
        message or "",
        before=ACCEPT_BEFORE,
    )
    assert output == ("3\n" if message else "0\n")


PROCESSES = """
import seccomp
seccomp.refuse(syscall_faults.numbers()["pidfd_open"], int(sys.argv[1]))

async def main():
    for status in 0, 3:
        process = await asyncio.create_subprocess_exec(
            "sh", "-c", f"read line; echo $line; exit {status}", stdin=-1, stdout=-1
        )
        assert await process.communicate(b"hello\\n") == (b"hello\\n", None)
        assert process.returncode == status
    process = await asyncio.create_subprocess_exec("sleep", "1000")
    process.kill()
    assert await process.wait() == -signal.SIGKILL
    print("fine")

run(main())
"""


@pytest.mark.skipif(not seccomp.is_available(), reason="no filter of system calls here")
@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM], ids=errno.errorcode.get)
def test_pidfd_open_is_refused(implementation, number):
    """Old kernels do not know it and sandboxes refuse it; then a thread waits."""
    outcome = run_child("import syscall_faults\n" + PROCESSES, implementation, str(number))
    assert (outcome.stdout, outcome.returncode) == ("fine\n", 0), outcome.stderr
