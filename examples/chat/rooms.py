"""Rooms: who is in which, and how what one says reaches the others."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import WebSocket, WebSocketDisconnect

from .messages import Message

BACKLOG_AT_MOST = 200


class Member:
    """One WebSocket in a room, with the messages that it has not been sent yet."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._backlog: asyncio.Queue[Message] = asyncio.Queue(BACKLOG_AT_MOST)

    def offer(self, message: Message) -> None:
        """Put a message in the backlog. A member too slow to keep up misses it."""
        try:
            self._backlog.put_nowait(message)
        except asyncio.QueueFull:
            pass

    async def deliver(self) -> None:
        """Send the backlog as it grows, until cancelled or the member is gone."""
        try:
            while True:
                message = await self._backlog.get()
                await self._websocket.send_json({"author": message.author, "text": message.text})
        except WebSocketDisconnect:
            # The reading side hears of it too, and it is the one that leaves the room.
            return


class Rooms:
    """All rooms; a room is there as long as it has members."""

    def __init__(self) -> None:
        self._members: dict[str, set[Member]] = {}

    @contextmanager
    def joined(self, room: str, websocket: WebSocket) -> Iterator[Member]:
        """Be a member of the room for as long as the block runs."""
        member = Member(websocket)
        members = self._members.setdefault(room, set())
        members.add(member)
        try:
            yield member
        finally:
            members.discard(member)
            if not members:
                self._members.pop(room, None)

    def say(self, message: Message) -> None:
        """Offer a message to every member of its room, its author included."""
        for member in self._members.get(message.room, ()):
            member.offer(message)

    def count(self, room: str) -> int:
        """Return how many members a room has at the moment."""
        return len(self._members.get(room, ()))
