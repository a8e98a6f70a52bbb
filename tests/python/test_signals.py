"""Signals: ``add_signal_handler``, with real signals sent to this process."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from turns import run_turn, run_turns, run_until

SIGNALS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD, signal.SIGINT, signal.SIGTERM)


@pytest.fixture(autouse=True)
def dispositions(watched):
    """Every signal's handler, and the wake-up fd, are put back; the tests check that, too."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield before
    after = {number: signal.getsignal(number) for number in SIGNALS}
    wakeup_fd = signal.set_wakeup_fd(-1)
    for number, handler in before.items():
        signal.signal(number, handler)
    assert wakeup_fd == -1
    assert after == before


def send(number):
    os.kill(os.getpid(), number)


def test_the_callback_is_called_in_the_loop(loop):
    calls = []

    def callback(*arguments):
        calls.append((arguments, asyncio.get_running_loop()))
        loop.stop()

    loop.add_signal_handler(signal.SIGUSR1, callback, 1, "two")
    loop.call_soon(send, signal.SIGUSR1)
    loop.run_forever()
    assert calls == [((1, "two"), loop)]
    assert loop.remove_signal_handler(signal.SIGUSR1)


def test_it_may_do_what_other_callbacks_may(loop):
    future = loop.create_future()
    loop.add_signal_handler(signal.SIGUSR1, future.set_result, "from the signal")
    loop.call_soon(send, signal.SIGUSR1)
    assert loop.run_until_complete(future) == "from the signal"
    loop.remove_signal_handler(signal.SIGUSR1)


def test_a_signal_that_wakes_a_loop_that_waits(loop):
    """From another process, while the loop has nothing else to wait for."""
    loop.add_signal_handler(signal.SIGUSR1, loop.stop)
    child = subprocess.Popen(
        [sys.executable, "-c", f"import os; os.kill({os.getpid()}, {signal.SIGUSR1:d})"]
    )
    loop.run_forever()
    child.wait()
    loop.remove_signal_handler(signal.SIGUSR1)


def test_a_signal_from_another_thread(loop):
    loop.add_signal_handler(signal.SIGUSR1, loop.stop)
    timer = threading.Timer(0.02, send, (signal.SIGUSR1,))
    timer.start()
    loop.run_forever()
    timer.join()
    loop.remove_signal_handler(signal.SIGUSR1)


def test_before_the_loop_runs(loop):
    calls = []
    loop.add_signal_handler(signal.SIGUSR1, calls.append, "called")
    send(signal.SIGUSR1)
    assert calls == []
    run_until(loop, lambda: calls, turns=10)
    assert calls == ["called"]
    loop.remove_signal_handler(signal.SIGUSR1)


def test_between_runs(loop):
    calls = []
    loop.add_signal_handler(signal.SIGUSR1, calls.append, "called")
    run_turns(loop, 3)
    send(signal.SIGUSR1)
    run_until(loop, lambda: calls, turns=10)
    assert calls == ["called"]
    loop.remove_signal_handler(signal.SIGUSR1)


def test_in_a_busy_loop(loop):
    """Tasks that never wait do not keep a signal out."""
    stopped = []
    loop.add_signal_handler(signal.SIGUSR1, stopped.append, True)

    async def busy():
        send(signal.SIGUSR1)
        turns = 0
        while not stopped:
            await asyncio.sleep(0)
            turns += 1
        return turns

    assert loop.run_until_complete(busy()) < 100_000
    loop.remove_signal_handler(signal.SIGUSR1)


def test_yielding_a_few_times_lets_a_signal_in(loop):
    """As test suites do it: a handful of sleep(0)."""
    calls = []
    loop.add_signal_handler(signal.SIGUSR1, calls.append, True)

    async def main():
        for _ in range(3):
            await asyncio.sleep(0)
        send(signal.SIGUSR1)
        for _ in range(3):
            await asyncio.sleep(0)
        return list(calls)

    assert loop.run_until_complete(main()) == [True]
    loop.remove_signal_handler(signal.SIGUSR1)


def test_several_signals_each_have_their_handler(loop):
    calls = []
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM):
        loop.add_signal_handler(number, calls.append, number)
    for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGUSR1):
        send(number)
    run_until(loop, lambda: len(calls) == 3)
    assert sorted(calls) == sorted((signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM))
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM):
        assert loop.remove_signal_handler(number)


def test_many_signals(loop):
    """More than a pipe or a batch of events holds; each that Python saw is told."""
    calls = []
    loop.add_signal_handler(signal.SIGUSR1, calls.append, 1)

    async def main():
        for _ in range(2000):
            send(signal.SIGUSR1)
            if _ % 50 == 0:
                await asyncio.sleep(0)
        for _ in range(10):
            await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert len(calls) == 2000
    loop.remove_signal_handler(signal.SIGUSR1)


def test_a_flood_that_nobody_reads(loop):
    """The pipe is full, and the process goes on."""
    calls = []
    loop.add_signal_handler(signal.SIGUSR1, calls.append, 1)
    signal.set_wakeup_fd(signal.set_wakeup_fd(-1), warn_on_full_buffer=False)
    for _ in range(70_000):
        signal.raise_signal(signal.SIGUSR1)
    run_until(loop, lambda: calls)
    run_turns(loop, 5)
    loop.remove_signal_handler(signal.SIGUSR1)


def test_sigint_has_a_handler_of_the_loop(loop):
    calls = []
    loop.add_signal_handler(signal.SIGINT, calls.append, "interrupted")
    send(signal.SIGINT)
    run_until(loop, lambda: calls)
    assert calls == ["interrupted"]
    assert loop.remove_signal_handler(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_sigchld(loop):
    calls = []
    loop.add_signal_handler(signal.SIGCHLD, calls.append, "child")
    child = subprocess.Popen([sys.executable, "-c", ""])
    run_until_called(loop, calls)
    child.wait()
    assert calls == ["child"]
    assert loop.remove_signal_handler(signal.SIGCHLD)


def run_until_called(loop, calls):
    """Run, without spinning, until a callback was called."""
    handle = loop.call_later(30, loop.stop)
    while not calls and not handle.cancelled() and loop.time() < handle.when():
        loop.call_later(0.01, loop.stop)
        loop.run_forever()
    handle.cancel()


def test_replacing_a_handler(loop):
    calls = []
    loop.add_signal_handler(signal.SIGUSR1, calls.append, "first")
    loop.add_signal_handler(signal.SIGUSR1, calls.append, "second")
    send(signal.SIGUSR1)
    run_until(loop, lambda: calls)
    assert calls == ["second"]
    assert loop.remove_signal_handler(signal.SIGUSR1)
    assert not loop.remove_signal_handler(signal.SIGUSR1)


def test_removing_what_is_not_there(loop):
    assert not loop.remove_signal_handler(signal.SIGUSR1)


def test_removing_puts_the_default_back(loop):
    loop.add_signal_handler(signal.SIGUSR1, int)
    assert signal.getsignal(signal.SIGUSR1) is not signal.SIG_DFL
    loop.remove_signal_handler(signal.SIGUSR1)
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


def test_closing_removes_all(make_loop):
    loop = make_loop()
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT):
        loop.add_signal_handler(number, int)
    loop.close()
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.set_wakeup_fd(-1) == -1


def test_a_handler_that_removes_itself(loop):
    calls = []

    def callback():
        calls.append(loop.remove_signal_handler(signal.SIGUSR1))

    loop.add_signal_handler(signal.SIGUSR1, callback)
    send(signal.SIGUSR1)
    run_until(loop, lambda: calls)
    assert calls == [True]


def test_a_signal_whose_handler_is_gone_when_it_is_read(loop):
    calls = []
    loop.add_signal_handler(signal.SIGUSR1, calls.append, 1)
    loop.add_signal_handler(signal.SIGUSR2, calls.append, 2)
    send(signal.SIGUSR1)
    loop.remove_signal_handler(signal.SIGUSR1)
    send(signal.SIGUSR2)
    run_until(loop, lambda: calls)
    assert calls == [2]
    loop.remove_signal_handler(signal.SIGUSR2)


def test_a_handler_that_raises_is_reported(loop, reports):
    loop.add_signal_handler(signal.SIGUSR1, lambda: 1 / 0)
    send(signal.SIGUSR1)
    run_until(loop, lambda: len(reports))
    assert isinstance(reports.take_one()["exception"], ZeroDivisionError)
    loop.remove_signal_handler(signal.SIGUSR1)


def test_a_handler_of_signal_signal_beside_the_loops(loop):
    """Its number is written to the pipe as well; the loop has nothing to do with it."""
    seen, calls = [], []
    previous = signal.signal(signal.SIGUSR2, lambda number, frame: seen.append(number))
    loop.add_signal_handler(signal.SIGUSR1, calls.append, "of the loop")
    try:
        send(signal.SIGUSR2)
        send(signal.SIGUSR1)
        run_until(loop, lambda: calls)
    finally:
        signal.signal(signal.SIGUSR2, previous)
    assert seen == [signal.SIGUSR2]
    assert calls == ["of the loop"]
    loop.remove_signal_handler(signal.SIGUSR1)


def test_a_handler_of_signal_signal_alone_runs_while_the_loop_waits(loop):
    """No wake-up pipe: the wait is interrupted, and Python runs the handler."""
    seen = []

    def handler(number, frame):
        seen.append(number)
        loop.call_soon_threadsafe(loop.stop)

    previous = signal.signal(signal.SIGUSR2, handler)
    timer = threading.Timer(0.05, send, (signal.SIGUSR2,))
    timer.start()
    try:
        loop.run_forever()
    finally:
        signal.signal(signal.SIGUSR2, previous)
    timer.join()
    assert seen == [signal.SIGUSR2]


def test_a_handler_of_signal_signal_that_raises_leaves_the_loop(loop):
    class Alarm(Exception):
        pass

    def handler(number, frame):
        raise Alarm

    previous = signal.signal(signal.SIGUSR2, handler)
    timer = threading.Timer(0.05, send, (signal.SIGUSR2,))
    timer.start()
    try:
        with pytest.raises(Alarm):
            loop.run_forever()
    finally:
        signal.signal(signal.SIGUSR2, previous)
    timer.join()
    run_turn(loop)


def test_an_interval_timer_interrupts_waits_without_harm(loop):
    """Every few milliseconds the wait is cut short; timers still come in time."""
    seen = []
    previous = signal.signal(signal.SIGALRM, lambda *_: seen.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
    try:
        before = loop.time()
        loop.run_until_complete(asyncio.sleep(0.05))
        elapsed = loop.time() - before
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert elapsed >= 0.05
    assert seen


@pytest.mark.parametrize("wrong", [None, "SIGUSR1", 1.0, object()], ids=repr)
def test_what_is_no_number(loop, wrong):
    with pytest.raises(TypeError, match="sig must be an int"):
        loop.add_signal_handler(wrong, print)
    with pytest.raises(TypeError, match="sig must be an int"):
        loop.remove_signal_handler(wrong)


@pytest.mark.parametrize("wrong", [0, -1, 1000, 65])
def test_what_is_no_signal(loop, wrong):
    with pytest.raises(ValueError, match="invalid signal number"):
        loop.add_signal_handler(wrong, print)
    with pytest.raises(ValueError, match="invalid signal number"):
        loop.remove_signal_handler(wrong)


@pytest.mark.parametrize("uncatchable", [signal.SIGKILL, signal.SIGSTOP])
def test_what_cannot_be_caught(loop, uncatchable):
    with pytest.raises(RuntimeError, match=f"sig {uncatchable:d} cannot be caught"):
        loop.add_signal_handler(uncatchable, print)


def test_coroutines(loop):
    async def coroutine_function():
        pass

    coroutine = coroutine_function()
    for wrong in (coroutine_function, coroutine):
        with pytest.raises(TypeError, match="coroutines cannot be used with add_signal_handler"):
            loop.add_signal_handler(signal.SIGUSR1, wrong)
    coroutine.close()


def test_outside_the_main_thread(loop):
    errors = []

    def wrong_thread():
        try:
            loop.add_signal_handler(signal.SIGUSR1, print)
        except RuntimeError as error:
            errors.append(str(error))

    thread = threading.Thread(target=wrong_thread)
    thread.start()
    thread.join()
    assert len(errors) == 1
    assert "main thread" in errors[0]


def test_two_loops_one_after_the_other(make_loop):
    calls = []
    first = make_loop()
    first.add_signal_handler(signal.SIGUSR1, calls.append, "first")
    first.close()
    second = make_loop()
    second.add_signal_handler(signal.SIGUSR1, calls.append, "second")
    send(signal.SIGUSR1)
    run_until(second, lambda: calls)
    assert calls == ["second"]
    second.remove_signal_handler(signal.SIGUSR1)


def test_graceful_shutdown_of_a_service(implementation):
    """SIGTERM ends the process with its clean-up done and exit code 0."""
    factory = {"asyncio": "asyncio.SelectorEventLoop", "ferrio": "ferrio.EventLoop"}
    program = f"""
import asyncio, os, signal
import ferrio
async def main():
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    print("ready", flush=True)
    await stop.wait()
    print("cleaned up", flush=True)
with asyncio.Runner(loop_factory={factory[implementation.name]}) as runner:
    runner.run(main())
"""
    for number in (signal.SIGTERM, signal.SIGINT):
        child = subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert child.stdout.readline() == b"ready\n"
        child.send_signal(number)
        output, errors = child.communicate(timeout=60)
        assert (output, errors, child.returncode) == (b"cleaned up\n", b"", 0)


def test_system_calls_of_other_code_are_restarted(loop):
    """siginterrupt(False): a read in C code does not fail with EINTR."""
    loop.add_signal_handler(signal.SIGUSR1, int)
    timer = threading.Timer(0.02, send, (signal.SIGUSR1,))
    timer.start()
    before = time.monotonic()
    time.sleep(0.05)
    assert time.monotonic() - before >= 0.05
    timer.join()
    run_turns(loop, 2)
    loop.remove_signal_handler(signal.SIGUSR1)
