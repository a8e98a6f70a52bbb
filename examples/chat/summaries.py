"""Summaries of many topics at once: a fan-out with a bound and a timeout for each."""

import asyncio
from collections.abc import Iterable
from contextlib import aclosing

from .model import Model, ModelUnavailable


class Summarizer:
    """Asks the model about many topics, only so many at a time."""

    def __init__(self, model: Model, at_once: int, timeout: float) -> None:
        self._model = model
        self._at_once = at_once
        self._timeout = timeout

    async def summarize(self, topics: Iterable[str]) -> dict[str, str | None]:
        """Return a summary for every topic, None for those that took too long.

        Raises ModelUnavailable as soon as the model fails for any of them.
        """
        free = asyncio.Semaphore(self._at_once)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = {
                    topic: group.create_task(self._one(topic, free))
                    for topic in dict.fromkeys(topics)
                }
        except ExceptionGroup as errors:
            if errors.subgroup(ModelUnavailable):
                raise ModelUnavailable("no summaries at the moment") from errors
            raise
        return {topic: task.result() for topic, task in tasks.items()}

    async def _one(self, topic: str, free: asyncio.Semaphore) -> str | None:
        async with free:
            try:
                async with asyncio.timeout(self._timeout):
                    async with aclosing(self._model.answer(topic)) as tokens:
                        return " ".join([token async for token in tokens])
            except TimeoutError:
                return None
