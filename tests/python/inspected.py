"""Processes that can be inspected, for tests of what looks at them."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

DEADLINE = 60


def eventually(look):
    """Call ``look`` until it answers; give what it answers."""
    end = time.monotonic() + DEADLINE
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < end, f"in vain: {look}"
        time.sleep(0.01)


class Directory:
    """A runtime directory of the test's own: a socket's path must be short."""

    def __init__(self):
        self.path = Path(tempfile.mkdtemp(prefix="fr", dir="/tmp"))
        self.environment = {**os.environ, "XDG_RUNTIME_DIR": str(self.path)}
        self.environment.pop("FERRIO_INSPECT", None)

    @property
    def sockets(self):
        return self.path / "ferrio"

    def command(self, *arguments, **options):
        """Run ``ferrio`` with these arguments."""
        return subprocess.run(
            [sys.executable, "-m", "ferrio", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            env=self.environment,
            **options,
        )

    def close(self):
        shutil.rmtree(self.path)


class Program:
    """A program that runs on ferrio and can be inspected, until the block is left."""

    def __init__(self, directory, text, *, flags=("--inspect",), environment=(), command=None):
        self.directory = directory
        self.script = directory.path / "app.py"
        self.script.write_text(textwrap.dedent(text))
        words = command or [sys.executable, "-m", "ferrio", *flags, str(self.script)]
        self.process = subprocess.Popen(
            words,
            stdout=subprocess.PIPE,
            stdin=subprocess.PIPE,
            text=True,
            env={**directory.environment, **dict(environment)},
        )

    @property
    def pid(self):
        return self.process.pid

    @property
    def socket(self):
        return self.directory.sockets / f"{self.pid}.sock"

    def line(self):
        """Wait for a line of its output."""
        line = self.process.stdout.readline()
        assert line, f"ended with {self.process.wait()}"
        return line.rstrip("\n")

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def ask(self, request):
        """Send a request; give the answer, and the parts before it."""
        with contextlib.closing(self.connect()) as client:
            return ask(client, request)

    def connect(self):
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(2 * DEADLINE)
        client.connect(str(self.socket))
        return client

    def snapshot(self, patience=5):
        answer, _ = self.ask({"get": "snapshot", "patience": patience})
        return answer["answer"]

    def tasks(self):
        """Give the tasks of its first loop by their names."""
        loops = self.snapshot()["loops"]
        return {task["name"]: task for task in loops[0]["tasks"]} if loops else {}

    def command(self, name, *arguments, **options):
        return self.directory.command(name, self.pid, *arguments, **options)

    def end(self):
        self.process.stdin.close()
        self.process.stdout.close()
        return self.process.wait(DEADLINE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def ask(client, request):
    text = request if isinstance(request, str) else json.dumps(request)
    client.sendall(text.encode() + b"\n")
    parts = []
    with client.makefile("rb") as lines:
        for line in lines:
            answer = json.loads(line)
            if "part" not in answer:
                return answer, parts
            parts.append(answer["part"])
    raise AssertionError("no answer")
