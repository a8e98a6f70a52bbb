"""KeyboardInterrupt and SystemExit leave the loop; what else was to run is kept."""

import asyncio
import functools
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from turns import run_turn, run_turns, run_until_idle


@pytest.fixture(params=[KeyboardInterrupt, SystemExit])
def error(request):
    return request.param


def raise_(error):
    raise error("out of a callback")


def test_out_of_a_callback(loop, error):
    calls = []
    loop.call_soon(calls.append, 1)
    loop.call_soon(raise_, error)
    loop.call_soon(calls.append, 2)
    loop.call_soon(calls.append, 3)
    with pytest.raises(error, match="out of a callback"):
        loop.run_forever()
    assert calls == [1]
    assert not loop.is_running()
    assert asyncio._get_running_loop() is None
    # The rest of the batch was not lost.
    run_turn(loop)
    assert calls == [1, 2, 3]


def test_out_of_a_timer(clocked_loop, error):
    loop = clocked_loop
    calls = []
    loop.call_later(1, calls.append, 1)
    loop.call_later(2, raise_, error)
    loop.call_later(3, calls.append, 3)
    loop.now += 5
    with pytest.raises(error):
        loop.run_forever()
    run_turn(loop)
    assert calls == [1, 3]


def test_out_of_a_task(loop, error):
    calls = []

    async def interrupts():
        raise error("out of a task")

    task = loop.create_task(interrupts())
    loop.call_soon(calls.append, "same batch")
    with pytest.raises(error, match="out of a task"):
        loop.run_forever()
    assert calls == []
    assert task.done()
    assert isinstance(task.exception(), error)
    assert asyncio.current_task(loop) is None
    run_turn(loop)
    assert calls == ["same batch"]


def test_out_of_the_task_that_is_run(loop, error):
    async def interrupts():
        await asyncio.sleep(0)
        raise error("out of a task")

    with pytest.raises(error, match="out of a task"):
        loop.run_until_complete(interrupts())
    gc.collect()
    run_until_idle(loop)
    # Its end does not stop the next run.
    assert loop.run_until_complete(asyncio.sleep(0, "still works")) == "still works"


def test_out_of_another_task_than_the_one_that_is_run(loop, error):
    async def interrupts():
        raise error("out of a task")

    async def main():
        task = asyncio.create_task(interrupts())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.exception()
        return "finished later"

    task = loop.create_task(main())
    with pytest.raises(error):
        loop.run_until_complete(task)
    assert not task.done()
    assert loop.run_until_complete(task) == "finished later"


def test_out_of_a_done_callback(loop, error):
    calls = []
    future = loop.create_future()
    future.add_done_callback(lambda done: calls.append(1))
    future.add_done_callback(lambda done: raise_(error))
    future.add_done_callback(lambda done: calls.append(2))
    future.set_result(None)
    with pytest.raises(error):
        loop.run_forever()
    assert calls == [1]
    run_turn(loop)
    assert calls == [1, 2]


def test_out_of_a_reader(loop, error):
    reader, writer = os.pipe()
    try:
        os.write(writer, b"x")
        loop.add_reader(reader, raise_, error)
        with pytest.raises(error):
            loop.run_forever()
        # It is still there, and so is what it should read.
        with pytest.raises(error):
            loop.run_forever()
        assert loop.remove_reader(reader)
        run_turn(loop)
    finally:
        os.close(reader)
        os.close(writer)


def test_out_of_the_exception_handler(loop, error):
    def handler(loop, context):
        raise error("out of the handler")

    loop.set_exception_handler(handler)
    calls = []
    loop.call_soon(lambda: 1 / 0)
    loop.call_soon(calls.append, "same batch")
    with pytest.raises(error, match="out of the handler"):
        loop.run_forever()
    assert calls == []
    run_turn(loop)
    assert calls == ["same batch"]


def test_out_of_the_call_from_a_thread(loop, error):
    thread = threading.Thread(target=loop.call_soon_threadsafe, args=(raise_, error))
    thread.start()
    with pytest.raises(error):
        loop.run_forever()
    thread.join()


def test_a_subclass_of_the_error(loop):
    class MyExit(SystemExit):
        pass

    loop.call_soon(raise_, MyExit)
    with pytest.raises(MyExit):
        loop.run_forever()


def test_other_base_exceptions_are_reported(loop, reports):
    class MyBase(BaseException):
        pass

    calls = []
    loop.call_soon(raise_, MyBase)
    loop.call_soon(raise_, GeneratorExit)
    loop.call_soon(raise_, asyncio.CancelledError)
    loop.call_soon(calls.append, "same batch")
    run_turn(loop)
    assert calls == ["same batch"]
    assert [type(report["exception"]) for report in reports.take()] == [
        MyBase,
        GeneratorExit,
        asyncio.CancelledError,
    ]


def test_base_exceptions_out_of_tasks_are_kept_in_them(loop):
    class MyBase(BaseException):
        pass

    async def fails(error):
        raise error

    for error in (MyBase, GeneratorExit):
        with pytest.raises(error):
            loop.run_until_complete(fails(error))


def test_stop_and_an_interrupt_in_one_turn(loop, error):
    loop.call_soon(loop.stop)
    loop.call_soon(raise_, error)
    with pytest.raises(error):
        loop.run_forever()
    # The stop went with the run that it was for.
    assert loop.run_until_complete(asyncio.sleep(0, "still works")) == "still works"


def test_twice_in_one_batch(loop, error):
    loop.call_soon(raise_, error)
    loop.call_soon(raise_, error)
    for _ in range(2):
        with pytest.raises(error):
            loop.run_forever()
    run_turn(loop)


def test_interrupt_while_the_loop_waits(loop):
    """Ctrl-C: the signal arrives in the wait, and its default handler raises."""
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    timer.join()
    run_turns(loop, 2)


def test_interrupt_while_a_callback_works(loop):
    calls = []

    def works():
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            pass
        calls.append("not reached")

    loop.call_soon(works)
    loop.call_soon(calls.append, "same batch")
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    run_turn(loop)
    assert calls == ["same batch"]


def test_interrupt_of_a_loop_that_is_always_busy(loop):
    """No turn waits, and yet the signal gets through."""

    def again():
        loop.call_soon(again)

    handle = loop.call_soon(again)
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    timer.join()
    handle.cancel()
    again = lambda: None  # noqa: E731
    run_turns(loop, 3)


def test_interrupt_of_a_busy_loop_without_python_code(loop):
    """Nothing in the loop runs bytecode: only the loop itself can look for signals."""
    again = functools.partial(loop.call_soon)
    # Calling it is `loop.call_soon(again)`.
    again.__setstate__((loop.call_soon, (again,), {}, {}))
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
    loop.call_soon(again)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    timer.join()
    again.__setstate__((int, (), {}, {}))
    run_turns(loop, 3)


def test_other_threads_run_beside_a_busy_loop_without_python_code(loop):
    """Nor does it give the interpreter away but between its turns."""
    again = functools.partial(loop.call_soon)
    again.__setstate__((loop.call_soon, (again,), {}, {}))
    worked = []

    def work():
        for number in range(100):
            worked.append(number)
        loop.call_soon_threadsafe(loop.stop)

    loop.call_soon(again)
    thread = threading.Thread(target=work)
    loop.call_soon(thread.start)
    loop.run_forever()
    thread.join()
    assert len(worked) == 100
    again.__setstate__((int, (), {}, {}))
    run_turns(loop, 3)


def test_interrupt_cancels_the_main_task_of_a_runner(implementation, watched):
    events = []

    async def main():
        asyncio.get_running_loop().call_later(0.01, os.kill, os.getpid(), signal.SIGINT)
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            events.append("cancelled")
            raise
        finally:
            events.append("finally")

    with pytest.raises(KeyboardInterrupt):
        implementation.run(main())
    assert events == ["cancelled", "finally"]


def test_a_second_interrupt_does_not_wait(implementation, logged):
    async def main():
        loop = asyncio.get_running_loop()
        loop.call_later(0.01, os.kill, os.getpid(), signal.SIGINT)
        while True:
            try:
                await loop.create_future()
            except asyncio.CancelledError:
                loop.call_later(0.01, os.kill, os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        implementation.run(main())
    gc.collect()
    (text,) = logged.texts()
    assert text.startswith("Task was destroyed but it is pending!")


PROGRAM = """
import asyncio, os, signal, sys
import ferrio
loop_factory = {factory}
async def main():
    {body}
with asyncio.Runner(loop_factory=loop_factory) as runner:
    runner.run(main())
"""


def exit_code_of(implementation, body):
    factory = {"asyncio": "asyncio.SelectorEventLoop", "ferrio": "ferrio.EventLoop"}
    program = textwrap.dedent(PROGRAM).format(factory=factory[implementation.name], body=body)
    outcome = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    return outcome.returncode, outcome.stderr


def test_exit_code_of_system_exit(implementation):
    assert exit_code_of(implementation, "sys.exit(7)") == (7, "")


def test_exit_code_of_an_interrupt(implementation):
    code, errors = exit_code_of(
        implementation, "os.kill(os.getpid(), signal.SIGINT); await asyncio.sleep(100)"
    )
    assert code == -signal.SIGINT
    assert errors.rstrip().endswith("KeyboardInterrupt")


def test_exit_code_of_an_exception(implementation):
    code, errors = exit_code_of(implementation, "1 / 0")
    assert code == 1
    assert errors.rstrip().endswith("ZeroDivisionError: division by zero")
