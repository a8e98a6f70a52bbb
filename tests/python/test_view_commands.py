"""``ferrio ps``, ``tree``, ``dump`` and ``trace``: what they print, what they take for programs."""

import json
import os
import pty
import re
import select
import subprocess
import sys

import pytest

from inspected import Program, eventually

pytest_plugins = ["inspected_fixtures"]

SERVICE = """
import asyncio

async def worker(queue):
    while True:
        await queue.get()

async def orphan(started):
    await started.wait()

async def main():
    queue, started = asyncio.Queue(), asyncio.Event()
    async def parent():
        return asyncio.create_task(orphan(started), name="orphan")
    left = await asyncio.create_task(parent(), name="parent")
    async with asyncio.TaskGroup() as group:
        group.create_task(worker(queue), name="worker-1")
        group.create_task(worker(queue), name="worker-2")
        print("ready", flush=True)

asyncio.run(main())
"""


@pytest.fixture
def service(directory):
    with Program(directory, SERVICE) as program:
        assert program.line() == "ready"
        eventually(
            lambda: all(task["state"] == "waiting" for task in program.tasks().values()) or None
        )
        yield program


def test_ps_lists_processes(service):
    listed = service.directory.command("ps")
    header, line = listed.stdout.splitlines()
    assert header.split() == ["PID", "PYTHON", "LOOPS", "TASKS", "NOW", "COMMAND"]
    assert line.split()[:4] == [
        str(service.pid),
        ".".join(map(str, sys.version_info[:3])),
        "1",
        "4",
    ]
    assert "waiting for events" in line
    assert line.endswith(str(service.script))
    assert listed.stderr == ""


def test_ps_says_so_when_there_is_nothing_to_list(directory):
    listed = directory.command("ps")
    assert listed.returncode == 0
    assert "Start one with --inspect or FERRIO_INSPECT=1" in listed.stdout


def test_ps_shows_the_tasks_of_a_process(service):
    shown = service.command("ps").stdout
    lines = shown.splitlines()
    assert lines[0].startswith(f"process {service.pid}  ")
    assert re.match(r"loop 1 · thread \d+ · waiting for events · 4 tasks · 0 ready", lines[2])
    header = lines[3]
    rows = {line.split()[1]: line for line in lines[4:]}
    assert set(rows) == {"Task-1", "orphan", "worker-1", "worker-2"}
    for row in rows.values():
        at = header.index("STATE")
        assert row[at:].startswith("waiting "), shown
    assert f"{service.script.parent.name}/app.py:6 worker" in rows["worker-1"]


def test_tree_hangs_tasks_below_those_that_answer_for_them(service):
    shown = service.command("tree").stdout.splitlines()
    names = [re.sub(r"#\d+ (\S+) .*", r"\1", line) for line in shown[1:]]
    assert names == [
        "├─ Task-1",
        "│  ├─ worker-1",
        "│  └─ worker-2",
        "└─ orphan",
    ]
    assert re.search(r"\[left behind by #\d+, which is gone\]$", shown[-1])


def test_dump_has_stacks_and_creation_sites(service):
    shown = service.command("dump").stdout
    task = shown.partition("orphan  orphan")[2].partition("\n\n")[0]
    assert f"{service.script}:14 in main.<locals>.parent" in task
    assert f"{service.script}:9 in orphan" in task


def test_dump_as_json_is_the_snapshot(service):
    for name in ("dump", "tree"):
        snapshot = json.loads(service.command(name, "--json").stdout)
        assert snapshot["process"] == service.pid
        assert len(snapshot["loops"][0]["tasks"]) == 4


def in_terminal(directory, arguments, columns):
    """Run a command on a terminal of that width; give what it shows."""
    leader, follower = pty.openpty()
    # Its size: rows, columns.
    subprocess.run(["stty", "rows", "24", "cols", str(columns)], stdin=follower, check=True)
    with subprocess.Popen(
        [sys.executable, "-m", "ferrio", *arguments],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env={key: value for key, value in directory.environment.items() if key != "COLUMNS"},
    ) as process:
        os.close(follower)
        shown = b""
        while select.select([leader], [], [], 60)[0]:
            try:
                piece = os.read(leader, 65536)
            except OSError:
                break  # The terminal's last user has ended.
            shown += piece
        assert process.wait(60) == 0
    os.close(leader)
    return shown.decode().replace("\r\n", "\n").splitlines()


@pytest.mark.parametrize("command", ["ps", "tree"])
def test_lines_fit_the_terminal(service, command):
    lines = in_terminal(service.directory, [command, str(service.pid)], 80)
    assert max(map(len, lines)) <= 80
    assert any("…" in line for line in lines)
    assert any("worker-2" in line for line in lines)


def test_a_reader_that_has_had_enough_is_no_error(service):
    command = f"{sys.executable} -m ferrio dump {service.pid} | head -1; echo ${{PIPESTATUS[0]}}"
    shown = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        env=service.directory.environment,
        timeout=60,
    )
    assert shown.stdout.splitlines()[1] == "0"
    assert shown.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tree", "-x"], "required: pid"),
        (["ps", "0"], "invalid process number value: '0'"),
        (["tree", "99999999999"], "invalid process number value"),
        (["trace", "1", "--seconds", "61"], "from 0.001 to 60 seconds"),
        (["trace", "1", "--seconds", "long"], "invalid number of seconds value: 'long'"),
        (["top", "--pid"], "required: pid"),
    ],
)
def test_a_wrong_command_line_is_refused(directory, arguments, words):
    refused = directory.command(*arguments)
    assert refused.returncode == 2
    assert words in refused.stderr
    assert refused.stderr.startswith("usage: ferrio ")


@pytest.mark.parametrize("command", ["ps", "tree", "dump", "trace"])
def test_a_process_that_cannot_be_inspected_is_an_error(directory, command):
    refused = directory.command(command, 2**31 - 1)
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert "ferrio: process 2147483647 cannot be inspected" in refused.stderr


def test_top_needs_a_terminal(service):
    refused = service.command("top")
    assert refused.returncode == 1
    assert "needs a terminal" in refused.stderr


@pytest.mark.parametrize("name", ["ps", "tree", "dump", "top", "trace"])
def test_help_is_to_be_had(directory, name):
    shown = directory.command(name, "--help")
    assert shown.returncode == 0
    assert shown.stdout.startswith(f"usage: ferrio {name} ")


def test_scripts_with_the_names_of_commands_can_be_run(directory):
    script = directory.path / "top"
    script.write_text("import sys; print(sys.argv)")
    run = directory.command
    at = {"cwd": directory.path}
    assert run("./top", "5", **at).stdout == "['./top', '5']\n"
    # Neither a number nor an option.
    assert run("top", "words", **at).stdout == "['top', 'words']\n"
    assert run("top", **at).stdout == "['top']\n"
    # The commands.
    assert "usage: ferrio top" in run("top", "--help", **at).stdout
    (directory.path / "ps").write_text("print('a script')")
    assert "a script" not in run("ps", **at).stdout
    assert run("./ps", **at).stdout == "a script\n"


def test_the_help_of_ferrio_itself_names_the_commands(directory):
    shown = directory.command("--help").stdout
    for words in ("--inspect", "ps [PID]", "top PID", "trace PID"):
        assert words in shown
