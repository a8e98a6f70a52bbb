"""The record of messages: a SQLite file, used from threads so that the loop never waits for it."""

import asyncio
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

from .messages import Message, RecordedMessage

SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY,
    room TEXT NOT NULL,
    author TEXT NOT NULL,
    text TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS messages_of_a_room ON messages (room, id);
"""


class Store:
    """Messages in a SQLite file. Every method but `close` may be awaited by many tasks at once."""

    def __init__(self, path: Path) -> None:
        # One connection for all threads, so the lock decides whose turn it is.
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._lock = threading.Lock()
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.executescript(SCHEMA)

    async def add(self, messages: Sequence[Message]) -> list[int]:
        """Record the messages in one transaction and return their ids."""
        return await asyncio.to_thread(self._add, messages)

    async def latest(self, room: str, limit: int) -> list[RecordedMessage]:
        """Return the newest messages of a room, oldest of them first."""
        return await asyncio.to_thread(self._latest, room, limit)

    async def totals(self, room: str) -> tuple[int, int]:
        """Return how many messages a room has and how many authors wrote them."""
        return await asyncio.to_thread(self._totals, room)

    def close(self) -> None:
        """Write what is left and close the file."""
        with self._lock:
            self._connection.close()

    def _add(self, messages: Sequence[Message]) -> list[int]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                ids = [self._insert(message) for message in messages]
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
        return ids

    def _insert(self, message: Message) -> int:
        cursor = self._connection.execute(
            "INSERT INTO messages (room, author, text) VALUES (?, ?, ?)",
            (message.room, message.author, message.text),
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def _latest(self, room: str, limit: int) -> list[RecordedMessage]:
        with self._lock:
            rows = self._connection.execute(
                "SELECT id, author, text FROM messages WHERE room = ? ORDER BY id DESC LIMIT ?",
                (room, limit),
            ).fetchall()
        return [
            RecordedMessage(id=number, room=room, author=author, text=text)
            for number, author, text in reversed(rows)
        ]

    def _totals(self, room: str) -> tuple[int, int]:
        with self._lock:
            messages, authors = self._connection.execute(
                "SELECT count(*), count(DISTINCT author) FROM messages WHERE room = ?", (room,)
            ).fetchone()
        return messages, authors
