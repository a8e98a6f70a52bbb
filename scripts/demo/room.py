"""A room with several members, each of which has to hear what any of them says."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from .client import PATIENCE
from .outcome import Outcome, expect

ENDS = (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)


@dataclass
class Member:
    """One WebSocket in a room."""

    name: str
    socket: aiohttp.ClientWebSocketResponse
    heard: asyncio.Queue[aiohttp.WSMessage] = field(default_factory=asyncio.Queue)

    async def listen(self) -> None:
        """Read the socket until it ends.

        It is read all the time, also while nobody talks, because that is how the
        service's pings are answered.
        """
        while True:
            message = await self.socket.receive()
            self.heard.put_nowait(message)
            if message.type in ENDS:
                return

    async def hear(self) -> aiohttp.WSMessage:
        """Return the next message, which has to come soon."""
        return await asyncio.wait_for(self.heard.get(), PATIENCE)


@dataclass
class Room:
    """A room and the members that the client has in it."""

    name: str
    members: Sequence[Member]
    outcome: Outcome
    said: int = 0

    async def talk(self, text: str) -> None:
        """Let the next member say something, and hear it from every member's socket."""
        with self.outcome.answer("talk"):
            speaker = self.members[self.said % len(self.members)]
            text = f"{self.said}: {text}"
            self.said += 1
            await speaker.socket.send_str(text)
            for member in self.members:
                heard = await member.hear()
                expect(heard.type, aiohttp.WSMsgType.TEXT)
                expect(json.loads(heard.data), {"author": speaker.name, "text": text})

    async def closed(self, code: int) -> None:
        """Wait until the service has closed every socket, with this code."""
        for member in self.members:
            last = await member.hear()
            expect((last.type, last.data), (aiohttp.WSMsgType.CLOSE, code))


@asynccontextmanager
async def joined_room(
    session: aiohttp.ClientSession, name: str, members: int, outcome: Outcome
) -> AsyncIterator[Room]:
    """Join a room several times over."""
    async with AsyncExitStack() as stack:
        listeners = await stack.enter_async_context(asyncio.TaskGroup())
        present = [
            await stack.enter_async_context(_joined(session, name, f"member-{number}"))
            for number in range(members)
        ]
        for member in present:
            listeners.create_task(member.listen())
        # A member is in the room a moment after its handshake: wait until all are.
        async with asyncio.timeout(PATIENCE):
            while await _present(session, name) < members:
                await asyncio.sleep(0.01)
        yield Room(name, present, outcome)


@asynccontextmanager
async def _joined(session: aiohttp.ClientSession, room: str, author: str) -> AsyncIterator[Member]:
    # The client does not answer a close by itself: a service that ends does not wait for
    # the answer, which would then fail here, at times.
    async with session.ws_connect(
        f"/rooms/{room}/socket", params={"author": author}, autoclose=False
    ) as socket:
        yield Member(author, socket)


async def _present(session: aiohttp.ClientSession, room: str) -> int:
    async with session.get(f"/rooms/{room}/statistics") as response:
        statistics = await response.json()
        members: int = statistics["members"]
        return members
