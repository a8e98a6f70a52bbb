"""Subprocesses as programs use them: create_subprocess_exec(), _shell() and what they return."""

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT

import pytest


def run(loop, main):
    return loop.run_until_complete(asyncio.wait_for(main, 60))


async def output(program, *args, **options):
    process = await asyncio.create_subprocess_exec(program, *args, stdout=PIPE, **options)
    out, _ = await process.communicate()
    return process.returncode, out


@pytest.mark.parametrize("size", [0, 5, 1 << 20])
def test_through_cat_and_back(loop, size):
    async def main():
        process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        data = os.urandom(size)
        out, err = await process.communicate(data)
        assert (out, err) == (data, None)
        assert process.returncode == 0
        assert process.pid > 0

    run(loop, main())


def test_a_shell(loop):
    async def main():
        process = await asyncio.create_subprocess_shell(
            "echo out; echo err >&2; exit 7", stdout=PIPE, stderr=PIPE
        )
        assert await process.communicate() == (b"out\n", b"err\n")
        assert process.returncode == 7
        assert await process.wait() == 7

    run(loop, main())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"stdout": PIPE, "stderr": PIPE}, (b"out\n", b"err\n")),
        ({"stdout": PIPE, "stderr": STDOUT}, (b"out\nerr\n", None)),
        ({"stdout": PIPE, "stderr": DEVNULL}, (b"out\n", None)),
        ({"stdout": DEVNULL, "stderr": PIPE}, (None, b"err\n")),
        ({"stdout": DEVNULL, "stderr": DEVNULL}, (None, None)),
    ],
)
def test_where_output_goes(loop, options, expected):
    async def main():
        process = await asyncio.create_subprocess_shell(
            "echo out; echo err >&2", stdin=DEVNULL, **options
        )
        assert (process.stdout is None) == (options["stdout"] != PIPE)
        assert process.stdin is None
        assert await process.communicate() == expected

    run(loop, main())


def test_output_to_a_file_and_a_descriptor(loop, tmp_path):
    async def main():
        with open(tmp_path / "out", "wb") as out, open(tmp_path / "err", "wb") as err:
            process = await asyncio.create_subprocess_shell(
                "echo out; echo err >&2", stdout=out, stderr=err.fileno()
            )
            assert await process.wait() == 0
        assert (tmp_path / "out").read_bytes() == b"out\n"
        assert (tmp_path / "err").read_bytes() == b"err\n"

    run(loop, main())


def test_the_child_may_open_dev_stdin(loop):
    async def main():
        program = "print(open('/dev/stdin').read(), end='')"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-Sc", program, stdin=PIPE, stdout=PIPE
        )
        out, _ = await process.communicate(b"by name")
        assert out == b"by name"

    run(loop, main())


def test_options_of_popen(loop, tmp_path):
    read, write = os.pipe()

    async def main():
        command = f"pwd; echo $NAME; echo passed > /dev/fd/{write}; ps -o sid= -p $$; umask"
        code, out = await output(
            "/bin/sh",
            "-c",
            command,
            cwd=tmp_path,
            env={"NAME": "value", "PATH": os.environ["PATH"]},
            pass_fds=(write,),
            start_new_session=True,
            umask=0o27,
        )
        lines = out.decode().split("\n")
        assert lines[:2] == [str(tmp_path), "value"]
        assert lines[-2] == "0027"
        assert code == 0
        code, out = await output("anything", "-c", "echo $0", executable="/bin/sh")
        assert out == b"anything\n"

    run(loop, main())
    os.close(write)
    assert os.read(read, 100) == b"passed\n"
    os.close(read)


OTHER_OPTIONS = {
    "preexec_fn": ({"preexec_fn": lambda: os.umask(0o71)}, "umask", b"0071"),
    "process_group": (
        {"process_group": 0},
        "test $(ps -o pgid= -p $$) = $$ && echo own",
        b"own",
    ),
    "restore_signals": (
        {},
        # SIGPIPE, which Python ignores, is bit 12.
        "grep -q SigIgn:.*[02468ace]...$ /proc/self/status && echo restored",
        b"restored",
    ),
    "no restore_signals": (
        {"restore_signals": False},
        "grep -q SigIgn:.*[13579bdf]...$ /proc/self/status && echo ignored",
        b"ignored",
    ),
    "user": ({"user": 65534}, "id -u", b"65534"),
    "group": ({"group": 65534}, "id -g", b"65534"),
    "extra_groups": ({"extra_groups": [65532, 65533]}, "id -G", b"0 65532 65533"),
}


@pytest.mark.parametrize("option", OTHER_OPTIONS)
def test_other_options_of_popen(loop, option):
    options, command, expected = OTHER_OPTIONS[option]
    if options.keys() & {"user", "group", "extra_groups"} and os.getuid() != 0:
        pytest.skip("only root may become somebody else")
    code, out = run(loop, output("/bin/sh", "-c", command, **options))
    assert (code, out.strip()) == (0, expected)


@pytest.mark.parametrize("closes", [True, False])
def test_whether_a_child_inherits_descriptors(loop, closes):
    read, write = os.pipe()
    os.set_inheritable(write, True)
    command = f"test -e /dev/fd/{write} && echo there"
    try:
        _, out = run(loop, output("/bin/sh", "-c", command, close_fds=closes))
        assert out == (b"" if closes else b"there\n")
    finally:
        os.close(read)
        os.close(write)


def test_the_size_of_pipes(loop):
    async def main():
        process = await asyncio.create_subprocess_exec(
            "cat", stdin=PIPE, stdout=PIPE, pipesize=8192
        )
        pipe = process._transport.get_pipe_transport(1).get_extra_info("pipe")
        assert fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ) == 8192
        assert await process.communicate(b"x" * 100_000) == (b"x" * 100_000, None)

    run(loop, main())


@pytest.mark.parametrize("kind", [str, bytes, os.fsencode])
def test_names_of_programs_and_arguments(loop, kind):
    async def main():
        program, argument = "/bin/echo", "x"
        if kind is not str:
            program, argument = os.fsencode(program), os.fsencode(argument)
        assert await output(program, argument) == (0, b"x\n")

    run(loop, main())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"universal_newlines": True}, "universal_newlines must be False"),
        ({"bufsize": 4096}, "bufsize must be 0"),
        ({"text": True}, "text must be False"),
        ({"encoding": "utf-8"}, "encoding must be None"),
        ({"errors": "strict"}, "errors must be None"),
    ],
)
def test_options_that_make_text_are_refused(loop, wrong, message):
    async def main():
        with pytest.raises(ValueError, match=message):
            await loop.subprocess_exec(asyncio.SubprocessProtocol, "true", **wrong)
        with pytest.raises(ValueError, match=message):
            await loop.subprocess_shell(asyncio.SubprocessProtocol, "true", **wrong)

    run(loop, main())


def test_what_is_a_shell_and_what_is_not(loop):
    async def main():
        with pytest.raises(ValueError, match="shell must be False"):
            await loop.subprocess_exec(asyncio.SubprocessProtocol, "true", shell=True)
        with pytest.raises(ValueError, match="shell must be True"):
            await loop.subprocess_shell(asyncio.SubprocessProtocol, "true", shell=False)
        with pytest.raises(ValueError, match="cmd must be a string"):
            await loop.subprocess_shell(asyncio.SubprocessProtocol, ["true"])

    run(loop, main())


@pytest.mark.parametrize("pipes", [None, PIPE])
def test_a_program_that_is_not_there(loop, pipes):
    """The fixtures find whatever a failed start leaves behind."""

    async def main():
        options = {"stdin": pipes, "stdout": pipes, "stderr": pipes}
        with pytest.raises(FileNotFoundError):
            await asyncio.create_subprocess_exec("/nowhere/at-all", **options)
        with pytest.raises(PermissionError):
            await asyncio.create_subprocess_exec("/etc/passwd", **options)
        with pytest.raises(NotADirectoryError):
            await asyncio.create_subprocess_exec("true", cwd="/etc/passwd", **options)
        with pytest.raises(TypeError):
            await asyncio.create_subprocess_exec("true", 5, **options)
        with pytest.raises(ValueError, match="null byte"):
            await asyncio.create_subprocess_exec("true", "a\0b", **options)

    run(loop, main())


def test_signals(loop):
    async def main():
        for send, expected in (
            (lambda process: process.terminate(), -signal.SIGTERM),
            (lambda process: process.kill(), -signal.SIGKILL),
            (lambda process: process.send_signal(signal.SIGHUP), -signal.SIGHUP),
        ):
            process = await asyncio.create_subprocess_exec("sleep", "60")
            assert process.returncode is None
            send(process)
            assert await process.wait() == expected
            for method in (process.terminate, process.kill):
                with pytest.raises(ProcessLookupError):
                    method()
            with pytest.raises(ProcessLookupError):
                process.send_signal(signal.SIGHUP)

    run(loop, main())


def test_waiting_several_times_and_in_several_tasks(loop):
    async def main():
        process = await asyncio.create_subprocess_shell("read x; exit 3", stdin=PIPE)
        waiting = [asyncio.ensure_future(process.wait()) for _ in range(3)]
        await asyncio.sleep(0)
        cancelled = waiting.pop()
        cancelled.cancel()
        process.stdin.close()
        assert await asyncio.gather(*waiting) == [3, 3]
        assert await process.wait() == 3
        assert cancelled.cancelled()

    run(loop, main())


def test_a_child_that_closes_its_input(loop):
    async def main():
        process = await asyncio.create_subprocess_exec(
            "sh", "-c", "exec <&-; read x; exit 0", stdin=PIPE
        )
        # asyncio's communicate() ignores that nobody reads.
        await process.communicate(b"x" * (1 << 20))
        assert process.returncode == 0

    run(loop, main())


def test_reading_slowly_keeps_the_child_waiting(loop):
    async def main():
        size = 5_000_000
        process = await asyncio.create_subprocess_shell(
            f"head -c {size} /dev/zero", stdout=PIPE, limit=1000
        )
        received = 0
        while data := await process.stdout.read(100_000):
            received += len(data)
            await asyncio.sleep(0)
        assert received == size
        assert await process.wait() == 0

    run(loop, main())


def test_cancelling_communicate(loop):
    async def main():
        process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        task = asyncio.ensure_future(process.communicate(b"x" * 10))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        try:
            process.kill()
        except ProcessLookupError:
            pass
        assert await process.wait() in (0, -signal.SIGKILL)

    run(loop, main())


@pytest.mark.parametrize("turns", range(8))
def test_cancelling_the_start(loop, turns):
    """Whenever it comes, the child is ended and waited for, and nothing is left open."""

    async def main():
        task = asyncio.ensure_future(
            asyncio.create_subprocess_exec("sleep", "60", stdin=PIPE, stdout=PIPE, stderr=PIPE)
        )
        for _ in range(turns):
            await asyncio.sleep(0)
        was_done = task.done()
        task.cancel()
        try:
            process = await task
        except asyncio.CancelledError:
            assert not was_done
        else:
            process.kill()
            await process.communicate()

    run(loop, main())


def test_many_at_once(loop):
    async def main():
        results = await asyncio.gather(*(output("echo", str(number)) for number in range(40)))
        assert results == [(0, b"%d\n" % number) for number in range(40)]

    run(loop, main())


def test_the_standard_library_beside(loop):
    """Children of the program's own are left to it."""
    own = subprocess.Popen(["sleep", "60"])

    async def main():
        assert await output("echo", "x") == (0, b"x\n")

    try:
        run(loop, main())
        assert own.poll() is None
    finally:
        own.kill()
        assert own.wait() == -signal.SIGKILL
