"""The client of the model server: streams tokens over pooled TCP connections."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple


class Connection(NamedTuple):
    """The two halves of a connection to the model server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class ModelUnavailable(Exception):
    """The model server cannot be reached, or hung up in mid-answer."""


class Model:
    """Asks the model server for answers, with a bounded number of connections kept open.

    The protocol is one JSON object a line. A question is `{"prompt": …}`; the answer is a
    line `{"token": …}` for every token and `{"done": true}` at the end.
    """

    def __init__(self, host: str, port: int, connections: int) -> None:
        self._host = host
        self._port = port
        self._free = asyncio.Semaphore(connections)
        self._idle: list[Connection] = []

    async def answer(self, prompt: str) -> AsyncGenerator[str, None]:
        """Yield the answer's tokens as they come."""
        async with self._connection() as (reader, writer):
            writer.write(json.dumps({"prompt": prompt}).encode() + b"\n")
            await writer.drain()
            while line := await reader.readline():
                event = json.loads(line)
                if event.get("done"):
                    return
                yield event["token"]
            raise ModelUnavailable("the model server hung up in mid-answer")

    async def close(self) -> None:
        """Close the connections that wait for the next question."""
        while self._idle:
            writer = self._idle.pop().writer
            writer.close()
            await writer.wait_closed()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        async with self._free:
            connection = self._take_idle() or await self._connect()
            try:
                yield connection
            except BaseException:
                # Somebody stopped listening in mid-answer: its rest would be
                # taken for the answer to the next question.
                connection.writer.close()
                raise
            self._idle.append(connection)

    def _take_idle(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.reader.at_eof():
                return connection
            connection.writer.close()  # The model server hung up while it waited.
        return None

    async def _connect(self) -> Connection:
        try:
            return Connection(*await asyncio.open_connection(self._host, self._port))
        except OSError as error:
            raise ModelUnavailable(str(error)) from error
