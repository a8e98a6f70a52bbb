"""One round of the demo: start the service, load it, measure it, stop it."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from .load import Size, connected
from .outcome import Outcome, expect
from .service import Server, chat_service


@dataclass(frozen=True)
class Round:
    """What was measured in one round on one loop."""

    loop: str
    outcome: Outcome
    cpu_seconds: float
    """CPU time that the service's process used while it was measured."""
    peak_bytes: int
    """The most memory that the service's process had resident since it started."""

    @property
    def cpu_us_per_request(self) -> float:
        """Microseconds of the service's CPU time for each right answer."""
        return self.cpu_seconds * 1e6 / max(1, self.outcome.ok)


async def run_round(python: str, loop: str, model: Server, size: Size, directory: Path) -> Round:
    """Run the service once, from its start to a clean stop.

    Raises ServiceFailed when it does not start or stop as it should. Wrong answers
    are counted in the outcome, those of the warm-up and of the farewell included.
    """
    database = directory / "chat.sqlite3"
    outcome = Outcome()
    async with chat_service(
        python,
        loop,
        database=database,
        model_port=model.port,
        log=directory / "service.log",
    ) as service:
        async with connected(service.port, loop, size) as load:
            warm_up = Outcome()
            await load.run(warm_up, size.warm_up_cycles)
            before = service.usage()
            await load.run(outcome, size.cycles)
            after = service.usage()
            farewell = Outcome()
            with farewell.answer("farewell"):
                await load.farewell(service.terminate)
            recorded = load.recorded()
        await service.stopped()
    with farewell.answer("record"):
        expect(messages_in(database), recorded)
    outcome.wrong += warm_up.wrong + farewell.wrong
    return Round(loop, outcome, after.cpu_seconds - before.cpu_seconds, after.peak_bytes)


def messages_in(database: Path) -> dict[str, int]:
    """Count the messages of every room in the service's file, as the service left it."""
    connection = sqlite3.connect(database)
    try:
        return dict(connection.execute("SELECT room, count(*) FROM messages GROUP BY room"))
    finally:
        connection.close()
