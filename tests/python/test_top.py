"""``ferrio top`` in a real terminal: tmux, which can be typed into and looked at."""

import os
import shutil
import signal
import subprocess
import sys

import pytest

from inspected import Program, eventually

pytest_plugins = ["inspected_fixtures"]

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")

SERVICE = """
import asyncio, sys, time

async def worker(queue):
    while True:
        await queue.get()

def block():
    time.sleep(30)

async def main():
    queue = asyncio.Queue()
    async with asyncio.TaskGroup() as group:
        for number in range(40):
            group.create_task(worker(queue), name=f"worker-{number}")
        loop = asyncio.get_running_loop()
        print("ready", flush=True)
        while line := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
            if line == "block":
                block()
        raise SystemExit

asyncio.run(main())
"""


class Terminal:
    """A terminal of its own, with a shell in it."""

    def __init__(self, directory, width=120, height=30):
        self.tmux = ["tmux", "-S", str(directory.path / "tmux")]
        # So that the test sees what the terminal was when the program has ended.
        self.environment = {
            **directory.environment,
            "PS1": "prompt> ",
            "LC_ALL": "C.UTF-8",
            "TERM": "xterm-256color",
        }
        self.do(
            "-f", "/dev/null", "new-session", "-d", "-x", str(width), "-y", str(height),
            "bash --norc --noprofile -i",
        )  # fmt: skip

    def do(self, *arguments):
        return subprocess.run(
            [*self.tmux, *arguments],
            check=True,
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=60,
        ).stdout

    def type(self, *keys):
        self.do("send-keys", *keys)

    def write(self, text):
        self.do("send-keys", "-l", text)

    def screen(self):
        return self.do("capture-pane", "-p")

    def see(self, *texts):
        """Wait until the screen has all of these texts; give it."""

        def look():
            screen = self.screen()
            return all(text in screen for text in texts) and screen

        try:
            return eventually(look)
        except AssertionError:
            raise AssertionError(f"{texts} not in\n{self.screen()}") from None

    def see_without(self, text):
        return eventually(lambda: text not in (screen := self.screen()) and screen)

    def resize(self, width, height):
        self.do("resize-window", "-x", str(width), "-y", str(height))

    def close(self):
        self.do("kill-server")


@pytest.fixture
def service(directory):
    with Program(directory, SERVICE) as program:
        assert program.line() == "ready"
        yield program


@pytest.fixture
def terminal(directory):
    terminal = Terminal(directory)
    yield terminal
    terminal.close()


@pytest.fixture
def top(service, terminal):
    terminal.write(f"{sys.executable} -m ferrio top {service.pid}; echo exit=$?\n")
    terminal.see("ferrio top", "worker-3")
    return terminal


def test_it_shows_the_process(top, service):
    screen = top.see(
        "41 tasks", f"process {service.pid}", "loop 1", "busy", "app.py:6 worker", "q quit"
    )
    lines = screen.splitlines()
    assert len(lines) == 30
    assert "q quit" in lines[-1]


def test_keys_sort_filter_and_select(top):
    top.type("n")
    top.see("NAME▼")
    top.type("r")
    top.see("NAME▲")
    top.type("/")
    top.write("worker-39")
    top.see("filter: worker-39", "1 of 41 tasks")
    top.type("Enter")
    top.type("Down")
    top.type("Enter")
    top.see("worker-39  worker", "owner", "task group of #1", "created", "app.py:15 in main")
    top.type("Escape")
    top.type("Escape")
    top.see(" 41 tasks ")


def test_help_and_pause(top):
    top.type("?")
    top.see("sort by NAME", "any key closes this")
    top.type("x")
    top.see_without("any key closes this")
    top.type("p")
    top.see("PAUSED")
    top.type("Space")
    top.see_without("PAUSED")


def test_it_follows_the_terminals_size(top):
    top.see("COROUTINE")
    top.resize(70, 20)

    def is_narrow():
        # For a moment it is half drawn.
        screen = top.screen()
        return "STATE" in screen and "COROUTINE" not in screen and len(screen.splitlines()) == 20

    eventually(is_narrow)
    top.resize(150, 40)
    top.see("COROUTINE", "STEPS/S")


@pytest.mark.parametrize("key", ["q", "C-c"])
def test_quitting_gives_the_terminal_back(top, key):
    top.type(key)
    screen = top.see("exit=0")
    assert "ferrio top\n" not in screen
    assert "worker-3" not in screen
    # The shell's own line editing works as before.
    top.write("echo back again\n")
    top.see("\nback again\n")


def test_a_blocked_loop_is_shown_while_it_is_blocked(top, service):
    service.say("block")
    top.see("app.py:9 in block", "task Task-1", "worker-3")


def test_the_end_of_the_process_is_shown(top, service):
    service.say("")
    top.see(f"Process {service.pid} has ended.", "worker-3")
    top.type("q")
    screen = top.see("exit=0")
    assert f"Process {service.pid} has ended." in screen


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_gives_the_terminal_back(top, service, number):
    child = eventually(lambda: find_top(service.pid))
    os.kill(child, number)
    screen = top.see("exit=")
    assert "exit=0" not in screen
    assert "worker-3" not in screen
    assert "Traceback" not in screen
    top.write("echo back again\n")
    top.see("\nback again\n")


def find_top(pid):
    """Find the process that shows this one."""
    wanted = f"top\0{pid}\0".encode()
    for number in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{number}/cmdline", "rb") as file:
                line = file.read()
        except OSError:
            continue  # It has ended.
        if line.endswith(wanted) and b"bash" not in line:
            return int(number)
    return None


def test_a_process_that_cannot_be_inspected_leaves_the_terminal_alone(terminal):
    terminal.write(f"{sys.executable} -m ferrio top 2147483647; echo exit=$?\n")
    terminal.see("process 2147483647 cannot be inspected", "exit=1")


def test_it_ends_when_the_terminal_is_gone(service, directory):
    # A terminal that is closed can be read for ever, and says nothing each time.
    master, slave = os.openpty()
    top = subprocess.Popen(
        [sys.executable, "-m", "ferrio", "top", str(service.pid)],
        stdin=slave,
        stdout=slave,
        stderr=subprocess.DEVNULL,
        env={**directory.environment, "TERM": "xterm-256color"},
    )
    try:
        os.close(slave)
        assert os.read(master, 1)
        os.close(master)
        assert top.wait(60) != 0
    finally:
        top.kill()
        top.wait()
