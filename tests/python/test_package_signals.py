"""``add_signal_handler``, on asyncio's loop and on ferrio's."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time

import pytest


@pytest.fixture(autouse=True)
def _signal_state_is_restored():
    yield
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
    assert signal.set_wakeup_fd(-1) == -1


def send(number=signal.SIGUSR1):
    os.kill(os.getpid(), number)


def test_the_callback_runs_in_the_loop(loop):
    seen = []

    async def main():
        caught = asyncio.Event()

        def callback(*args):
            seen.append((args, asyncio.get_running_loop()))
            caught.set()

        loop.add_signal_handler(signal.SIGUSR1, callback, 1, "two")
        for _ in range(3):
            caught.clear()
            send()
            await caught.wait()
        assert seen == [((1, "two"), loop)] * 3
        assert loop.remove_signal_handler(signal.SIGUSR1)
        assert not loop.remove_signal_handler(signal.SIGUSR1)

    loop.run_until_complete(main())


def test_a_signal_before_the_loop_runs_is_not_lost(loop):
    loop.add_signal_handler(signal.SIGUSR1, loop.stop)
    send()
    loop.run_forever()
    loop.remove_signal_handler(signal.SIGUSR1)


def test_a_signal_wakes_the_loop(loop):
    loop.add_signal_handler(signal.SIGUSR1, loop.stop)
    thread = threading.Timer(0.05, send)
    thread.start()
    started = time.monotonic()
    limit = loop.call_later(60, loop.stop)
    loop.run_forever()
    limit.cancel()
    assert time.monotonic() - started < 50
    thread.join()
    loop.remove_signal_handler(signal.SIGUSR1)


def test_a_signal_that_a_thread_blocked_in_c_gets(loop):
    # The kernel may give the signal to any thread; the loop waits in its own.
    loop.add_signal_handler(signal.SIGUSR1, loop.stop)
    release = threading.Event()
    worker = threading.Thread(target=release.wait)
    worker.start()
    loop.call_soon(signal.pthread_kill, worker.ident, signal.SIGUSR1)
    limit = loop.call_later(60, loop.stop)
    started = time.monotonic()
    loop.run_forever()
    limit.cancel()
    release.set()
    worker.join()
    assert time.monotonic() - started < 50
    loop.remove_signal_handler(signal.SIGUSR1)


def test_a_new_handler_replaces_the_old_one(loop):
    async def main():
        caught = asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, pytest.fail)
        loop.add_signal_handler(signal.SIGUSR1, caught.set)
        send()
        await caught.wait()
        loop.remove_signal_handler(signal.SIGUSR1)

    loop.run_until_complete(main())


def test_several_signals(loop):
    seen = []

    async def main():
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD):
            loop.add_signal_handler(number, seen.append, number)
        process = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", ""])
        assert process.returncode == 0
        send(signal.SIGUSR1)
        send(signal.SIGUSR2)
        async with asyncio.timeout(60):
            while len(set(seen)) < 3:
                await asyncio.sleep(0.001)
        for number in set(seen):
            assert loop.remove_signal_handler(number)

    loop.run_until_complete(main())


def test_an_error_in_the_callback_is_reported(loop, reports):
    error = ValueError("wrong")

    def fail():
        loop.call_soon(loop.stop)
        raise error

    loop.add_signal_handler(signal.SIGUSR1, fail)
    send()
    loop.run_forever()
    report = reports.take_one()
    assert report["exception"] is error
    assert report["message"].startswith("Exception in callback ")
    loop.remove_signal_handler(signal.SIGUSR1)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_exception_that_ends_the_run(loop, kind):
    def fail():
        raise kind

    loop.add_signal_handler(signal.SIGUSR1, fail)
    send()
    with pytest.raises(kind):
        loop.run_forever()
    loop.remove_signal_handler(signal.SIGUSR1)


def test_a_handler_of_the_signal_module_still_runs(loop):
    seen = []
    loop.add_signal_handler(signal.SIGUSR2, pytest.fail)
    previous = signal.signal(signal.SIGUSR1, lambda *_: (seen.append(1), loop.stop()))
    try:
        loop.call_soon(send)
        limit = loop.call_later(60, loop.stop)
        loop.run_forever()
        limit.cancel()
        assert seen == [1]
    finally:
        signal.signal(signal.SIGUSR1, previous)
        loop.remove_signal_handler(signal.SIGUSR2)


def test_closing_the_loop_restores_the_default(loop):
    loop.add_signal_handler(signal.SIGUSR1, pytest.fail)
    loop.add_signal_handler(signal.SIGINT, pytest.fail)
    loop.close()
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


async def coroutine_function():
    pass


def test_arguments_that_are_refused(loop):
    with pytest.raises(TypeError, match=r"coroutines cannot be used with add_signal_handler\(\)"):
        loop.add_signal_handler(signal.SIGUSR1, coroutine_function)
    coroutine = coroutine_function()
    with pytest.raises(TypeError, match=r"coroutines cannot be used with add_signal_handler\(\)"):
        loop.add_signal_handler(signal.SIGUSR1, coroutine)
    coroutine.close()
    for method in (lambda sig: loop.add_signal_handler(sig, print), loop.remove_signal_handler):
        with pytest.raises(TypeError, match="sig must be an int, not 'SIGUSR1'"):
            method("SIGUSR1")
        with pytest.raises(ValueError, match="invalid signal number 1000"):
            method(1000)
    with pytest.raises(RuntimeError, match=r"sig (9|Signals\.SIGKILL) cannot be caught"):
        loop.add_signal_handler(signal.SIGKILL, print)
    assert not loop.remove_signal_handler(signal.SIGKILL)


def test_only_in_the_main_thread(loop):
    errors = []

    def add():
        try:
            loop.add_signal_handler(signal.SIGUSR1, print)
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=add)
    thread.start()
    thread.join()
    (error,) = errors
    assert isinstance(error, RuntimeError)
    assert "set_wakeup_fd only works in main thread" in str(error)
    assert not loop.remove_signal_handler(signal.SIGUSR1)


def test_on_a_closed_loop(loop):
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.add_signal_handler(signal.SIGUSR1, print)


def test_control_c_while_the_loop_waits(loop):
    threading.Timer(0.05, send, [signal.SIGINT]).start()
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(asyncio.sleep(1000))

    async def rest():
        # The sleep that was under way is still there, as with asyncio.
        (task,) = asyncio.all_tasks() - {asyncio.current_task()}
        task.cancel()
        await asyncio.wait([task])

    loop.run_until_complete(rest())
