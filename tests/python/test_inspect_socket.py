"""The inspect socket: when it is there, who may use it, and what it answers."""

import os
import signal
import socket
import stat
import sys

import pytest

from inspected import Program, ask, eventually

pytest_plugins = ["inspected_fixtures"]

SERVICE = """
import asyncio, sys

async def worker(queue):
    while True:
        await queue.get()

async def main():
    queue = asyncio.Queue()
    async with asyncio.TaskGroup() as group:
        group.create_task(worker(queue), name="worker")
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
        )
        print("ready", flush=True)
        while line := (await reader.readline()).decode().strip():
            exec(line)
            print("done", flush=True)
        raise SystemExit(7)

asyncio.run(main())
"""


@pytest.fixture
def service(directory):
    with Program(directory, SERVICE) as program:
        assert program.line() == "ready"
        yield program


def test_a_snapshot_has_the_tasks(service):
    def both_wait():
        tasks = service.tasks()
        return (
            len(tasks) == 2 and all(task["state"] == "waiting" for task in tasks.values()) and tasks
        )

    tasks = eventually(both_wait)
    assert tasks["worker"]["coroutine"] == "worker"
    snapshot = service.snapshot()
    assert snapshot["process"] == service.pid
    assert snapshot["python"] == ".".join(map(str, sys.version_info[:3]))
    assert str(service.script) in snapshot["command"]
    assert snapshot["tasks_at"] <= snapshot["taken_at"]


def test_metrics_and_blocks(service):
    answer, _ = service.ask({"get": "metrics"})
    assert answer["answer"]["process"] == service.pid
    assert answer["answer"]["loops"][0]["running"] is True
    answer, _ = service.ask({"get": "blocks"})
    assert answer == {"answer": {"sites": [], "recent": []}}


def test_a_bad_request_is_an_error_and_the_connection_goes_on(service):
    client = service.connect()
    for request, words in [
        ("nonsense", "not a request"),
        ({"get": "everything"}, "unknown variant"),
        ({"get": "snapshot", "patience": 1e9}, "patience must be"),
        ("[" * 3000, "not a request"),
    ]:
        answer, _ = ask(client, request)
        assert words in answer["error"]
    answer, _ = ask(client, {"get": "snapshot"})
    assert answer["answer"]["process"] == service.pid
    client.close()


def test_it_answers_while_the_loop_is_blocked(service):
    service.say("import time; time.sleep(30)")

    def blocked():
        running = service.snapshot(patience=1)["loops"][0]["running"]
        return running["kind"] == "step" and running

    running = eventually(blocked)
    tasks = {task["id"]: task for task in service.snapshot()["loops"][0]["tasks"]}
    assert tasks[running["task"]]["coroutine"] == "main"


def test_it_answers_while_c_code_keeps_the_interpreter(service):
    service.snapshot()
    # A match that does not come to its end before the test does.
    service.say("import re; re.match('(a+)+$', 'a' * 40 + 'b')")

    def outdated():
        snapshot = service.snapshot(patience=0.05)
        running = snapshot["loops"][0]["running"]
        is_outdated = snapshot["taken_at"] - snapshot["tasks_at"] > 0.2
        return is_outdated and running["kind"] == "step" and snapshot

    snapshot = eventually(outdated)
    assert {task["name"] for task in snapshot["loops"][0]["tasks"]} >= {"worker"}


def test_files_are_for_the_user_alone(service):
    assert stat.S_IMODE(service.socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(service.directory.sockets.stat().st_mode) == 0o700


def test_the_socket_is_gone_with_the_process(service):
    assert service.socket.exists()
    # SystemExit from the program.
    assert service.end() == 7
    assert not service.socket.exists()


@pytest.mark.parametrize("ending", ["print('end')", "raise ValueError('end')"])
def test_the_socket_is_gone_however_python_ends(directory, ending):
    with Program(
        directory, f"import ferrio; print('ready', flush=True); input(); {ending}"
    ) as program:
        assert program.line() == "ready"
        assert program.socket.exists()
        program.say("")
        program.process.wait()
        assert not program.socket.exists()


def test_a_process_that_was_killed_leaves_a_socket_that_is_cleared_away(service):
    service.process.send_signal(signal.SIGKILL)
    service.process.wait()
    assert service.socket.exists()
    listed = service.directory.command("ps")
    assert listed.returncode == 0
    assert str(service.pid) not in listed.stdout
    assert not service.socket.exists()


def test_nothing_listens_unless_asked(directory):
    text = "import asyncio; asyncio.run(asyncio.sleep(0)); print('ready', flush=True); input()"
    with Program(directory, text, flags=()) as program:
        assert program.line() == "ready"
        assert not directory.sockets.exists()
        refused = program.command("ps")
    assert refused.returncode == 1
    assert f"ferrio: process {program.pid} cannot be inspected" in refused.stderr
    assert "--inspect or FERRIO_INSPECT=1" in refused.stderr


@pytest.mark.parametrize(("value", "is_open"), [("1", True), ("0", False), ("", False)])
def test_the_environment_opens_it_with_the_first_loop(directory, value, is_open):
    text = """
    import ferrio
    print("before", flush=True); input()
    ferrio.run(ferrio.sleep(0))
    print("after", flush=True); input()
    """
    environment = {"FERRIO_INSPECT": value}
    command = [sys.executable, str(directory.path / "app.py")]
    with Program(directory, text, environment=environment, command=command) as program:
        assert program.line() == "before"
        assert not program.socket.exists()
        program.say("")
        assert program.line() == "after"
        assert program.socket.exists() is is_open


def test_a_program_opens_it_itself_and_may_do_so_twice(directory):
    text = """
    import ferrio
    path = ferrio.open_inspect_socket()
    assert ferrio.open_inspect_socket() == path
    print(path, flush=True); input()
    """
    command = [sys.executable, str(directory.path / "app.py")]
    with Program(directory, text, command=command) as program:
        assert program.line() == str(program.socket)
        assert program.snapshot()["loops"] == []


def test_a_directory_that_others_can_enter_is_refused(directory):
    directory.sockets.mkdir()
    directory.sockets.chmod(0o755)
    script = directory.path / "app.py"
    script.write_text("import asyncio; asyncio.run(asyncio.sleep(0)); print('ran')")
    # The command line asked for what cannot be had.
    refused = directory.command("--inspect", script)
    assert refused.returncode == 2
    assert "can be entered by others" in refused.stderr
    # The environment only offers it.
    directory.environment["FERRIO_INSPECT"] = "1"
    ran = directory.command(script)
    assert (ran.returncode, ran.stdout) == (0, "ran\n")
    assert "no inspect socket" in ran.stderr


def test_another_user_is_refused(service):
    if os.getuid() != 0:
        pytest.skip("needs root, to become somebody else")
    # So that nothing but the check of the peer is left to keep him out.
    for path in (service.directory.path, service.directory.sockets, service.socket):
        path.chmod(0o777)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setuid(65534)
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(30)
            client.connect(str(service.socket))
            try:
                client.sendall(b'{"get": "snapshot"}\n')
                status = 0 if client.recv(1) == b"" else 2
            except ConnectionError:
                status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    # The owner is still answered.
    assert service.snapshot()["process"] == service.pid


def test_a_forked_child_has_a_socket_of_its_own_when_it_makes_a_loop(directory):
    text = """
    import asyncio, os, sys
    async def main():
        child = os.fork()
        if child == 0:
            async def in_child():
                print(os.getpid(), flush=True)
                await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
            asyncio._set_running_loop(None)
            try:
                asyncio.run(in_child())
            finally:
                os._exit(0)
        await asyncio.sleep(0)  # A turn, with which the native threads start again.
        await asyncio.get_running_loop().run_in_executor(None, os.waitpid, child, 0)
        print("over", flush=True)
        await asyncio.sleep(3600)
    asyncio.run(main())
    """
    with Program(directory, text) as program:
        child = int(program.line())
        sockets = {f"{program.pid}.sock", f"{child}.sock"}
        eventually(lambda: {path.name for path in directory.sockets.iterdir()} == sockets)
        listed = directory.command("ps").stdout
        assert str(program.pid) in listed
        assert str(child) in listed
        program.say("")
        assert program.line() == "over"
        # The child has not taken its parent's socket with it.
        assert program.snapshot()["process"] == program.pid


def test_a_child_that_outlives_its_parent_does_not_keep_the_socket_open(directory):
    text = """
    import asyncio, os, sys
    async def main():
        if os.fork() == 0:
            print(os.getpid(), flush=True)
            sys.stdin.readline()
            os._exit(0)
    asyncio.run(main())
    """
    with Program(directory, text) as program:
        program.line()
        program.process.wait()
        # Nobody listens there, though a copy of the descriptor could have been in the child.
        assert not program.socket.exists()
        program.say("")


def test_spawned_children_are_inspected_too(directory):
    text = """
    import asyncio, multiprocessing, os, sys
    async def wait():
        print(os.getpid(), flush=True)
        await asyncio.sleep(3600)
    def in_child():
        asyncio.run(wait())
    if __name__ == "__main__":
        child = multiprocessing.get_context("spawn").Process(target=in_child, daemon=True)
        child.start()
        sys.stdin.readline()
    """
    with Program(directory, text) as program:
        child = int(program.line())
        eventually((directory.sockets / f"{child}.sock").exists)
        program.say("")
        program.process.wait()


def test_the_program_cannot_tell(directory):
    script = directory.path / "app.py"
    script.write_text(
        "import os, sys, threading; print(sys.argv, threading.active_count(), "
        "'FERRIO_INSPECT' in os.environ, __name__)"
    )
    ran = directory.command("--inspect", script, "argument")
    assert ran.stdout == f"[{str(script)!r}, 'argument'] 1 False __main__\n"
    assert ran.stderr == ""


def test_a_process_that_is_stopped_is_said_not_to_answer(service):
    service.process.send_signal(signal.SIGSTOP)
    try:
        listed = service.directory.command("ps")
        assert "does not answer" in listed.stdout
        refused = service.command("ps")
        assert refused.returncode == 1
        assert "does not answer" in refused.stderr
    finally:
        service.process.send_signal(signal.SIGCONT)


def test_a_subprocess_does_not_inherit_the_socket(service):
    # It ends when its parent's end of the pipe is closed.
    service.say(
        "import subprocess; globals().update(child="
        "subprocess.Popen(['sh', '-c', 'echo begun; cat'], stdin=-1, close_fds=False))"
    )
    assert {service.line(), service.line()} == {"begun", "done"}
    service.process.send_signal(signal.SIGKILL)
    service.process.wait()
    with pytest.raises(ConnectionRefusedError):
        service.connect()
