"""What a native thread sees of a Python thread: its frames, and why it is where it is.

Nobody gives it the interpreter for it, and the thread that is looked at does nothing for it.
"""

import ctypes
import functools
import gc
import hashlib
import importlib
import inspect
import os
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import unicodedata
import zlib

import pytest

import seccomp
from ferrio import _ferrio

# Each of the programs below comes to a line with this mark, and stays there for a while.
MARK = "# here"
# How long it has been there when it is looked at, and how long that is waited for.
AFTER = 0.01
LONG = 30.0


def marked_lines(function):
    lines, first = inspect.getsourcelines(function)
    return [number for number, line in enumerate(lines, first) if line.endswith(f"{MARK}\n")]


def look_at(program, *, after=AFTER, at=None):
    """Run ``program(started, ended)`` in a thread, look at it at its mark: (frames, cause, detail).

    ``program`` calls ``started()`` when everything is ready, and then goes to its mark. Once it has
    been looked at, the event ``ended`` is set and the list that ``started`` returned is not empty.
    ``at`` is a function and a line in the place of the mark.

    Where others have the processors the thread may not come on, or whoever looks may come when it
    has left its mark: then it is run and looked at again.
    """
    function, line = at or (program.__qualname__, marked_lines(program)[0])
    for _again in range(50):
        frames, cause, detail = look_once(program, function, line, after)
        is_there = any(frame[1] == function for frame in frames[:2] if len(frame) == 3)
        if is_there and cause not in ("descheduled", "unknown"):
            break
    return frames, cause, detail


def look_once(program, function, line, after):
    identity, looked, ready, ended = [], [], threading.Event(), threading.Event()
    going, go = os.pipe()

    def started():
        identity.extend(_ferrio._this_thread())
        ready.set()
        # The native thread writes to it: who looks has let go of the interpreter by then.
        os.read(going, 1)
        return looked

    thread = threading.Thread(target=program, args=(started, ended))
    thread.start()
    ready.wait()
    seen = _ferrio._look_at_thread(*identity, function, line, after, LONG, go)
    looked.append(True)
    ended.set()
    thread.join()
    os.close(going)
    os.close(go)
    return seen


def check(program, cause, **options):
    frames, seen, detail = look_at(program, **options)
    assert seen == cause
    if frames[0][1] == f"{program.__qualname__}.<locals>.<genexpr>":
        # What it calls all the while.
        del frames[0]
    file, function, line = frames[0]
    assert (file, function) == (__file__, program.__qualname__)
    assert line in marked_lines(program)
    # Its callers, out to where the thread begins.
    names = [function for _file, function, _line in frames[1:]]
    assert names == ["Thread.run", "Thread._bootstrap_inner", "Thread._bootstrap"]
    return detail


@functools.cache
def catastrophe():
    """Return a text for which the expression takes about a second on this machine."""
    for length in range(16, 40):
        text = "a" * length + "b"
        begun = time.thread_time()
        EXPRESSION.match(text)
        taken = time.thread_time() - begun
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
    number, looked = 0, started()
    while not looked:  # here
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
        while True:  # here
            pass  # here
    except SystemExit:
        thread.join()


def calling(started, ended):
    looked = started()
    while sum(number for number in range(10)) and not looked:  # here
        pass  # here


def matching(started, ended):
    text = catastrophe()
    started()
    EXPRESSION.match(text)  # here


def sorting(started, ended):
    started()
    sum(range(20_000_000))  # here


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
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 2000000)"
        " SELECT count(*) FROM n"
    )
    started()
    database.execute(statement).fetchone()  # here
    database.close()


def compressing(started, ended):
    data = os.urandom(1 << 16) * 100
    started()
    zlib.compress(data, 9)  # here


def hashing(started, ended):
    started()
    hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 600_000)  # here


def collecting(started, ended):
    objects = [[] for _ in range(1_500_000)]
    started()
    gc.collect()  # here
    del objects


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
        (calling, "python"),
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


def test_a_thread_that_waits_for_the_interpreter():
    """The cause names the thread that has it, and where that is."""
    text = catastrophe()
    holder, ready, matched = [], threading.Event(), threading.Event()

    def hold():
        holder.append(threading.get_native_id())
        ready.set()
        while not matched.is_set():
            EXPRESSION.match(text)  # held

    def wait_for_it(started, ended):
        threading.Thread(target=hold, name="holder").start()
        ready.wait()
        started()
        # It comes back without the interpreter, which is not to be had for a second.
        time.sleep(0.1)  # here
        matched.set()

    # Looked at when it has slept, and while it waits.
    frames, cause, detail = look_at(wait_for_it, after=0.3)
    assert cause == "gil-wait"
    thread, name, frame = detail
    assert thread == holder[0]
    lines, first = inspect.getsourcelines(hold)
    (held,) = [number for number, line in enumerate(lines, first) if line.endswith("# held\n")]
    assert frame == (__file__, hold.__qualname__, held)
    # Only 3.14 tells the kernel what a thread is called.
    assert name == ("holder" if sys.version_info >= (3, 14) else None)
    assert frames[0] == (__file__, wait_for_it.__qualname__, *marked_lines(wait_for_it))


# The frames that Python itself sees.


def frames_of_python(identity):
    frame, found = sys._current_frames()[identity], []
    while frame is not None:
        code = frame.f_code
        found.append((code.co_filename, code.co_qualname, frame.f_lineno))
        frame = frame.f_back
    return found


def check_all_frames(call):
    """Let ``call(block)`` call ``block`` in a thread, and compare all frames with Python's."""
    pythons = []

    def wait(started, ended):
        lock = threading.Lock()
        lock.acquire()
        identity = threading.get_ident()

        def watch():
            ended.wait()
            pythons.extend(frames_of_python(identity))
            lock.release()

        watcher = threading.Thread(target=watch)
        watcher.start()

        def block():
            started()
            lock.acquire()  # innermost

        call(block)
        watcher.join()

    lines, first = inspect.getsourcelines(wait)
    (line,) = [n for n, text in enumerate(lines, first) if text.endswith("# innermost\n")]
    name = f"{check_all_frames.__name__}.<locals>.wait.<locals>.block"
    frames, cause, _detail = look_at(wait, at=(name, line))
    assert cause == "syscall:futex"
    assert frames == pythons[: len(frames)]
    assert len(frames) == min(len(pythons), 64)
    return [function for _file, function, _line in frames]


def test_frames_of_nested_calls():
    def recurse(depth):
        return 1 + recurse(depth - 1) if depth else block()

    def call(function):
        nonlocal block
        block = function
        with pytest.raises(TypeError):
            recurse(200)

    block = None
    check_all_frames(call)


def test_frames_of_all_kinds():
    class Called:
        def __init__(self, block):
            self.block = block

        def __repr__(self):
            self.block()
            return ""

    def generate(block):
        yield from [1]
        yield repr(Called(block))

    async def inner(block):
        return list(generate(block))

    async def outer(block):
        return await inner(block)

    def call(block):
        coroutine = outer(block)
        key = lambda _item: coroutine.send(None)  # noqa: E731
        with pytest.raises(StopIteration):
            # From C into Python, twice over.
            sorted([1], key=key)

    names = check_all_frames(call)
    here = "test_frames_of_all_kinds.<locals>."
    wanted = ("Called.__repr__", "generate", "inner", "outer", "call.<locals>.<lambda>", "call")
    assert names[1:7] == [here + name for name in wanted]


@pytest.mark.parametrize("name", ["ascii", "grüß", "函数", "𝔣unction"])
def test_names_of_all_widths(name):
    name = unicodedata.normalize("NFKC", name)
    source = f"def {name}(block):\n\n    block()\n"
    namespace = {}
    exec(compile(source, f"/tmp/{name}.py", "exec"), namespace)
    assert name in check_all_frames(namespace[name])


def test_a_long_line_table():
    # Lines that are far apart, and columns far to the right.
    source = "def far(block):\n" + "\n" * 5000 + " " * 300 + "block()\n"
    namespace = {}
    exec(compile(source, "far.py", "exec"), namespace)
    assert "far" in check_all_frames(namespace["far"])


def code_objects(code):
    yield code
    for constant in code.co_consts:
        if isinstance(constant, type(code)):
            yield from code_objects(constant)


def merged(runs):
    found = []
    for start, end, line in runs:
        if found and found[-1][2] == line and found[-1][1] == start:
            found[-1] = (found[-1][0], end, line)
        elif start != end:
            found.append((start, end, line))
    return found


@pytest.mark.parametrize(
    "module", ["argparse", "ast", "asyncio.base_events", "dataclasses", "enum", "typing"]
)
def test_location_tables(module):
    code = importlib.import_module(module).__spec__.loader.get_code(module)
    count = 0
    for each in code_objects(code):
        lines = _ferrio._lines_of(each.co_linetable, each.co_firstlineno)
        assert merged(lines) == merged(each.co_lines())
        count += 1
    assert count > 20


# What goes away, and what may not be looked at.


def test_a_thread_that_has_ended():
    identity = []
    thread = threading.Thread(target=lambda: identity.extend(_ferrio._this_thread()))
    thread.start()
    thread.join()
    going, go = os.pipe()
    for _again in range(20):
        _frames, cause, detail = _ferrio._look_at_thread(*identity, "none", 0, 0.0, 0.0, go)
        assert (cause, detail) == ("unknown", None)
    os.close(going)
    os.close(go)


def test_addresses_of_nothing():
    going, go = os.pipe()
    for address in (0, 8, 1 << 40, (1 << 63) - 8):
        frames, cause, _detail = _ferrio._look_at_thread(
            threading.get_native_id(), address, "none", 0, 0.0, 0.0, go
        )
        assert isinstance(frames, str)
        # This thread waits for the one that looks. That it does not wait for the interpreter can
        # be told where that has one lock, at a known address.
        assert cause == ("unknown" if sys.version_info >= (3, 12) else "syscall:futex")
    os.close(going)
    os.close(go)


def test_functions_that_come_and_go():
    """Whatever is seen of code that is made, called and freed all the time, it is its own."""
    source = "def {0}(depth):\n    return {0}(depth - 1) if depth else sum(n for n in range(9))\n"
    looked, going, go, identity = [], *os.pipe(), []

    def churn():
        identity.extend(_ferrio._this_thread())
        number = 0
        while not looked:
            number += 1
            namespace = {}
            exec(compile(source.format(f"made_{number}"), "made.py", "exec"), namespace)
            namespace[f"made_{number}"](number % 50)

    thread = threading.Thread(target=churn)
    thread.start()
    while not identity:
        time.sleep(0)
    try:
        here = {churn.__qualname__, "Thread.run", "Thread._bootstrap_inner", "Thread._bootstrap"}
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            frames, _cause, _detail = _ferrio._look_at_thread(*identity, "none", 0, 0.0, 0.0, go)
            os.read(going, 1)
            if isinstance(frames, list):
                for file, function, line in frames:
                    assert line < 5000
                    # An audit hook of another test's hears of what is compiled, for ever.
                    assert (
                        function in here
                        or function.endswith(".<locals>.hook")
                        or (
                            re.fullmatch(r"<module>|made_\d+(\.<locals>\.<genexpr>)?", function)
                            # A module's first instruction is on line 0.
                            and (file, line in (0, 1, 2)) == ("made.py", True)
                        )
                    )
    finally:
        looked.append(True)
        thread.join()
    os.close(going)
    os.close(go)


REFUSED = """
import errno, os, sys, threading, time
import seccomp
from ferrio import _ferrio

def look(block):
    identity, ready = [], threading.Event()
    def run():
        identity.extend(_ferrio._this_thread())
        ready.set()
        block()
    thread = threading.Thread(target=run)
    thread.start()
    ready.wait()
    going, go = os.pipe()
    seen = _ferrio._look_at_thread(*identity, "none", 0, 0.1, 0.1, go)
    looked.append(True)
    thread.join()
    os.close(going)
    os.close(go)
    looked.clear()
    return seen

def look_when_it_sleeps():
    # A busy machine may keep it from that.
    for _again in range(50):
        frames, cause, _detail = look(sleep)
        if cause != "descheduled":
            break
    assert cause == "syscall:clock_nanosleep", cause
    return frames

def sleep():
    while not looked:
        time.sleep(0.5)

def loop():
    while not looked:
        pass

looked = []
if sys.argv[1] == "late":
    frames = look_when_it_sleeps()
    assert isinstance(frames, list), frames
seccomp.refuse({"x86_64": 310, "aarch64": 270}[os.uname().machine], errno.EPERM)
frames, cause, _detail = look(loop)
# A busy machine may keep it from running, which is seen all the same.
assert cause in ("unknown", "descheduled"), cause
assert isinstance(frames, str), frames
frames = look_when_it_sleeps()
assert isinstance(frames, str), frames
lock = threading.Lock()
lock.acquire()
def release():
    while not looked:
        time.sleep(0.01)
    lock.release()
threading.Thread(target=release).start()
frames, cause, _detail = look(lock.acquire)
# Whether it is the interpreter that is waited for cannot be told, but where its lock is known.
is_known = sys.argv[1] == "late" and sys.version_info < (3, 12)
assert cause in ("syscall:futex" if is_known else "unknown", "descheduled"), cause
print("seen")
"""


@pytest.mark.skipif(not seccomp.is_available(), reason="no filter of system calls here")
@pytest.mark.parametrize("when", ["early", "late"])
def test_memory_that_may_not_be_read(when):
    ended = subprocess.run(
        [sys.executable, "-c", REFUSED, when],
        cwd=os.path.dirname(__file__),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.stdout, ended.stderr) == ("seen\n", "")
