"""The processes of the demo: the chat service on either loop, and its slow model server."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

STARTS_WITHIN = 30.0
"""Seconds; a cold start imports FastAPI from a disk that may be slow."""
STOPS_WITHIN = 10.0

LAUNCHERS: Mapping[str, Sequence[str]] = {"asyncio": (), "ferrio": ("-m", "ferrio")}
"""What stands between `python` and `-m uvicorn` to run the service on a loop."""

TROUBLE = re.compile(r"Traceback|Warning|ERROR|CRITICAL|never retrieved|is pending|panicked")
"""What a log of a service that ran and stopped well does not have."""


class ServiceFailed(Exception):
    """A process did not start, or did not stop as it should."""


@dataclass(frozen=True)
class Usage:
    """What a process has used so far."""

    cpu_seconds: float
    peak_bytes: int

    @classmethod
    def of(cls, pid: int) -> "Usage":
        """Read it from the kernel: CPU time of all threads, and peak resident memory."""
        stat = Path(f"/proc/{pid}/stat").read_text()
        # The second field, the command's name, may have spaces and brackets in it.
        fields = stat[stat.rindex(")") + 2 :].split()
        user_ticks, system_ticks = int(fields[11]), int(fields[12])
        status = Path(f"/proc/{pid}/status").read_text()
        peak = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
        if peak is None:
            raise ServiceFailed(f"process {pid} has ended")
        return cls(
            cpu_seconds=(user_ticks + system_ticks) / os.sysconf("SC_CLK_TCK"),
            peak_bytes=int(peak.group(1)) * 1024,
        )


class Server:
    """A server in a process of its own, whose output goes to a log file."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path, port: int) -> None:
        self.process = process
        self.log = log
        self.port = port

    def usage(self) -> Usage:
        """Return what the process has used so far."""
        return Usage.of(self.process.pid)

    def terminate(self) -> None:
        """Ask it to stop, as a container's runtime does."""
        self.process.send_signal(signal.SIGTERM)

    async def stopped(self) -> None:
        """Wait until it has ended, which it is expected to do in good order.

        Raises ServiceFailed if it takes too long, ends with an error, or leaves
        anything in its log that should worry its owner.
        """
        try:
            code = await asyncio.wait_for(self.process.wait(), STOPS_WITHIN)
        except TimeoutError:
            raise ServiceFailed(f"not stopped {STOPS_WITHIN:g} s after SIGTERM") from None
        # uvicorn hands the signal on to the default handler when all is done.
        if code not in (0, -signal.SIGTERM):
            raise ServiceFailed(f"ended with exit code {code}:\n{self.log.read_text()}")
        log = self.log.read_text()
        if TROUBLE.search(log):
            raise ServiceFailed(f"trouble in its log:\n{log}")

    async def kill(self) -> None:
        """End it at once, if it still runs."""
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


@asynccontextmanager
async def model_server(python: str, log: Path) -> AsyncIterator[Server]:
    """Run the model server, on plain asyncio whatever the service runs on."""
    command = [python, "-m", "chat.model_server", "--port", "0"]
    environment = {"PYTHONPATH": str(EXAMPLES)}
    async with _server(command, environment, log, r"model server on port (\d+)") as server:
        yield server


@asynccontextmanager
async def chat_service(
    python: str,
    loop: str,
    *,
    database: Path,
    model_port: int,
    log: Path,
    python_options: Sequence[str] = (),
) -> AsyncIterator[Server]:
    """Run the chat service under uvicorn, on asyncio's own loop or on ferrio's.

    `--loop asyncio` is what uvicorn does by default where no other loop is installed;
    saying so keeps it from picking up one that happens to be. Both loops get the same
    command but for the launcher.
    """
    command = [
        *(python, *python_options, *LAUNCHERS[loop]),
        *("-m", "uvicorn", "--app-dir", str(EXAMPLES), "chat.app:app"),
        *("--host", "127.0.0.1", "--port", "0", "--loop", "asyncio", "--no-access-log"),
    ]
    environment = {"CHAT_DATABASE": str(database), "CHAT_MODEL_PORT": str(model_port)}
    async with _server(command, environment, log, r"running on http://[^:]+:(\d+)") as server:
        yield server


@asynccontextmanager
async def _server(
    command: Sequence[str], environment: Mapping[str, str], log: Path, ready: str
) -> AsyncIterator[Server]:
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
        )
    server = Server(process, log, port=0)
    try:
        server.port = await _port_when_ready(process, log, ready)
        yield server
    finally:
        await server.kill()


async def _port_when_ready(process: asyncio.subprocess.Process, log: Path, ready: str) -> int:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + STARTS_WITHIN
    while process.returncode is None and loop.time() < deadline:
        match = re.search(ready, log.read_text())
        if match:
            return int(match.group(1))
        await asyncio.sleep(0.02)
    state = "is not ready" if process.returncode is None else "did not start"
    raise ServiceFailed(f"{state}:\n{log.read_text()}")
