"""``call_later`` and ``call_at``: when timers fire, in which order, and how they are cancelled."""

import asyncio
import decimal
import fractions
import gc
import math
import os
import random
import resource
import sys
import time
import weakref

import pytest

from turns import run_turn, run_turns


def test_timers_fire_by_deadline_and_not_before(clocked_loop):
    loop = clocked_loop
    calls = []
    loop.call_later(3, calls.append, 3)
    loop.call_later(1, calls.append, 1)
    loop.call_later(2, calls.append, 2)
    run_turn(loop)
    assert calls == []
    loop.advance(0.999)
    assert calls == []
    loop.advance(0.001)
    assert calls == [1]
    loop.advance(5)
    assert calls == [1, 2, 3]


def test_equal_deadlines_keep_the_order_of_scheduling(clocked_loop, implementation):
    loop = clocked_loop
    calls = []
    when = loop.time() + 1
    for number in range(500):
        loop.call_at(when, calls.append, number)
    loop.advance(1)
    if implementation.is_ferrio:
        assert calls == list(range(500))
    else:
        # The standard library's heap is not stable.
        assert sorted(calls) == list(range(500))


def test_the_order_of_equal_deadlines_survives_cancellations(clocked_loop, implementation):
    loop = clocked_loop
    calls = []
    chosen = random.Random(1)
    handles = [
        loop.call_at(loop.time() + number // 100, calls.append, number) for number in range(2000)
    ]
    kept = []
    for number, handle in enumerate(handles):
        if chosen.random() < 0.7:
            handle.cancel()
        else:
            kept.append(number)
    loop.advance(50)
    if implementation.is_ferrio:
        assert calls == kept
    else:
        assert sorted(calls) == kept


def test_due_timers_run_after_what_was_ready(clocked_loop):
    loop = clocked_loop
    calls = []
    loop.call_later(1, calls.append, "timer")
    loop.now += 1
    loop.call_soon(calls.append, "ready")
    run_turn(loop)
    assert calls == ["ready", "timer"]


@pytest.mark.parametrize("delay", [0, 0.0, -0.0, -1, -1e9, -math.inf])
def test_a_delay_that_is_not_positive_fires_in_the_next_turn(loop, delay):
    calls = []
    loop.call_later(delay, calls.append, "called")
    assert calls == []
    run_turn(loop)
    assert calls == ["called"]


def test_negative_delays_keep_the_order_of_deadlines(clocked_loop):
    loop = clocked_loop
    calls = []
    for delay in (0, -1, -5, -3, -2, -4):
        loop.call_later(delay, calls.append, delay)
    run_turn(loop)
    assert calls == [-5, -4, -3, -2, -1, 0]


def test_not_a_number_fires_at_once(loop):
    """NaN is neither early nor late: asyncio's comparison lets such a timer through."""
    calls = []
    loop.call_later(math.nan, calls.append, "called")
    run_turn(loop)
    assert calls == ["called"]


@pytest.mark.parametrize("delay", [math.inf, 1e300, 10.0**18, 10**18])
def test_a_deadline_beyond_all_time_never_fires(loop, delay):
    calls = []
    handle = loop.call_later(delay, calls.append, "never")
    near = loop.call_later(0, calls.append, "near")
    run_turns(loop, 3)
    assert calls == ["near"]
    assert handle.when() >= delay
    handle.cancel()
    near.cancel()


def test_a_loop_sleeps_beside_a_timer_that_never_fires(loop):
    """A deadline of infinity must not become a negative or a huge timeout."""
    handle = loop.call_later(math.inf, print)
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    handle.cancel()


def test_a_deadline_long_past(loop):
    calls = []
    for when in (-(10**9), -1.0, 0, 1, -2e9):
        loop.call_at(when, calls.append, when)
    run_turn(loop)
    assert calls == [-2e9, -(10**9), -1.0, 0, 1]


@pytest.mark.parametrize("kind", [int, float, fractions.Fraction, bool])
def test_every_kind_of_number(clocked_loop, kind):
    loop = clocked_loop
    calls = []
    handle = loop.call_later(kind(1), calls.append, "called")
    assert handle.when() == loop.time() + 1
    loop.advance(0.5)
    assert calls == []
    loop.advance(0.5)
    assert calls == ["called"]


def test_when_is_the_very_number_given(clocked_loop):
    loop = clocked_loop
    whens = [1001, 1001.5, fractions.Fraction(2005, 2)]
    handles = [loop.call_at(when, int) for when in whens]
    assert [handle.when() for handle in handles] == whens
    assert [type(handle.when()) for handle in handles] == [int, float, fractions.Fraction]
    loop.advance(10)


@pytest.mark.parametrize("delay", ["1", b"1", [], object(), decimal.Decimal(1)])
def test_a_delay_that_is_no_number_of_seconds(loop, delay):
    with pytest.raises(TypeError):
        loop.call_later(delay, int)


def test_none_as_delay_or_time(loop):
    with pytest.raises(TypeError, match="delay must not be None"):
        loop.call_later(None, int)
    with pytest.raises(TypeError, match="when cannot be None"):
        loop.call_at(None, int)


def test_a_timer_needs_a_callback(loop):
    with pytest.raises(TypeError):
        loop.call_later(1)
    with pytest.raises(TypeError):
        loop.call_at(1)
    with pytest.raises(TypeError):
        loop.call_later()


def test_parameters_by_keyword(loop):
    """The parameters' names are part of asyncio's signatures."""
    calls = []
    loop.call_later(delay=0, callback=lambda: calls.append("later"))
    loop.call_at(when=0, callback=lambda: calls.append("at"))
    loop.call_later(0, callback=lambda: calls.append("mixed"))
    run_turn(loop)
    assert sorted(calls) == ["at", "later", "mixed"]


def test_cancelled_timers_do_not_fire(clocked_loop):
    loop = clocked_loop
    calls = []
    handles = [loop.call_later(1, calls.append, number) for number in range(5)]
    handles[1].cancel()
    handles[3].cancel()
    handles[3].cancel()
    loop.advance(1)
    assert sorted(calls) == [0, 2, 4]
    assert [handle.cancelled() for handle in handles] == [False, True, False, True, False]


def test_a_timer_may_cancel_itself_while_it_runs(clocked_loop):
    """anyio's cancel scopes do so."""
    loop = clocked_loop
    seen = []

    class Argument:
        pass

    def callback(argument):
        handle.cancel()
        gc.collect()
        seen.append(type(argument).__name__)
        handle.cancel()

    handle = loop.call_later(1, callback, Argument())
    loop.advance(1)
    assert seen == ["Argument"]
    assert handle.cancelled()


def test_a_timer_may_cancel_another_that_is_due_with_it(clocked_loop):
    loop = clocked_loop
    calls = []

    def callback():
        calls.append("first")
        second.cancel()

    loop.call_later(1, callback)
    second = loop.call_later(2, calls.append, "second")
    third = loop.call_later(3, calls.append, "third")
    loop.advance(5)
    assert calls == ["first", "third"]
    third.cancel()


def test_cancel_after_firing_does_nothing_to_others(clocked_loop):
    loop = clocked_loop
    calls = []
    first = loop.call_later(1, calls.append, "first")
    loop.advance(1)
    # What the first one had in the heap may be another's by now.
    loop.call_later(1, calls.append, "second")
    first.cancel()
    first.cancel()
    loop.advance(1)
    assert calls == ["first", "second"]


def test_a_timer_that_schedules_itself_at_once_lets_the_turn_end(clocked_loop):
    loop = clocked_loop
    calls = []

    def again():
        calls.append(len(calls))
        if len(calls) < 3:
            loop.call_later(0, again)

    loop.call_later(0, again)
    run_turn(loop)
    assert calls == [0]
    run_turn(loop)
    assert calls == [0, 1]
    run_turn(loop)
    assert calls == [0, 1, 2]


def test_cancel_frees_callback_and_arguments_at_once(loop):
    class Argument:
        pass

    argument = Argument()
    reference = weakref.ref(argument)
    handle = loop.call_later(1000, print, argument)
    del argument
    handle.cancel()
    assert reference() is None


def test_cancel_from_a_finalizer_that_cancel_runs(loop):
    """The finalizer re-enters the timer heap from within cancel()."""
    others = [loop.call_later(1000 + number, print) for number in range(300)]

    class Argument:
        def __del__(self):
            for other in others:
                other.cancel()
            handle.cancel()

    handle = loop.call_later(1000, print, Argument())
    handle.cancel()
    assert all(other.cancelled() for other in others)


def peak_memory():
    """The most memory that the process has used, in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="keeps what is freed")
def test_a_hundred_thousand_cancelled_timers_are_not_kept(loop):
    """Every request of a server sets a timeout and cancels it: the heap must not grow."""
    for _ in range(1000):
        loop.call_later(3600, print, None).cancel()
    run_turn(loop)
    before = peak_memory()
    for _ in range(100):
        for _ in range(1000):
            loop.call_later(3600, print, None).cancel()
        run_turn(loop)
    # A kept timer costs 100 bytes or more: 10 MiB for these.
    assert peak_memory() - before < 4096


def test_cancelled_timers_among_live_ones_are_forgotten(loop):
    references = []

    class Argument:
        pass

    live = [loop.call_later(3600 + number, int) for number in range(100)]
    for number in range(5000):
        argument = Argument()
        references.append(weakref.ref(argument))
        loop.call_later(1800 + number, print, argument).cancel()
        del argument
    assert not any(reference() for reference in references)
    for handle in live:
        handle.cancel()


def test_no_timer_is_early(loop):
    """To the clock's resolution: a nanosecond."""
    late_by = []
    resolution = time.get_clock_info("monotonic").resolution

    def due(when):
        late_by.append(loop.time() - when)
        if len(late_by) == 200:
            loop.stop()

    chosen = random.Random(7)
    start = loop.time()
    for _ in range(200):
        when = start + chosen.random() * 0.05
        loop.call_at(when, due, when)
    loop.run_forever()
    assert min(late_by) >= -resolution
    assert len(late_by) == 200


def test_short_timers_are_not_rounded_to_milliseconds(loop, implementation):
    """Best of many: a loop that waits in whole milliseconds never manages less than one."""
    elapsed = []

    async def main():
        # On a busy machine it may take more of them.
        while len(elapsed) < 100 or (min(elapsed) >= 0.0008 and len(elapsed) < 10_000):
            before = time.perf_counter()
            await asyncio.sleep(0.0002)
            elapsed.append(time.perf_counter() - before)

    loop.run_until_complete(main())
    assert min(elapsed) >= 0.00019
    if implementation.is_ferrio:
        assert min(elapsed) < 0.0008


def test_overridden_time_is_honoured_everywhere(implementation, make_loop):
    class Loop(implementation.EventLoop):
        offset = 0.0

        def time(self):
            return 5e6 + self.offset

    loop = make_loop(Loop)
    calls = []
    handle = loop.call_later(10, calls.append, "later")
    assert handle.when() == 5e6 + 10
    loop.call_at(5e6 + 5, calls.append, "at")
    run_turn(loop)
    assert calls == []
    loop.offset = 5
    run_turn(loop)
    assert calls == ["at"]
    loop.offset = 10
    run_turn(loop)
    assert calls == ["at", "later"]


def test_time_that_raises_leaves_the_loop_usable(implementation, make_loop):
    class Loop(implementation.EventLoop):
        broken = False

        def time(self):
            if self.broken:
                raise ZeroDivisionError("a broken clock")
            return super().time()

    loop = make_loop(Loop)
    calls = []
    loop.call_later(0, calls.append, "called")
    loop.broken = True
    with pytest.raises(ZeroDivisionError):
        run_turn(loop)
    with pytest.raises(ZeroDivisionError):
        loop.call_later(0, calls.append, "refused")
    loop.broken = False
    run_turns(loop, 2)
    assert calls == ["called"]
    assert not loop.is_running()


def test_call_later_goes_through_an_overridden_call_at(implementation, make_loop):
    whens = []

    class Loop(implementation.EventLoop):
        def call_at(self, when, callback, *args, context=None):
            whens.append(when)
            return super().call_at(when, callback, *args, context=context)

    loop = make_loop(Loop)
    calls = []
    before = loop.time()
    loop.call_later(0, calls.append, "called")
    run_turn(loop)
    assert calls == ["called"]
    assert len(whens) == 1
    assert whens[0] >= before


def test_time_is_the_monotonic_clock(loop):
    before = time.monotonic()
    now = loop.time()
    assert before <= now <= time.monotonic()
    assert isinstance(now, float)


def test_timer_handle_is_asyncios(loop):
    handle = loop.call_later(1000, print, "argument")
    assert isinstance(handle, asyncio.TimerHandle)
    assert isinstance(handle, asyncio.Handle)
    assert handle._loop is loop
    assert abs(handle.when() - loop.time() - 1000) < 10
    assert repr(handle).startswith(f"<TimerHandle when={handle.when()} print(")
    handle.cancel()
    assert repr(handle) == f"<TimerHandle cancelled when={handle.when()}>"


def test_scheduled_flag(clocked_loop):
    handle = clocked_loop.call_later(1, int)
    assert handle._scheduled
    clocked_loop.advance(1)
    assert not handle._scheduled


def test_timer_handles_compare_by_time(loop):
    early, late = loop.call_at(1e9, int), loop.call_at(2e9, int)
    same = loop.call_at(1e9, int)
    other = loop.call_at(1e9, float)
    assert early < late
    assert early <= late
    assert late > early
    assert late >= early
    assert early != late
    assert early == same
    assert early <= same
    assert early >= same
    assert early != other
    assert not early < other
    assert hash(early) == hash(same) == hash(1e9)
    assert early != 1e9
    with pytest.raises(TypeError):
        early < 1e9  # noqa: B015
    for handle in (early, late, same, other):
        handle.cancel()


def test_timers_survive_between_runs(clocked_loop):
    loop = clocked_loop
    calls = []
    loop.call_later(5, calls.append, "called")
    for _ in range(4):
        loop.advance(1)
    assert calls == []
    loop.advance(1)
    assert calls == ["called"]


def test_an_exception_in_a_timer_is_reported(clocked_loop, reports):
    loop = clocked_loop
    calls = []

    def fails():
        raise ZeroDivisionError

    handle = loop.call_later(1, fails)
    loop.call_later(2, calls.append, "after")
    loop.advance(2)
    assert calls == ["after"]
    report = reports.take_one()
    assert report["handle"] is handle
    assert isinstance(report["exception"], ZeroDivisionError)


def test_closing_the_loop_drops_its_timers(make_loop):
    class Argument:
        pass

    loop = make_loop()
    argument = Argument()
    reference = weakref.ref(argument)
    handle = loop.call_later(1000, print, argument)
    del argument
    loop.close()
    del handle
    gc.collect()
    assert reference() is None
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.call_later(1, print)
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.call_at(1, print)


def test_cancel_after_the_loop_was_closed(make_loop):
    loop = make_loop()
    handle = loop.call_later(1000, print)
    loop.close()
    handle.cancel()
    assert handle.cancelled()


def test_random_timers_fire_in_the_order_of_a_sorted_list(clocked_loop):
    loop = clocked_loop
    chosen = random.Random(99)
    calls, expected, handles = [], [], []
    start = loop.time()
    for number in range(3000):
        when = start + chosen.randrange(1, 1_000_000) / 1000
        handles.append((when, number, loop.call_at(when, calls.append, when)))
    for when, _number, handle in handles:
        if chosen.random() < 0.5:
            handle.cancel()
        else:
            expected.append(when)
    for _ in range(40):
        loop.advance(chosen.random() * 30)
    loop.advance(2000)
    assert calls == sorted(expected)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_loop_that_waits_uses_no_cpu(loop):
    """A rounding error in the timeout would make the loop spin until the deadline."""
    loop.call_later(0.2, loop.stop)
    before = time.process_time()
    loop.run_forever()
    assert time.process_time() - before < 0.1
