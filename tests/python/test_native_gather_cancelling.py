"""``ferrio.gather(..., cancel_on_error=True)``, on either loop."""

import asyncio
import contextlib
import gc
import sys

import pytest

import ferrio
from awaitables import Foreign, raises, returns
from turns import run_until_idle

pytest_plugins = ["library_fixtures"]


class TestCancelOnError:
    """``gather(..., cancel_on_error=True)``: all or nothing."""

    @pytest.fixture
    def gather(self):
        return ferrio.gather

    async def cleans_up(self, log, name, *, turns=3, then=None):
        """Wait for ever, and when cancelled for ``turns`` more."""
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            for _ in range(turns):
                await asyncio.sleep(0)
            log.append(name)
            if then is not None:
                raise then from None
            raise

    def test_all_return(self, gather, loop):
        async def main():
            return await gather(returns(1, 2), returns(2), cancel_on_error=True)

        assert loop.run_until_complete(main()) == [1, 2]

    def test_nothing(self, gather, loop):
        async def main():
            return await gather(cancel_on_error=True)

        assert loop.run_until_complete(main()) == []

    def test_the_others_are_cancelled_and_awaited(self, gather, loop):
        error, log = KeyError("k"), []

        async def main():
            with pytest.raises(KeyError) as raised:
                await gather(
                    self.cleans_up(log, "first"),
                    raises(error, 1),
                    self.cleans_up(log, "third", turns=7),
                    returns(4),
                    cancel_on_error=True,
                )
            assert raised.value is error
            assert log == ["first", "third"]
            assert not getattr(error, "__notes__", [])

        loop.run_until_complete(main())

    def test_what_the_others_raise_is_noted(self, gather, loop):
        log = []

        async def main():
            with pytest.raises(KeyError) as raised:
                await gather(
                    self.cleans_up(log, "first", turns=5, then=OSError("while cleaning")),
                    raises(KeyError("k"), 1),
                    self.cleans_up(log, "third", then=ValueError("too")),
                    cancel_on_error=True,
                )
            assert raised.value.__notes__ == [
                "Another awaitable of the gather raised OSError('while cleaning')",
                "Another awaitable of the gather raised ValueError('too')",
            ]

        loop.run_until_complete(main())
        # The fixture complains of exceptions that nobody has seen.
        gc.collect()

    def test_two_fail_in_the_same_turn(self, gather, loop):
        async def main():
            with pytest.raises(KeyError) as raised:
                await gather(raises(KeyError("k")), raises(ValueError("v")), cancel_on_error=True)
            assert raised.value.__notes__ == [
                "Another awaitable of the gather raised ValueError('v')"
            ]

        loop.run_until_complete(main())

    def test_the_same_exception_is_not_noted_in_itself(self, gather, loop):
        error = KeyError("k")

        async def main():
            with pytest.raises(KeyError):
                await gather(raises(error), raises(error), cancel_on_error=True)

        loop.run_until_complete(main())
        assert not hasattr(error, "__notes__")

    def test_an_exception_that_cannot_be_noted(self, gather, loop, monkeypatch):
        class Unspeakable(Exception):
            def __repr__(self):
                raise TypeError("cannot be shown")

        unraisable = []
        monkeypatch.setattr(sys, "unraisablehook", lambda each: unraisable.append(each.exc_value))

        async def main():
            with pytest.raises(KeyError):
                await gather(raises(KeyError()), raises(Unspeakable()), cancel_on_error=True)

        loop.run_until_complete(main())
        assert [type(each) for each in unraisable] == [TypeError]
        unraisable.clear()

    @pytest.mark.parametrize("stopper", [KeyboardInterrupt, SystemExit])
    def test_what_stops_everything_wins(self, gather, loop, stopper):
        async def main():
            first, second = loop.create_future(), loop.create_future()
            gathered = gather(first, second, loop.create_future(), cancel_on_error=True)
            first.set_exception(KeyError("k"))
            second.set_exception(stopper())
            with pytest.raises(stopper) as raised:
                await gathered
            noted = ["Another awaitable of the gather raised KeyError('k')"]
            assert raised.value.__notes__ == noted

        loop.run_until_complete(main())

    def test_a_task_that_exits(self, gather, loop):
        async def main():
            await gather(raises(SystemExit(3), 1), returns(1, 9), cancel_on_error=True)

        task = loop.create_task(main())
        with pytest.raises(SystemExit):
            loop.run_until_complete(task)
        with pytest.raises(SystemExit):
            loop.run_until_complete(task)
        run_until_idle(loop)

    def test_a_cancelled_child_is_a_failure(self, gather, loop):
        log = []

        async def main():
            future = loop.create_future()
            gathered = gather(future, self.cleans_up(log, "second"), cancel_on_error=True)
            await asyncio.sleep(0)
            future.cancel("why")
            with pytest.raises(asyncio.CancelledError, match="why"):
                await gathered
            assert log == ["second"]

        loop.run_until_complete(main())

    def test_each_is_cancelled_once(self, gather, loop):
        log = []

        async def main():
            task = loop.create_task(self.cleans_up(log, "task", turns=5))
            failing = loop.create_future()
            gathered = gather(task, failing, task, cancel_on_error=True)
            await asyncio.sleep(0)
            failing.set_exception(KeyError())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert task.cancelling() == 1
            assert not gathered.done()
            # The end is settled.
            assert not gathered.cancel()
            assert task.cancelling() == 1
            with pytest.raises(KeyError):
                await gathered
            assert task.cancelled()
            assert log == ["task"]

        loop.run_until_complete(main())

    def test_a_child_that_returns_all_the_same(self, gather, loop):
        async def stubborn():
            with contextlib.suppress(asyncio.CancelledError):
                await loop.create_future()
            return 1

        async def main():
            with pytest.raises(KeyError):
                await gather(stubborn(), raises(KeyError(), 1), cancel_on_error=True)

        loop.run_until_complete(main())

    def test_an_awaitable_twice(self, gather, loop):
        async def main():
            coroutine = returns(1, 1)
            return await gather(coroutine, coroutine, returns(2), cancel_on_error=True)

        assert loop.run_until_complete(main()) == [1, 1, 2]

    def test_cancelling_it(self, gather, loop):
        log = []

        async def main():
            task = loop.create_task(self.cleans_up(log, "task"))
            gathered = gather(
                task, self.cleans_up(log, "second", turns=9), task, cancel_on_error=True
            )
            await asyncio.sleep(0)
            assert gathered.cancel("why")
            assert gathered.cancel("again")
            assert task.cancelling() == 1
            with pytest.raises(asyncio.CancelledError, match="why"):
                await gathered
            assert log == ["task", "second"]

        loop.run_until_complete(main())

    def test_cancelling_it_and_a_child_raises(self, gather, loop):
        log = []

        async def main():
            gathered = gather(
                self.cleans_up(log, "first", turns=1, then=OSError("while cleaning")),
                self.cleans_up(log, "second", turns=3),
                cancel_on_error=True,
            )
            await asyncio.sleep(0)
            gathered.cancel("why")
            with pytest.raises(asyncio.CancelledError, match="why") as raised:
                await gathered
            assert raised.value.__notes__ == [
                "Another awaitable of the gather raised OSError('while cleaning')"
            ]

        loop.run_until_complete(main())

    def test_the_task_that_waits_is_cancelled(self, gather, loop):
        log = []

        async def waits():
            await gather(self.cleans_up(log, "child"), returns(1), cancel_on_error=True)

        async def main():
            task = loop.create_task(waits())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert log == ["child"]

        loop.run_until_complete(main())

    def test_the_task_that_waits_is_cancelled_after_a_failure(self, gather, loop):
        """Its cancellation is not lost, and it goes on when all have ended."""
        log = []

        async def waits():
            await gather(
                self.cleans_up(log, "child", turns=9), raises(KeyError()), cancel_on_error=True
            )

        async def main():
            task = loop.create_task(waits())
            for _ in range(5):
                await asyncio.sleep(0)
            task.cancel("why")
            with pytest.raises(asyncio.CancelledError, match="why"):
                await task
            assert log == ["child"]

        loop.run_until_complete(main())

    def test_every_child_has_been_done(self, gather, loop):
        async def main():
            good, bad = loop.create_future(), loop.create_future()
            good.set_result(1)
            bad.set_exception(KeyError())
            with pytest.raises(KeyError):
                await gather(good, bad, cancel_on_error=True)
            assert await gather(good, good, cancel_on_error=True) == [1, 1]

        loop.run_until_complete(main())

    def test_a_child_that_cannot_be_cancelled(self, gather, loop, reports):
        class Uncancellable(Foreign):
            def cancel(self, msg=None):
                raise OSError("cannot be cancelled")

        log = []

        async def main():
            future = Uncancellable(loop)
            gathered = gather(
                raises(KeyError(), 1), future, self.cleans_up(log, "third"), cancel_on_error=True
            )
            for _ in range(9):
                await asyncio.sleep(0)
            assert log == ["third"]
            assert not gathered.done()
            future.set_result(1)
            with pytest.raises(KeyError):
                await gathered

        loop.run_until_complete(main())
        assert isinstance(reports.take_one()["exception"], OSError)

    def test_both_options(self, gather):
        with pytest.raises(ValueError, match="exclude each other"):
            gather(return_exceptions=True, cancel_on_error=True)

    def test_it_is_asyncios_after_install(self, implementation):
        ferrio.install()
        try:
            assert asyncio.gather is asyncio.tasks.gather is ferrio.gather
        finally:
            ferrio.uninstall()
        assert asyncio.gather is not ferrio.gather
        with pytest.raises(TypeError):
            asyncio.gather(cancel_on_error=True)
