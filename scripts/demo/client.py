"""A client of the chat service that knows the right answer to everything it asks."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from .outcome import Outcome, WrongAnswer, expect

PATIENCE = 15.0
"""Seconds after which an answer is not waited for any longer."""


@dataclass
class Client:
    """One HTTP user, with a room to itself, so that it knows what has been said there."""

    session: aiohttp.ClientSession
    loop: str
    """The loop that the service should be running on: asyncio or ferrio."""
    name: str
    outcome: Outcome
    posted: list[dict[str, Any]] = field(default_factory=list)

    @property
    def room(self) -> str:
        """The room that only this client posts to."""
        return f"room-of-{self.name}"

    async def ask_loop(self) -> None:
        """Ask which loop runs the service."""
        with self.outcome.answer("loop"):
            answer = await self._json("GET", "/loop")
            expect(answer["module"].split(".")[0], self.loop)

    async def count_words(self, text: str) -> None:
        """Have the words of a text counted."""
        with self.outcome.answer("words"):
            words = text.split()
            expect(
                await self._json("POST", "/words", {"text": text}),
                {
                    "words": len(words),
                    "characters": len(text),
                    "longest": max(words, key=len),
                },
            )

    async def stream_answer(self, prompt: str) -> None:
        """Have a prompt answered, token by token."""
        with self.outcome.answer("answer"):
            expect([token async for token in self.tokens(prompt)], answer_to(prompt))

    async def tokens(self, prompt: str) -> AsyncIterator[str]:
        """Yield the tokens of an answer as they arrive; it has to end as agreed."""
        async with self.session.get("/answers", params={"prompt": prompt}) as response:
            expect(response.status, 200)
            async for line in response.content:
                if line.startswith(b"event: done"):
                    expect(await response.content.read(), b"data: {}\n\n")
                    return
                if line.startswith(b"data: "):
                    yield json.loads(line[6:])["token"]
        raise WrongAnswer("the stream ended without its last event")

    async def summarize(self, topics: Sequence[str]) -> None:
        """Have topics summarized; the slow ones are expected to be given up."""
        with self.outcome.answer("summaries"):
            answer = await self._json("GET", "/summaries", params=[("topic", t) for t in topics])
            expect(
                answer["summaries"],
                {t: None if t.startswith("slow") else " ".join(answer_to(t)) for t in topics},
            )

    async def post(self, text: str) -> None:
        """Say something in the client's own room."""
        with self.outcome.answer("post"):
            body = {"author": self.name, "text": text}
            answer = await self._json("POST", f"/rooms/{self.room}/messages", body, status=201)
            if self.posted and answer["id"] <= self.posted[-1]["id"]:
                raise WrongAnswer(f"id {answer['id']} after {self.posted[-1]['id']}")
            expect(answer, {"id": answer["id"], "room": self.room, **body})
            self.posted.append(answer)

    async def read_latest(self) -> None:
        """Read the newest messages of the client's own room."""
        with self.outcome.answer("latest"):
            answer = await self._json("GET", f"/rooms/{self.room}/messages", params={"limit": 10})
            expect(answer, self.posted[-10:])

    async def read_statistics(self) -> None:
        """Ask how much has been said in the client's own room."""
        with self.outcome.answer("statistics"):
            expect(
                await self._json("GET", f"/rooms/{self.room}/statistics"),
                {
                    "room": self.room,
                    "messages": len(self.posted),
                    "authors": min(1, len(self.posted)),
                    "members": 0,
                },
            )

    async def _json(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        params: Any = None,
        status: int = 200,
    ) -> Any:
        async with self.session.request(method, path, json=body, params=params) as response:
            expect(response.status, status)
            return await response.json()


def answer_to(prompt: str) -> list[str]:
    """Return the tokens that the model server answers a prompt with."""
    return ["You", "asked:", *prompt.split()]


@asynccontextmanager
async def http_session(port: int) -> AsyncIterator[aiohttp.ClientSession]:
    """Open a session with a connection for each that asks at the same time."""
    async with aiohttp.ClientSession(
        base_url=f"http://127.0.0.1:{port}",
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=PATIENCE),
    ) as session:
        yield session
