"""The loops' numbers as OpenTelemetry's instruments: ``ferrio.instrument_opentelemetry()``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from ferrio.measuring import metrics

# One collection calls each instrument: they share a reading that is no older than this (seconds).
_FRESH = 0.05

# A look at every task takes some microseconds each, with the interpreter held.
_MOST_LOOKED_AT = 5000

_Attributes = dict[str, str | int]
_Numbers = dict[str, Any]
_Point = tuple[float, _Attributes]


class _Instrument(NamedTuple):
    # "counter", "up_down_counter" or "gauge".
    kind: str
    name: str
    unit: str
    description: str
    points: Callable[[_Numbers], Iterator[_Point]]


def instrument_opentelemetry(meter_provider: Any = None) -> None:
    """Register the loops' numbers as observable instruments with OpenTelemetry.

    They are read when the provider's reader collects, in its thread, also while a loop is blocked.
    ``meter_provider`` is the global one without. Call it once a provider: a second call registers
    them twice. ``docs/metrics.md`` lists the instruments.

    May be called from any thread. Raises ImportError when ``opentelemetry-api`` is not installed.
    """
    from opentelemetry.metrics import Observation, get_meter

    from ferrio import __version__

    meter = get_meter("ferrio", __version__, meter_provider)
    read = _Reading()

    def observe(instrument: _Instrument) -> Callable[[Any], Iterable[Any]]:
        return lambda _options: [
            Observation(value, attributes) for value, attributes in instrument.points(read())
        ]

    for instrument in _INSTRUMENTS:
        create = getattr(meter, f"create_observable_{instrument.kind}")
        create(
            f"ferrio.{instrument.name}",
            callbacks=[observe(instrument)],
            unit=instrument.unit,
            description=instrument.description,
        )


class _Reading:
    """Reads the metrics, once for all instruments of a collection."""

    def __init__(self) -> None:
        self._numbers: _Numbers = {}
        self._until = 0.0

    def __call__(self) -> _Numbers:
        if time.monotonic() >= self._until:
            numbers = metrics(tasks=False)
            if sum(each["alive"] for each in numbers["coroutines"] or ()) <= _MOST_LOOKED_AT:
                numbers = metrics()
            self._numbers = numbers
            self._until = time.monotonic() + _FRESH
        return self._numbers


def _of_loop(*path: str) -> Callable[[_Numbers], Iterator[_Point]]:
    """Return what finds a number of each loop by its keys."""

    def points(numbers: _Numbers) -> Iterator[_Point]:
        for loop in numbers["loops"]:
            value = loop
            for key in path:
                value = value[key]
            yield value, {"loop": loop["id"]}

    return points


def _bytes(numbers: _Numbers) -> Iterator[_Point]:
    for loop in numbers["loops"]:
        for direction, key in (("receive", "bytes_received"), ("transmit", "bytes_sent")):
            yield loop[key], {"loop": loop["id"], "network.io.direction": direction}


def _transports(numbers: _Numbers) -> Iterator[_Point]:
    for loop in numbers["loops"]:
        for transports in loop["transports"]:
            yield transports["open"], {"loop": loop["id"], "kind": transports["kind"]}


def _of_coroutines(key: str) -> Callable[[_Numbers], Iterator[_Point]]:
    def points(numbers: _Numbers) -> Iterator[_Point]:
        for each in numbers["coroutines"] or ():
            yield each[key], {"coroutine": each["coroutine"]}

    return points


def _of_steps(key: str) -> Callable[[_Numbers], Iterator[_Point]]:
    """Return what finds a number of the steps that were measured."""

    def points(numbers: _Numbers) -> Iterator[_Point]:
        for each in numbers["coroutines"] or ():
            if each["times"] is not None:
                yield each["times"][key], {"coroutine": each["coroutine"]}

    return points


def _tasks_by_state(numbers: _Numbers) -> Iterator[_Point]:
    if known := numbers["interpreter"]:
        for state in ("running", "ready", "waiting"):
            yield known[state], {"state": state}


def _waiting(numbers: _Numbers) -> Iterator[_Point]:
    if known := numbers["interpreter"]:
        for wait in known["waits"]:
            yield wait["tasks"], {"for": wait["kind"]} | _named(wait)


def _of_queues(key: str) -> Callable[[_Numbers], Iterator[_Point]]:
    def points(numbers: _Numbers) -> Iterator[_Point]:
        if known := numbers["interpreter"]:
            for queues in known["queues"]:
                yield queues[key], _named(queues)

    return points


def _named(numbers: _Numbers) -> _Attributes:
    """Return the attributes for a thing by its name and a place."""
    name: _Attributes = {"name": numbers["name"]} if numbers["name"] else {}
    return name | _placed(numbers["site"])


def _placed(site: dict[str, Any] | None) -> _Attributes:
    """Return the attributes for a place."""
    if site is None:
        return {}
    return {
        "code.file.path": site["file"],
        "code.line.number": site["line"],
        "code.function.name": site["function"],
    }


def _of_blocks(key: str) -> Callable[[_Numbers], Iterator[_Point]]:
    def points(numbers: _Numbers) -> Iterator[_Point]:
        for block in numbers["blocks"]:
            attributes: _Attributes = {"cause": block["cause"]}
            yield block[key], attributes | _placed(block["site"])

    return points


_INSTRUMENTS = (
    _Instrument("counter", "loop.turns", "{turn}", "Turns", _of_loop("turns")),
    _Instrument("counter", "loop.busy", "s", "Time spent in turns", _of_loop("busy")),
    _Instrument("counter", "loop.waiting", "s", "Time spent in waiting", _of_loop("waiting")),
    _Instrument(
        "gauge",
        "loop.busy_share",
        "1",
        "Share of the last second or two that was spent in turns",
        _of_loop("busy_share"),
    ),
    _Instrument(
        "gauge",
        "loop.lag",
        "s",
        "How long the loop has not looked for events, up to now",
        _of_loop("lag_now"),
    ),
    _Instrument(
        "gauge",
        "loop.lag.p99",
        "s",
        "How long the loop did not look for events, in 99 of 100 times no more than",
        _of_loop("lag", "p99"),
    ),
    _Instrument(
        "up_down_counter", "loop.ready", "{entry}", "Entries of the turn", _of_loop("ready")
    ),
    _Instrument("up_down_counter", "loop.timers", "{timer}", "Timers", _of_loop("timers")),
    _Instrument(
        "up_down_counter", "transports", "{transport}", "Transports that are open", _transports
    ),
    _Instrument("counter", "io", "By", "Bytes received and sent", _bytes),
    _Instrument(
        "up_down_counter",
        "write_buffer",
        "By",
        "Bytes that wait for the kernel",
        _of_loop("write_buffer"),
    ),
    _Instrument("counter", "accepts", "{connection}", "Connections accepted", _of_loop("accepts")),
    _Instrument(
        "counter", "accept_failures", "{call}", "Failed accept()", _of_loop("accept_failures")
    ),
    _Instrument(
        "counter", "executor.jobs", "{job}", "Jobs for threads", _of_loop("executor", "submitted")
    ),
    _Instrument(
        "gauge",
        "executor.wait.p99",
        "s",
        "How long jobs wait for a thread, in 99 of 100 times no more than",
        _of_loop("executor", "wait", "p99"),
    ),
    _Instrument("counter", "lookups", "{lookup}", "Name lookups", _of_loop("lookups", "submitted")),
    _Instrument(
        "up_down_counter", "tasks", "{task}", "Tasks that are not done", _of_coroutines("alive")
    ),
    _Instrument(
        "counter", "tasks.created", "{task}", "Tasks that were made", _of_coroutines("created")
    ),
    _Instrument(
        "counter", "tasks.steps", "{step}", "Steps that tasks have made", _of_coroutines("steps")
    ),
    _Instrument(
        "counter", "tasks.cpu", "s", "CPU time of the steps that were measured", _of_steps("cpu")
    ),
    _Instrument(
        "counter",
        "tasks.delay",
        "s",
        "How long tasks were ready before the steps that were measured",
        _of_steps("delay"),
    ),
    _Instrument(
        "up_down_counter", "tasks.by_state", "{task}", "Tasks by what they are at", _tasks_by_state
    ),
    _Instrument(
        "up_down_counter", "tasks.waiting", "{task}", "Tasks that wait, by what for", _waiting
    ),
    _Instrument(
        "up_down_counter", "queues", "{queue}", "Queues between tasks", _of_queues("queues")
    ),
    _Instrument("up_down_counter", "queue.items", "{item}", "Items in queues", _of_queues("items")),
    _Instrument(
        "up_down_counter",
        "queue.unfinished",
        "{item}",
        "Items for which task_done() was not called yet",
        _of_queues("unfinished"),
    ),
    _Instrument("counter", "blocks", "{block}", "Times a loop was blocked", _of_blocks("count")),
    _Instrument("counter", "blocked", "s", "How long loops were blocked", _of_blocks("total")),
    _Instrument(
        "counter",
        "descheduled",
        "{time}",
        "Times a loop would have been blocked, had others not had the processors",
        lambda numbers: iter([(numbers["descheduled"], {})]),
    ),
)
