"""Sampling an echo case: a server, the load client, and the server's CPU clock."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from harness.case import EchoCase, Unit, WebCase
from harness.loops import FLOOR
from harness.processes import (
    Companion,
    allow_many_files,
    process_cpu_ns,
    resident_bytes,
    worker_command,
)
from harness.sample import Sample, sample_at_rate

ROOT = Path(__file__).resolve().parent.parent.parent

FEW = 10
"""Connections that show a server what it needs once."""

BUILD_COMMAND = ["cargo", "build", "--quiet", "--release", "--package", "ferrio-load"]


class LoadClientMissing(Exception):
    """The load client has not been built."""


def load_client() -> Path:
    """The load client's executable, wherever cargo puts what it builds."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    path = target / "release" / "ferrio-load"
    if not path.exists():
        raise LoadClientMissing(f"build it first: {' '.join(BUILD_COMMAND)}")
    return path


def build_load_client() -> Path:
    """Bring the load client up to date where there is a cargo, and return its executable."""
    if shutil.which("cargo"):
        subprocess.run(BUILD_COMMAND, cwd=ROOT, check=True)
    return load_client()


def processors() -> tuple[list[str], list[str]]:
    """Where the server stays and where the client stays, as arguments; nothing with one processor.

    Left alone, the scheduler puts two processes that wake each other now on one processor and now
    on two, and the figure depends on it.
    """
    available = sorted(os.sched_getaffinity(0))
    if len(available) < 2:
        return [], []
    return [str(available[0])], [str(available[-1])]


def server_command(case: EchoCase | WebCase, loop: str) -> list[str]:
    """The command that starts the server: a worker, or for the floor the one without Python."""
    cpu, _ = processors()
    if loop == FLOOR:
        return [str(load_client()), "serve-datagrams" if case.datagrams else "serve", *cpu]
    return worker_command(
        "serve", "--case", case.name, "--loop", loop, *(f"--cpu={n}" for n in cpu)
    )


def client_command(case: EchoCase, address: str, *, connections: int | None = None) -> list[str]:
    """The command that starts the client, with the case's connections or so many others."""
    _, cpu = processors()
    kind = "datagram-client" if case.datagrams else case.load.value
    count = str(case.connections if connections is None else connections)
    return [str(load_client()), kind, address, count, str(case.size), *cpu]


def sample_echo(case: EchoCase, loop: str, target_ns: int, operations: int | None) -> Sample:
    """Take one sample: the CPU that the server uses while the client's messages come and go.

    The client is connected, and every connection has been used, before the measured window
    begins; within it the client compares every byte that comes back.

    In a case that counts bytes it is the memory that the server takes for its connections.
    """
    if case.unit is Unit.BYTES:
        return sample_memory(case, loop)
    with ExitStack() as stack:
        server = stack.enter_context(Companion(server_command(case, loop)))
        address = server.expect("listening")[0]
        if case.idle:
            stack.enter_context(connected(case, address, case.idle))
        client = stack.enter_context(Companion(client_command(case, address)))
        client.expect("ready")

        def trial(count: int) -> Sample:
            cpu, wall = process_cpu_ns(server.pid), time.perf_counter_ns()
            client.tell(f"run {count}")
            done = int(client.expect("done")[0])
            wall, cpu = time.perf_counter_ns() - wall, process_cpu_ns(server.pid) - cpu
            return Sample(done, cpu, wall)

        return sample_at_rate(case, trial, target_ns, operations)


@contextmanager
def connected(case: EchoCase, address: str, connections: int) -> Iterator[None]:
    """Hold so many more connections, each of which has brought a message back."""
    allow_many_files()
    with Companion(client_command(case, address, connections=connections)) as client:
        client.expect("ready")
        client.tell(f"run {connections}")
        client.expect("done")
        yield


def sample_memory(case: EchoCase, loop: str) -> Sample:
    """How much a server's memory grows with its connections, each of which is used.

    The pages of the code that the first connections run are no connection's: a few came before.
    """
    with Companion(server_command(case, loop)) as server:
        address = server.expect("listening")[0]
        with connected(case, address, FEW):
            pass
        wall, before = time.perf_counter_ns(), resident_bytes(server.pid)
        with connected(case, address, case.connections):
            grown = resident_bytes(server.pid) - before
        return Sample(case.connections, grown, time.perf_counter_ns() - wall)
