"""Asynchronous generators that are left half-way: closed by the loop, or by its shutdown."""

import asyncio
import gc
import sys

import pytest

from turns import run_until, run_until_idle


def generator(events, name="generator"):
    async def generate():
        try:
            for number in range(10):
                yield number
        finally:
            await asyncio.sleep(0)
            events.append(f"{name} closed")

    return generate()


def test_a_dropped_one_is_closed_by_a_task(loop):
    events = []

    async def main():
        async for _ in generator(events):
            break
        gc.collect()
        for _ in range(5):
            await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert events == ["generator closed"]
    run_until_idle(loop)


def test_shutdown_closes_those_that_are_held(loop):
    events = []
    held = []

    async def main():
        for number in range(3):
            held.append(generator(events, f"generator {number}"))
            assert await anext(held[-1]) == 0

    loop.run_until_complete(main())
    assert events == []
    loop.run_until_complete(loop.shutdown_asyncgens())
    assert sorted(events) == [f"generator {number} closed" for number in range(3)]


def test_shutdown_with_none(loop):
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_asyncgens())


def test_finished_ones_are_left_alone(loop):
    events = []
    held = generator(events)

    async def main():
        return [item async for item in held]

    assert loop.run_until_complete(main()) == list(range(10))
    loop.run_until_complete(loop.shutdown_asyncgens())
    assert events == ["generator closed"]


def test_an_error_while_closing_is_reported(loop, reports):
    async def generate():
        try:
            yield 1
        finally:
            raise ZeroDivisionError

    held = generate()

    async def main():
        await anext(held)

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_asyncgens())
    report = reports.take_one()
    assert isinstance(report["exception"], ZeroDivisionError)
    assert report["asyncgen"] is held
    assert "an error occurred during closing of asynchronous generator" in report["message"]


def test_one_that_starts_after_the_shutdown_is_warned_of(loop):
    events = []
    held = generator(events)

    async def main():
        await loop.shutdown_asyncgens()
        with pytest.warns(ResourceWarning, match="was scheduled after loop.shutdown_asyncgens"):
            await anext(held)
        await held.aclose()

    loop.run_until_complete(main())


def test_hooks_are_the_loops_while_it_runs(loop):
    before = sys.get_asyncgen_hooks()
    inside = []

    async def main():
        inside.append(sys.get_asyncgen_hooks())

    loop.run_until_complete(main())
    assert sys.get_asyncgen_hooks() == before
    assert inside[0].firstiter is not None
    assert inside[0].finalizer is not None


def test_hooks_of_the_program_are_put_back(loop):
    calls = []
    before = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(firstiter=calls.append, finalizer=calls.append)
    try:
        loop.run_until_complete(asyncio.sleep(0))
        hooks = sys.get_asyncgen_hooks()
        assert hooks.firstiter == calls.append
        assert hooks.finalizer == calls.append
    finally:
        sys.set_asyncgen_hooks(*before)


def test_hooks_are_put_back_after_an_interrupt(loop):
    before = sys.get_asyncgen_hooks()

    async def main():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(main())
    assert sys.get_asyncgen_hooks() == before


def test_one_that_is_dropped_after_the_loop_was_closed(make_loop):
    async def generate():
        yield 1

    loop = make_loop()
    held = generate()

    async def main():
        await anext(held)

    loop.run_until_complete(main())
    loop.close()
    del held
    gc.collect()


def test_one_that_another_thread_drops(loop):
    import threading

    events = []
    held = [generator(events)]

    async def main():
        await anext(held[0])
        thread = threading.Thread(target=held.clear)
        thread.start()
        thread.join()

    loop.run_until_complete(main())
    run_until(loop, lambda: events)
    assert events == ["generator closed"]
    run_until_idle(loop)


def test_run_shuts_them_down(implementation, watched):
    events = []
    held = generator(events)

    async def main():
        await anext(held)

    implementation.run(main())
    assert events == ["generator closed"]


def test_nested_generators(loop):
    events = []

    async def outer():
        inner = generator(events, "inner")
        try:
            async for item in inner:
                yield item
        finally:
            await inner.aclose()
            events.append("outer closed")

    async def main():
        async for _ in outer():
            break
        gc.collect()
        for _ in range(10):
            await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert events == ["inner closed", "outer closed"]
    run_until_idle(loop)


def test_asynchronous_comprehensions_and_context_managers(loop):
    import contextlib

    events = []

    @contextlib.asynccontextmanager
    async def manager():
        events.append("entered")
        try:
            yield "value"
        finally:
            await asyncio.sleep(0)
            events.append("left")

    async def main():
        async with manager() as value:
            numbers = [number * 2 async for number in generator(events)]
        return value, numbers

    value, numbers = loop.run_until_complete(main())
    assert value == "value"
    assert numbers == [number * 2 for number in range(10)]
    assert events == ["entered", "generator closed", "left"]
