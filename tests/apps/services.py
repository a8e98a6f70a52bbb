"""Servers that tests need: each a process of its own, on loopback, in a temporary folder."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS_TO_START = 60
USUAL_REDIS_PORT = 6379


class NoService(Exception):
    """A server is not installed, or does not start."""


@dataclass
class Service:
    """A server that runs."""

    places: dict[str, str]
    """What the arguments of the tests may name."""


@contextmanager
def start_services(names: tuple[str, ...], directory: Path) -> Iterator[list[Service]]:
    """Start the servers, and end them when the tests are over."""
    with ExitStack() as stack:
        yield [stack.enter_context(STARTERS[name](directory / name)) for name in names]


@contextmanager
def redis(directory: Path) -> Iterator[Service]:
    """Run a redis server that keeps nothing."""
    program = shutil.which("redis-server")
    if program is None:
        raise NoService("redis-server is not installed")
    directory.mkdir()
    # Some of redis-py's tests know no other port than the usual one.
    port = USUAL_REDIS_PORT if not accepts("127.0.0.1", USUAL_REDIS_PORT) else unused_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory)]
    command += ["--save", "", "--appendonly", "no", "--daemonize", "no"]
    command += ["--enable-debug-command", "yes"]
    with server(command, directory / "log", lambda: accepts("127.0.0.1", port)):
        yield Service({"redis_port": str(port)})


@contextmanager
def postgresql(directory: Path) -> Iterator[Service]:
    """Run a PostgreSQL server of a new cluster. It refuses to be run by root."""
    programs = postgresql_programs()
    if programs is None:
        raise NoService("PostgreSQL is not installed")
    user = unprivileged_user()
    directory.mkdir()
    if user is not None:
        entry = pwd.getpwnam(user)
        os.chown(directory, entry.pw_uid, entry.pw_gid)
        # The folder above belongs to root alone.
        directory.parent.chmod(0o711)
    data = directory / "data"
    done = subprocess.run(
        [
            str(programs / "initdb"),
            "--pgdata",
            str(data),
            "--username",
            "postgres",
            "--auth",
            "trust",
        ]
        + ["--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"],
        cwd=directory,
        capture_output=True,
        text=True,
        **as_user(user),
    )
    if done.returncode:
        raise NoService(f"initdb failed: {done.stdout}{done.stderr}")
    port = unused_port()
    command = [str(programs / "postgres"), "-D", str(data), "-p", str(port), "-k", str(directory)]
    command += ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=200"]
    with server(
        command,
        directory.parent / "postgresql.log",
        lambda: (directory / f".s.PGSQL.{port}").exists() and accepts("127.0.0.1", port),
        as_user(user),
    ):
        yield Service({"postgresql_port": str(port), "postgresql_socket": str(directory)})


STARTERS = {"redis": redis, "postgresql": postgresql}


def postgresql_programs() -> Path | None:
    """Return where PostgreSQL's programs are; Debian keeps them off the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    if not found and on_path is not None:
        found = [Path(on_path).resolve()]
    return found[-1].parent if found else None


@contextmanager
def server(
    command: list[str],
    log: Path,
    ready: Callable[[], bool],
    options: dict[str, Any] | None = None,
) -> Iterator[None]:
    """Run a server process, from when it is ready."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            **(options or {}),
        )
    try:
        deadline = time.monotonic() + SECONDS_TO_START
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                text = log.read_text(errors="replace")[-2000:]
                raise NoService(f"{command[0]} does not start: {text}")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def unprivileged_user() -> str | None:
    """Return whom a server is to be run by; None where we are nobody special ourselves."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def as_user(user: str | None) -> dict[str, Any]:
    """Return subprocess's arguments that have a process belong to another user."""
    if user is None:
        return {}
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}


def unused_port() -> int:
    """Return a port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def accepts(host: str, port: int) -> bool:
    """Return whether somebody accepts connections there."""
    try:
        socket.create_connection((host, port), 1).close()
    except OSError:
        return False
    return True
