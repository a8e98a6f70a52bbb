"""The background worker that writes messages to the record, many in one transaction."""

import asyncio
import logging
from typing import NamedTuple

from .messages import Message
from .store import Store

logger = logging.getLogger("chat.recorder")

QUEUED_AT_MOST = 1_000
BATCH_AT_MOST = 100


class Job(NamedTuple):
    """A message on its way to the record, and who waits for it to arrive."""

    message: Message
    recorded: asyncio.Future[int]


class Recorder:
    """Takes messages from a queue and records them. `run` must be running for anything to happen.

    A room's talk does not wait for the disk: `submit` returns as soon as there is
    room in the queue. Whoever does want to wait awaits the future that it returns.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._jobs: asyncio.Queue[Job] = asyncio.Queue(QUEUED_AT_MOST)

    async def submit(self, message: Message) -> asyncio.Future[int]:
        """Queue a message; the future gets its id once it is recorded."""
        job = Job(message, asyncio.get_running_loop().create_future())
        await self._jobs.put(job)
        return job.recorded

    async def run(self) -> None:
        """Record what is queued, until cancelled."""
        while True:
            batch = await self._next_batch()
            await self._record(batch)
            for _ in batch:
                self._jobs.task_done()

    async def drain(self) -> None:
        """Wait until everything queued is recorded."""
        waiting = self._jobs.qsize()
        await self._jobs.join()
        logger.info("recorder drained, %d messages were still waiting", waiting)

    async def _next_batch(self) -> list[Job]:
        batch = [await self._jobs.get()]
        while len(batch) < BATCH_AT_MOST and not self._jobs.empty():
            batch.append(self._jobs.get_nowait())
        return batch

    async def _record(self, batch: list[Job]) -> None:
        try:
            ids = await self._store.add([job.message for job in batch])
        except Exception as error:
            logger.exception("could not record %d messages", len(batch))
            for job in batch:
                if not job.recorded.done():
                    job.recorded.set_exception(error)
        else:
            for job, number in zip(batch, ids, strict=True):
                # The one who waits may have gone: a client that hung up is cancelled.
                if not job.recorded.done():
                    job.recorded.set_result(number)
