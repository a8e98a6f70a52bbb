"""Lets system calls of this thread fail as often as wanted, by a kernel's own means.

A filter (seccomp) hands each of the chosen calls to another process, which answers with an error,
lets the kernel go on, or does a part of the call itself. So the calls fail that native code makes,
too, whichever way it makes them. The filter stays for good: use it in a process of its own.
"""

import collections
import ctypes
import errno
import fcntl
import json
import mmap
import os
import platform
import select
import signal
import socket
import struct
import threading
from pathlib import Path

_NUMBERS = {
    "x86_64": {
        "read": 0,
        "write": 1,
        "writev": 20,
        "sendfile": 40,
        "sendto": 44,
        "recvfrom": 45,
        "sendmsg": 46,
        "recvmsg": 47,
        "epoll_wait": 232,
        "waitid": 247,
        "ppoll": 271,
        "epoll_pwait": 281,
        "accept4": 288,
        "pidfd_open": 434,
        "epoll_pwait2": 441,
    },
    "aarch64": {
        "read": 63,
        "write": 64,
        "writev": 66,
        "sendfile": 71,
        "ppoll": 73,
        "epoll_pwait": 22,
        "waitid": 95,
        "sendto": 206,
        "recvfrom": 207,
        "sendmsg": 211,
        "recvmsg": 212,
        "accept4": 242,
        "pidfd_open": 434,
        "epoll_pwait2": 441,
    },
}
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_SECCOMP = {"x86_64": 317, "aarch64": 277}

_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _NOTIFY = 0x7FFF0000, 0x7FC00000
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_PTRACER = 0x59616D61
_SET_MODE_FILTER, _NEW_LISTENER = 1, 8
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_CONTINUE = 1
_NOTIFICATION = struct.Struct("QIIiIQ6Q")
_RESPONSE = struct.Struct("QqiI")
_SIZE_OF_COUNTS = 4096


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


class _Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def numbers():
    """Return the numbers of the system calls that this module knows, by name."""
    return _NUMBERS.get(platform.machine(), {})


class Faults:
    """What was asked for, and how often it has happened."""

    def __init__(self, counts, reads_memory):
        self._counts = counts
        self.reads_memory = reads_memory
        """Whether ``Call.data`` works: a sandbox may forbid it."""

    def counts(self):
        """Return how often each call was made to fail, by name."""
        text = self._counts[:].partition(b"\0")[0]
        return json.loads(text or b"{}")


def inject(answers):
    """Have system calls answered by ``answers``, in this thread and those that it starts, and not
    in child processes.

    ``answers`` maps names of calls to functions. Such a function runs in another process, is called
    with a ``Call`` for each call and returns None to let the kernel make it, or a negative errno or
    a result to give instead. Returns a ``Faults``, or None where the system does not allow it.
    """
    known = numbers()
    chosen = {known[name]: (name, answer) for name, answer in answers.items() if name in known}
    counts = mmap.mmap(-1, _SIZE_OF_COUNTS)
    ours, theirs = socket.socketpair()
    if not (supervisor := os.fork()):
        _supervise(theirs, ours, chosen, counts)
    theirs.close()
    libc = ctypes.CDLL(None, use_errno=True)
    # Some systems let a process be looked at by its ancestors only, unless it says so.
    libc.prctl(_PR_SET_PTRACER, supervisor, 0, 0, 0)
    listeners = []
    answers_of_supervisor = []
    is_installed = threading.Event()
    is_sent = threading.Event()

    # By a thread without the filter: this one could not even make the call.
    def send():
        is_installed.wait()
        if listeners[0] >= 0:
            socket.send_fds(ours, [b"l"], listeners)
            os.close(listeners[0])
            answers_of_supervisor.append(ours.recv(1))
        ours.close()
        is_sent.set()

    thread = threading.Thread(target=send)
    thread.start()
    listeners.append(_install(chosen))
    is_installed.set()
    is_sent.wait()
    thread.join()
    if listeners[0] < 0:
        os.waitpid(supervisor, 0)
        return None
    return Faults(counts, answers_of_supervisor == [b"m"])


def _install(chosen):
    """Put the filter into place; return the file that tells of calls, -1 if it is refused."""
    machine = platform.machine()
    if not chosen:
        return -1
    count = len(chosen)
    instructions = [
        (_LOAD, 0, 0, 4),
        (_JUMP_IF_EQUAL, 0, count + 1, _ARCHITECTURES[machine]),
        (_LOAD, 0, 0, 0),
        *((_JUMP_IF_EQUAL, count - index, 0, number) for index, number in enumerate(chosen)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _NOTIFY),
    ]
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)
    memory = ctypes.create_string_buffer(code)
    program = _Program(len(instructions), ctypes.addressof(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        return -1
    pointer = ctypes.byref(program)
    return libc.syscall(_SECCOMP[machine], _SET_MODE_FILTER, _NEW_LISTENER, pointer)


class Call:
    """A system call that waits for its answer."""

    def __init__(self, name, pid, arguments, count):
        self.name = name
        self.count = count
        """How often this call was made before."""
        self.fd = arguments[0]
        self._pid = pid
        self._arguments = arguments

    def data(self, size):
        """Return the first bytes that a writing call hands over, ``size`` at most."""
        if self.name in ("write", "sendto"):
            vectors = [self._arguments[1:3]]
        else:
            base, length = self._arguments[1:3]
            if self.name == "sendmsg":
                # Of a msghdr: msg_iov and msg_iovlen.
                base, length = struct.unpack("QQ", self._memory(base + 16, 16))
            read = self._memory(base, 16 * length)
            vectors = list(struct.iter_unpack("QQ", read))
        data = b""
        for base, length in vectors:
            data += self._memory(base, min(length, size - len(data)))
        return data

    def _memory(self, address, size):
        return _memory_of(self._pid, address, size)


def _memory_of(pid, address, size):
    """Return bytes of another process's memory."""
    memory = ctypes.create_string_buffer(size)
    here = _Vector(ctypes.addressof(memory), size)
    there = _Vector(address, size)
    libc = ctypes.CDLL(None, use_errno=True)
    read = libc.process_vm_readv(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
    if read != size:
        raise OSError(ctypes.get_errno(), "process_vm_readv")
    return memory.raw


def _can_read(pid):
    """Whether the memory of a process that was just forked from may be read."""
    sample = ctypes.create_string_buffer(b"sample")
    try:
        # It is at the same place there.
        _memory_of(pid, ctypes.addressof(sample), 1)
    except OSError as error:
        # EFAULT: it may be, and there is nothing at this place.
        return error.errno == errno.EFAULT
    return True


def _supervise(channel, other, chosen, counts):
    """Answer until the thread with the filter has ended. Never returns."""
    status = 1
    try:
        other.close()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # Whoever reads what the tests print waits for its end.
        devnull = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1):
            os.dup2(devnull, fd)
        _, (listener,), _, _ = socket.recv_fds(channel, 1, 1)
        channel.send(b"m" if _can_read(os.getppid()) else b"-")
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        made = collections.Counter()
        failed = collections.Counter()
        while poll.poll()[0][1] == select.POLLIN:
            _answer(listener, chosen, counts, made, failed)
        status = 0
    except ValueError:
        # No file came: the filter was refused.
        status = 0
    finally:
        os._exit(status)


def _answer(listener, chosen, counts, made, failed):
    notification = bytearray(_NOTIFICATION.size)
    try:
        fcntl.ioctl(listener, _RECEIVE, notification, True)
    except FileNotFoundError:
        # A signal has ended the call, or the process.
        return
    identifier, pid, _, number, _, _, *arguments = _NOTIFICATION.unpack(notification)
    name, answer = chosen[number]
    result = None
    if Path(f"/proc/{os.getppid()}/task/{pid}").exists():
        result = answer(Call(name, pid, arguments, made[name]))
        made[name] += 1
    if result is None:
        response = _RESPONSE.pack(identifier, 0, 0, _CONTINUE)
    elif result < 0:
        response = _RESPONSE.pack(identifier, 0, result, 0)
    else:
        response = _RESPONSE.pack(identifier, result, 0, 0)
    if result is not None:
        failed[name] += 1
        text = json.dumps(failed).encode()
        counts[: len(text) + 1] = text + b"\0"
    try:
        fcntl.ioctl(listener, _SEND, bytearray(response), True)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
