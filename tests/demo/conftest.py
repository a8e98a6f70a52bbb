"""The chat service on both loops, for the tests of its routes and of its end."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from demo.client import Client, http_session
from demo.outcome import Outcome
from demo.room import joined_room
from demo.service import LAUNCHERS, Server, chat_service, model_server

SECONDS_AT_MOST = 100.0
# The service's patience with the model: more than a busy machine needs for a quick topic, and far
# less than a slow one takes, which is twenty.
SUMMARY_TIMEOUT = 7.0


class Running:
    """A chat service that runs, its model server, and a user connected to it."""

    summary_timeout = SUMMARY_TIMEOUT

    def __init__(self, service: Server, model: Server, client: Client, database: Path) -> None:
        self.service = service
        self.model = model
        self.client = client
        self.database = database

    def room(self, name: str, members: int):
        """Join a room several times over; its talks are counted with the client's requests."""
        return joined_room(self.client.session, name, members, self.client.outcome)


Scenario = Callable[[Running], Awaitable[None]]


@pytest.fixture(params=list(LAUNCHERS))
def loop_name(request: pytest.FixtureRequest) -> str:
    """The loop that the service runs on."""
    name: str = request.param
    return name


@pytest.fixture
def with_service(
    loop_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Scenario], None]:
    """Give a function that runs a scenario against the service.

    When the scenario ends, a service that still runs is told to stop, and has to do so
    without a word of complaint: resource warnings are on.
    """
    monkeypatch.setenv("CHAT_SUMMARY_TIMEOUT", str(SUMMARY_TIMEOUT))

    async def run(scenario: Scenario) -> None:
        async with AsyncExitStack() as stack:
            enter = stack.enter_async_context
            model = await enter(model_server(sys.executable, tmp_path / "model.log"))
            database = tmp_path / "chat.sqlite3"
            service = await enter(
                chat_service(
                    sys.executable,
                    loop_name,
                    database=database,
                    model_port=model.port,
                    log=tmp_path / "service.log",
                    python_options=("-W", "always::ResourceWarning"),
                )
            )
            session = await enter(http_session(service.port))
            client = Client(session, loop_name, "ann", Outcome())
            await scenario(Running(service, model, client, database))
            assert client.outcome.wrong == []
            if service.process.returncode is None:
                service.terminate()
            await service.stopped()

    return lambda scenario: asyncio.run(asyncio.wait_for(run(scenario), SECONDS_AT_MOST))
