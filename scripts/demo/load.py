"""The load on the chat service: many users at once, each doing what users of a chat do."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import aiohttp

from .client import Client, http_session
from .outcome import Outcome, expect
from .room import Room, joined_room

Step = Callable[[], Awaitable[None]]

TEXT = "the quick brown fox jumps over the lazy dog while the band plays on and on "
PROMPT = "how does a coroutine know that the answer it awaits has come in"
TOPICS = [
    "tides",
    "harvest moons",
    "old bridges",
    "sea salt",
    "reeds",
    "far lighthouses",
]
SLOW_TOPIC = "slow glaciers"
FAREWELL = " ".join(f"word-{number}" for number in range(200))


@dataclass(frozen=True)
class Size:
    """How much load there is."""

    users: int = 16
    rooms: int = 4
    members: int = 4
    warm_up_cycles: int = 2
    cycles: int = 15
    talks_per_cycle: int = 12


class Load:
    """Users and rooms that are connected to a service."""

    def __init__(
        self,
        size: Size,
        clients: Sequence[Client],
        rooms: Sequence[Room],
    ) -> None:
        self._size = size
        self._clients = clients
        self._rooms = rooms

    async def run(self, outcome: Outcome, cycles: int) -> None:
        """Put the load on for so many cycles and count what comes of it."""
        async with asyncio.TaskGroup() as group:
            for number, client in enumerate(self._clients):
                client.outcome = outcome
                group.create_task(self._use(client, number, cycles))
            for room in self._rooms:
                room.outcome = outcome
                group.create_task(self._talk(room, cycles))

    def recorded(self) -> dict[str, int]:
        """Return how many messages each room's record has to have by now."""
        return {client.room: len(client.posted) for client in self._clients} | {
            room.name: room.said for room in self._rooms
        }

    async def farewell(self, terminate: Callable[[], None]) -> None:
        """Have the service told to stop in the middle of an answer, with everybody connected.

        The answer has to arrive to its end, and every member of a room has to be told
        that the service restarts.
        """
        received: list[str] = []
        async for token in self._clients[0].tokens(FAREWELL):
            if not received:
                terminate()
            received.append(token)
        expect(received, ["You", "asked:", *FAREWELL.split()])
        for room in self._rooms:
            await room.closed(aiohttp.WSCloseCode.SERVICE_RESTART)

    async def _use(self, client: Client, number: int, cycles: int) -> None:
        for cycle in range(cycles):
            # Users begin at different places, so that the service gets a mixture all the time.
            for step in _rotated(_steps(client, cycle), number * 3):
                await step()

    async def _talk(self, room: Room, cycles: int) -> None:
        for number in range(cycles * self._size.talks_per_cycle):
            await room.talk(TEXT[: 10 + number % 50])


@asynccontextmanager
async def connected(port: int, loop: str, size: Size) -> AsyncIterator[Load]:
    """Connect users and rooms to the service on a port."""
    outcome = Outcome()
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(http_session(port))
        clients = [Client(session, loop, f"user-{number}", outcome) for number in range(size.users)]
        rooms = [
            await stack.enter_async_context(
                joined_room(session, f"room-{number}", size.members, outcome)
            )
            for number in range(size.rooms)
        ]
        yield Load(size, clients, rooms)


def _steps(client: Client, cycle: int) -> list[Step]:
    """Return what a user does in one cycle."""
    steps: list[Step] = [client.ask_loop]
    for number in range(3):
        steps += [
            partial(client.count_words, TEXT * (1 + number)),
            partial(client.post, f"message {cycle}.{number}"),
            partial(client.count_words, TEXT * (4 + number)),
            client.read_latest,
        ]
    steps.append(client.read_statistics)
    for number in range(3):
        steps += [
            partial(client.stream_answer, f"{PROMPT} {cycle}.{number}"),
            partial(client.count_words, f"{PROMPT} {number}"),
        ]
    # Now and then one of the topics is slow and has to be given up.
    topics = [*TOPICS, SLOW_TOPIC] if cycle % 10 == 5 else TOPICS
    return [*steps, partial(client.summarize, topics)]


def _rotated(steps: list[Step], by: int) -> list[Step]:
    start = by % len(steps)
    return steps[start:] + steps[:start]
