"""What a native thread sees of a Python thread: its frames, and why it is where it is.

Nobody gives it the interpreter for it, and the thread that is looked at does nothing for it.
"""

import ctypes
import functools
import gc
import hashlib
import inspect
import os
import re
import socket
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
import zlib

import pytest
import seccomp

from ferrio import _ferrio

# Each of the programs below comes to a line with this mark, and stays there for a while.
MARK = "# here"
# How long it has been there when it is looked at, and how long that is waited for.
AFTER = 0.05
LONG = 30.0


def marked_line(function):
    lines, first = inspect.getsourcelines(function)
    (found,) = [number for number, line in enumerate(lines, first) if line.rstrip().endswith(MARK)]
    return found


def look_at(program, *, after=AFTER):
    """Run ``program(started, ended)`` in a thread, look at it at its mark: (frames, cause, detail).

    ``program`` calls ``started()`` when everything is ready, and then goes to its mark; the event
    ``ended`` is set once it has been looked at.
    """
    line, identity, ready, ended = marked_line(program), [], threading.Event(), threading.Event()
    going, go = os.pipe()

    def started():
        identity.extend(_ferrio._this_thread())
        ready.set()
        # The native thread writes to it: who looks has let go of the interpreter by then.
        os.read(going, 1)

    thread = threading.Thread(target=program, args=(started, ended))
    thread.start()
    ready.wait()
    seen = _ferrio._look_at_thread(*identity, program.__qualname__, line, after, LONG, go)
    ended.set()
    thread.join()
    os.close(going)
    os.close(go)
    return seen


def check(program, cause, **options):
    frames, seen, detail = look_at(program, **options)
    assert seen == cause
    assert frames[0] == (__file__, program.__qualname__, marked_line(program))
    # Its callers, out to where the thread begins.
    names = [function for _file, function, _line in frames[1:]]
    assert names == ["Thread.run", "Thread._bootstrap_inner", "Thread._bootstrap"]
    return detail


@functools.cache
def catastrophe():
    """Return a text for which the expression takes about a second on this machine."""
    for length in range(16, 40):
        text = "a" * length + "b"
        begun = time.perf_counter()
        EXPRESSION.match(text)
        taken = time.perf_counter() - begun
        if taken > 0.02:
            # Each letter more doubles the time.
            more = 0
            while taken * 2**more < 1:
                more += 1
            return "a" * (length + more) + "b"
    raise AssertionError("the expression is too fast")


EXPRESSION = re.compile("(a+)+$")


def sleeping(started, ended):
    started()
    time.sleep(1)  # here


def looping(started, ended):
    started()
    number, deadline = 0, time.monotonic() + 1
    while number % 100_000 or time.monotonic() < deadline:
        number += 1  # here


def jumping(started, ended):
    identity = threading.get_ident()

    def end():
        ended.wait()
        # A loop of one instruction has no other way out.
        raising = ctypes.pythonapi.PyThreadState_SetAsyncExc
        assert raising(ctypes.c_ulong(identity), ctypes.py_object(SystemExit)) == 1

    thread = threading.Thread(target=end)
    thread.start()
    started()
    try:
        while True:
            pass  # here
    except SystemExit:
        thread.join()


def calling(started, ended):
    deadline = time.monotonic() + 1
    started()
    while short() < deadline:
        pass  # here


def short():
    return time.monotonic()


def matching(started, ended):
    text = catastrophe()
    started()
    EXPRESSION.match(text)  # here


def sorting(started, ended):
    started()
    sum(range(60_000_000))  # here


def receiving(started, ended):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        threading.Thread(target=lambda: (ended.wait(), theirs.send(b"x"))).start()
        started()
        ours.recv(1)  # here
        ended.wait()


def reading(started, ended):
    ours, theirs = os.pipe()
    threading.Thread(target=lambda: (ended.wait(), os.write(theirs, b"x"))).start()
    started()
    os.read(ours, 1)  # here
    os.close(ours)
    os.close(theirs)


def querying(started, ended):
    database = sqlite3.connect(":memory:")
    statement = (
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 12000000)"
        " SELECT count(*) FROM n"
    )
    started()
    database.execute(statement).fetchone()  # here
    database.close()


def compressing(started, ended):
    data = os.urandom(1 << 16) * 400
    started()
    zlib.compress(data, 9)  # here


def hashing(started, ended):
    data = bytes(300_000_000)
    started()
    hashlib.sha256(data)  # here


def collecting(started, ended):
    garbage = [[] for _ in range(3_000_000)]
    started()
    for _ in range(10):
        gc.collect()  # here
    del garbage


def locked(started, ended):
    lock = threading.Lock()
    lock.acquire()
    threading.Thread(target=lambda: (ended.wait(), lock.release())).start()
    started()
    lock.acquire()  # here


def sleeping_with_the_interpreter(started, ended):
    usleep = ctypes.PyDLL(None).usleep
    started()
    usleep(999_999)  # here


@pytest.mark.parametrize(
    ("program", "cause"),
    [
        (sleeping, "syscall:clock_nanosleep"),
        (looping, "python"),
        (jumping, "python"),
        (matching, "c-gil"),
        (sorting, "c-gil"),
        (receiving, "syscall:recvfrom"),
        (reading, "syscall:read"),
        (querying, "c-nogil"),
        (compressing, "c-nogil"),
        (hashing, "c-nogil"),
        (collecting, "gc"),
        (locked, "syscall:futex"),
        (sleeping_with_the_interpreter, "syscall:clock_nanosleep"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_programs(program, cause):
    assert check(program, cause) is None
