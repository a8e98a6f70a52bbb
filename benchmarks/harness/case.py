"""What a benchmark case is, and the register of all cases.

A case asks one question, which is its docstring, and checks its own result: a loop that does the
wrong work fast must not look fast. There are six kinds, by where the measured window lies:

* a coroutine case runs inside the loop, and only the time inside its coroutine counts;
* a function case makes and closes loops itself (loop creation, `asyncio.run`);
* a memory case reports bytes, not time;
* an echo case is a server in one process, driven by the load client from another;
* a web case is a web server in one process, driven by wrk from another;
* the service case is a round of the demo, which has its own processes and checks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import Enum
from inspect import cleandoc
from typing import Protocol

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


class WrongResult(Exception):
    """A case did not come to the result that it must come to."""


def verify(what: str, actual: object, expected: object) -> None:
    """Raise WrongResult unless `actual` equals `expected`."""
    if actual != expected:
        raise WrongResult(f"{what}: expected {expected!r}, got {actual!r}")


class Unit(Enum):
    """What a case's figure counts, per operation."""

    NANOSECONDS = "ns"  # CPU time, all threads, user and system
    BYTES = "bytes"  # resident memory


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is common to all kinds of cases."""

    name: str
    """How it is called on the command line, in the records and in bars.toml."""
    title: str
    """How the table and the picture call it; it says what one operation is."""
    group: str
    """The heading under which the table shows it."""
    question: str
    """What its figure answers."""
    batch: int = 1
    """Operations come in multiples of this."""
    unit: Unit = Unit.NANOSECONDS
    uses_names: bool = True
    """Whether it uses asyncio's names that `install()` replaces.

    Where it does not, a loop with its names installed would run the very same code as without,
    and takes no part.
    """
    growth: bool = False
    """Whether it is one of a row of cases that show how a cost grows; run when asked for."""
    priced: bool = False
    """Whether it compares ferrio with itself, with more and with less of what it tells."""

    def whole_batches(self, operations: float) -> int:
        """`operations`, raised to the next multiple of the batch; at least one batch."""
        return max(1, -(-int(operations) // self.batch)) * self.batch


@dataclass(frozen=True, kw_only=True)
class CoroutineCase(Case):
    """Does a number of operations inside a running loop and returns how many it did."""

    body: Callable[[int], Awaitable[int]]


@dataclass(frozen=True, kw_only=True)
class FunctionCase(Case):
    """Does a number of operations, each with a loop of its own, and returns how many it did."""

    body: Callable[[LoopFactory, int], int]


@dataclass(frozen=True, kw_only=True)
class MemoryCase(Case):
    """Makes `population` things inside a running loop; returns the bytes they take together."""

    body: Callable[[int], Awaitable[int]]
    population: int
    unit: Unit = Unit.BYTES


class EchoServer(Protocol):
    """What an echo case starts: an asyncio.Server or what does for one, with its `sockets`."""

    def close(self) -> None:
        """Listen no more."""


class Load(Enum):
    """What the load client does; the values are its own words for it."""

    PLAIN = "client"  # messages over TCP
    TLS = "tls-client"  # messages over TLS
    LINES = "line-client"  # messages over TCP, each a line
    HANDSHAKES = "handshakes"  # new TLS connections, which the server greets with a byte


@dataclass(frozen=True, kw_only=True)
class EchoCase(Case):
    """A server that echoes; one operation is one message, there and back, or what `load` says."""

    start_server: Callable[[], Awaitable[EchoServer]]
    connections: int
    size: int
    """Length of a message in bytes."""
    datagrams: bool = False
    """Whether messages travel by UDP; then a connection is a socket of the client's."""
    has_floor: bool = True
    """Whether the echo server without Python takes part; it serves TCP only."""
    load: Load = Load.PLAIN
    idle: int = 0
    """Connections beside those, each of which has been used once and then stays silent."""
    fresh: bool = False
    """Whether the server's process has never freed a large block (see the worker)."""


@dataclass(frozen=True)
class Serve:
    """A web server that runs."""

    address: tuple[str, int]
    answered: Callable[[], int]
    """How many requests it has answered so far."""


@dataclass(frozen=True)
class Answer:
    """What a web server must answer, with status 200."""

    content_type: str
    body: bytes


@dataclass(frozen=True, kw_only=True)
class WebCase(Case):
    """A web server; one operation is one request on a connection that is kept open."""

    serve: Callable[[], AbstractAsyncContextManager[Serve]]
    connections: int
    path: str
    """What is asked for, with the query."""
    answer: Answer
    needs: tuple[str, ...]
    """The packages that it is made of."""


@dataclass(frozen=True, kw_only=True)
class ServiceCase(Case):
    """A round of the demo; one operation is one request."""

    loops: tuple[str, ...]
    """Those that the demo can run the service on."""


_cases: dict[str, Case] = {}


def register(case: Case) -> None:
    """Make a case known under its name."""
    if case.name in _cases:
        raise ValueError(f"two cases are called {case.name!r}")
    _cases[case.name] = case


def registered() -> dict[str, Case]:
    """All cases by name, in the order in which they are shown."""
    return dict(_cases)


def coroutine_case(
    name: str,
    *,
    title: str,
    group: str,
    batch: int = 1,
    uses_names: bool = True,
) -> Callable[[Callable[[int], Awaitable[int]]], Callable[[int], Awaitable[int]]]:
    """Register the decorated coroutine function as a case."""

    def decorate(body: Callable[[int], Awaitable[int]]) -> Callable[[int], Awaitable[int]]:
        register(
            CoroutineCase(
                name=name,
                title=title,
                group=group,
                question=question_of(body),
                batch=batch,
                uses_names=uses_names,
                body=body,
            )
        )
        return body

    return decorate


def function_case(
    name: str, *, title: str, group: str
) -> Callable[[Callable[[LoopFactory, int], int]], Callable[[LoopFactory, int], int]]:
    """Register the decorated function, which makes its own loops, as a case."""

    def decorate(body: Callable[[LoopFactory, int], int]) -> Callable[[LoopFactory, int], int]:
        register(
            FunctionCase(name=name, title=title, group=group, question=question_of(body), body=body)
        )
        return body

    return decorate


def memory_case(
    name: str, *, title: str, group: str, population: int, uses_names: bool = True
) -> Callable[[Callable[[int], Awaitable[int]]], Callable[[int], Awaitable[int]]]:
    """Register the decorated coroutine function as a case that counts bytes."""

    def decorate(body: Callable[[int], Awaitable[int]]) -> Callable[[int], Awaitable[int]]:
        register(
            MemoryCase(
                name=name,
                title=title,
                group=group,
                question=question_of(body),
                population=population,
                uses_names=uses_names,
                body=body,
            )
        )
        return body

    return decorate


def question_of(body: Callable[..., object]) -> str:
    """A case's question: the docstring of what it runs."""
    if not body.__doc__:
        raise ValueError(f"{body.__qualname__} asks no question: it has no docstring")
    return cleandoc(body.__doc__)
