"""``python -m ferrio`` beside plain ``python``: the same program, the same outcome."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

import ferrio

PLAIN = [sys.executable]
FERRIO = [sys.executable, "-m", "ferrio"]
CONSOLE_SCRIPT = Path(sys.executable).with_name("ferrio")

# The modules that make up a loop are asyncio's in one case and ferrio's in the other; asyncio's
# sleep() has a frame, and ferrio's has none.
LOOP_FRAME = re.compile(
    r'(?m)^[ |+]*File "[^"]*/'
    r'(asyncio/(base_events|runners|events|tasks)|ferrio/(loop|runner))\.py", .*\n'
    r"([ |]{4,}(?!File).*\n)*"
)


class Outcome:
    """How a process ended and what it wrote."""

    def __init__(self, completed):
        self.exit_code = completed.returncode
        self.output = completed.stdout
        self.errors = completed.stderr

    def __repr__(self):
        return f"exit code {self.exit_code}\n{self.output}\n{self.errors}"


def run(command, *arguments, cwd, input=None, env=None):
    completed = subprocess.run(
        [*command, *arguments],
        cwd=cwd,
        input=input,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **(env or {})},
    )
    return Outcome(completed)


def run_both(*arguments, cwd, input=None, env=None):
    """Run a program on asyncio and on ferrio; the outcomes must be equal. Returns ferrio's."""
    plain = run(PLAIN, *arguments, cwd=cwd, input=input, env=env)
    ours = run(FERRIO, *arguments, cwd=cwd, input=input, env=env)
    assert ours.exit_code == plain.exit_code, ours
    assert ours.output == plain.output
    assert LOOP_FRAME.sub("", ours.errors) == LOOP_FRAME.sub("", plain.errors)
    return ours


def write(directory, name, text):
    path = Path(directory, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


@pytest.fixture
def directory(tmp_path):
    # A path without symbolic links, for sys.path has none.
    return tmp_path.resolve()


LOOP_NAME = """
import asyncio
async def main():
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]
print(asyncio.run(main()))
"""


def test_the_program_runs_on_ferrio(directory):
    write(directory, "app.py", LOOP_NAME)
    assert run(PLAIN, "app.py", cwd=directory).output == "asyncio\n"
    assert run(FERRIO, "app.py", cwd=directory).output == "ferrio\n"


@pytest.mark.parametrize(
    "make_loop",
    [
        "asyncio.new_event_loop()",
        "asyncio.SelectorEventLoop()",
        "asyncio.DefaultEventLoopPolicy().new_event_loop()",
        "asyncio.get_event_loop_policy().new_event_loop()",
        "(asyncio.set_event_loop_policy(None), asyncio.new_event_loop())[1]",
        "asyncio.Runner().get_loop()",
        "asyncio.Runner(loop_factory=asyncio.SelectorEventLoop).get_loop()",
    ],
)
def test_however_the_program_makes_its_loop(directory, make_loop):
    write(directory, "app.py", f"import asyncio; print(type({make_loop}).__module__)")
    outcome = run([sys.executable, "-W", "ignore", "-m", "ferrio"], "app.py", cwd=directory)
    assert outcome.output == "ferrio.loop\n", outcome


def test_a_loop_with_a_selector_of_the_programs_own_is_asyncios(directory):
    write(
        directory,
        "app.py",
        """
        import asyncio, selectors
        class Loop(asyncio.SelectorEventLoop):
            pass
        async def main():
            await asyncio.sleep(0.001)
        for loop in (Loop(), asyncio.SelectorEventLoop(selectors.SelectSelector())):
            assert isinstance(loop, asyncio.SelectorEventLoop)
            assert isinstance(loop, asyncio.selector_events.BaseSelectorEventLoop)
            loop.run_until_complete(main())
            loop.close()
        ours = asyncio.SelectorEventLoop()
        assert isinstance(ours, asyncio.SelectorEventLoop)
        ours.close()
        """,
    )
    assert run(FERRIO, "app.py", cwd=directory).exit_code == 0


INTROSPECTION = """
import asyncio, dataclasses, inspect, pickle, sys

@dataclasses.dataclass
class Point:
    x: int

async def main():
    main_module = sys.modules["__main__"]
    print(sys.argv, sys.path[:2])
    print(__name__, __package__, __file__, getattr(__spec__, "name", None))
    print(type(__loader__).__name__, sorted(globals()))
    print(main_module.Point is Point, vars(main_module) is globals())
    print(pickle.loads(pickle.dumps(Point(3))), inspect.getsource(Point))

if __name__ == "__main__":
    asyncio.run(main())
"""


def test_a_script_finds_what_it_finds_without_ferrio(directory):
    write(directory, "app.py", INTROSPECTION)
    run_both("app.py", "one", "--help", "-m", "two words", cwd=directory)
    run_both(str(directory / "app.py"), cwd="/")
    write(directory, "sub/app.py", INTROSPECTION)
    run_both("sub/app.py", "-V", cwd=directory)


def test_a_script_behind_a_symbolic_link(directory):
    write(directory, "real/app.py", INTROSPECTION)
    (directory / "link.py").symlink_to("real/app.py")
    run_both("link.py", cwd=directory)


def test_a_module_finds_what_it_finds_without_ferrio(directory):
    write(directory, "package/__init__.py", "print('package', __name__)")
    write(directory, "package/module.py", "from . import other\n" + INTROSPECTION)
    write(directory, "package/__main__.py", INTROSPECTION)
    write(directory, "package/other.py", "import sys; print(sys.argv)")
    run_both("-m", "package.module", "one", "-m", cwd=directory)
    run_both("-mpackage.module", "--help", cwd=directory)
    run_both("-m", "package", "one", cwd=directory)


def test_a_directory_and_a_zip_file_with_a_main_module(directory):
    write(directory, "app/__main__.py", "import helper\n" + INTROSPECTION)
    write(directory, "app/helper.py", "print('helper', __file__)")
    run_both("app", "one", cwd=directory)
    with zipfile.ZipFile(directory / "app.zip", "w") as archive:
        archive.writestr("__main__.py", "import helper\n" + INTROSPECTION)
        archive.writestr("helper.py", "print('helper', __file__)")
    run_both("app.zip", "one", cwd=directory)
    run_both(str(directory / "app.zip"), cwd="/")


def test_a_compiled_script(directory):
    write(directory, "app.py", "import sys; print(__file__, type(__loader__).__name__, sys.argv)")
    run(PLAIN, "-m", "compileall", "-q", "-b", "app.py", cwd=directory)
    (directory / "app.py").unlink()
    run_both("app.pyc", "one", cwd=directory)


def test_a_program_in_a_string_or_on_standard_input(directory):
    program = "import sys; print(sys.argv, repr(sys.path[0]), __name__, sorted(globals()))"
    run_both("-c", program, "one", "-m", cwd=directory)
    run_both("-", "one", cwd=directory, input=program)


def test_source_encodings(directory):
    source = "# coding: latin-1\nprint('h\xe9llo')\n"
    (directory / "app.py").write_bytes(source.encode("latin-1"))
    run_both("app.py", cwd=directory)
    (directory / "bom.py").write_bytes(b"\xef\xbb\xbfprint('bom')\r\n")
    run_both("bom.py", cwd=directory)


def test_future_statements_of_ferrio_do_not_leak_into_the_program(directory):
    write(directory, "app.py", "def f(x: 1 + 1): pass\nprint(f.__annotations__)")
    run_both("app.py", cwd=directory)


ENDINGS = {
    "returns": "pass",
    "raises": "raise ValueError('wrong')",
    "raises deep": "deep()",
    "raises from": "raise_from()",
    "raises a group": "raise ExceptionGroup('several', [ValueError(1), KeyError(2)])",
    "exits": "sys.exit(7)",
    "exits with None": "sys.exit()",
    "exits with a message": "sys.exit('goodbye')",
    "is interrupted": "raise KeyboardInterrupt",
    "is interrupted from outside": "os.kill(os.getpid(), signal.SIGINT)",
    "is terminated": "os.kill(os.getpid(), signal.SIGTERM)",
    "raises a BaseException": "raise BaseException('base')",
    "raises one without a message": "raise asyncio.CancelledError",
}

ENDING_PROGRAM = """
import asyncio, atexit, os, signal, sys, threading
atexit.register(print, "atexit ran", flush=True)

def deep():
    return 1 / 0

def raise_from():
    try:
        deep()
    except ZeroDivisionError as error:
        raise RuntimeError("second") from error

async def main():
    await asyncio.sleep(0)
    {ending}
    await asyncio.sleep(0)

{start}
"""


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda name: name.replace(" ", "_"))
@pytest.mark.parametrize(
    ("command", "start"),
    [
        (["app.py"], "asyncio.run(main())"),
        (["app.py"], "{ending}"),
        (["-m", "app"], "asyncio.run(main())"),
    ],
    ids=["async_script", "plain_script", "async_module"],
)
def test_endings(directory, ending, command, start):
    statement = ENDINGS[ending]
    write(
        directory,
        "app.py",
        ENDING_PROGRAM.format(ending=statement, start=start.format(ending=statement)),
    )
    outcome = run_both(*command, cwd=directory)
    # But for the loop's own modules, which are left out above, no line is about ferrio.
    assert "ferrio" not in LOOP_FRAME.sub("", outcome.errors)


@pytest.mark.parametrize(
    "arguments",
    [["nothing.py"], ["empty"], ["-m", "nothing"], ["-m", "package"], ["-m", "broken.module"]],
    ids=" ".join,
)
def test_what_cannot_be_run(directory, arguments):
    (directory / "empty").mkdir()
    write(directory, "package/__init__.py", "")
    write(directory, "broken/__init__.py", "import no_such_module")
    write(directory, "broken/module.py", "")
    outcome = run_both(*arguments, cwd=directory)
    assert outcome.exit_code != 0


@pytest.mark.parametrize("source", ["def broken(:\n", "x = 1\n  y = 2\n", "x = '\\N{nothing}'\n"])
@pytest.mark.parametrize("how", ["script", "module"])
def test_syntax_errors(directory, source, how):
    (directory / "app.py").write_text(source)
    run_both(*{"script": ["app.py"], "module": ["-m", "app"]}[how], cwd=directory)


def test_a_flag_without_its_value(directory):
    for flag in ("-m", "-c"):
        outcome = run(FERRIO, flag, cwd=directory)
        assert outcome.exit_code == 2
        assert f"argument expected for the {flag} option" in (outcome.errors.lower())


def test_the_programs_own_exception_hook_is_called_and_sees_no_frame_of_ferrio(directory):
    write(
        directory,
        "app.py",
        """
        import sys, traceback
        def hook(kind, error, tb):
            print("hook", kind, error, [frame.name for frame in traceback.extract_tb(tb)])
            print(error.__traceback__ is tb, sys.last_value is error, sys.last_traceback is tb)
            print(sys.excepthook is hook)
        sys.excepthook = hook
        def fail():
            raise ValueError("wrong")
        fail()
        """,
    )
    run_both("app.py", cwd=directory)


def test_threads_are_joined_and_output_is_flushed_at_the_end(directory):
    write(
        directory,
        "app.py",
        """
        import threading
        def work():
            threading.main_thread().join()
            print("thread done", end="")
        threading.Thread(target=work).start()
        print("main done", end=" ")
        """,
    )
    assert run_both("app.py", cwd=directory).output == "main done thread done"


def test_unretrieved_exceptions_are_logged_as_without_ferrio(directory):
    write(
        directory,
        "app.py",
        """
        import asyncio
        async def fail():
            raise ValueError("lost")
        async def main():
            task = asyncio.create_task(fail(), name="lost one")
            await asyncio.sleep(0.01)
        asyncio.run(main())
        """,
    )
    outcome = run_both("app.py", cwd=directory, env={"FERRIO_LINTS": "0"})
    assert "Task exception was never retrieved" in outcome.errors
    # What ferrio knows beside it comes in lines of its own.
    told = run(FERRIO, "app.py", cwd=directory)
    assert "exception-never-retrieved: task 2 lost one (fail)" in told.errors
    assert "Task exception was never retrieved" in told.errors


def interrupt(process):
    """Send SIGINT once the program says that it is ready; return how it ended."""
    try:
        line = process.stdout.readline()
        assert line == "ready\n", line + process.stderr.read()
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    return process.returncode, output, LOOP_FRAME.sub("", errors)


def test_control_c_ends_the_program_as_without_ferrio(directory):
    write(
        directory,
        "app.py",
        """
        import asyncio
        async def main():
            try:
                print("ready", flush=True)
                await asyncio.sleep(30)
            finally:
                print("cleaned up")
        asyncio.run(main())
        """,
    )
    outcomes = [
        interrupt(
            subprocess.Popen(
                [*command, "app.py"],
                cwd=directory,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        for command in (PLAIN, FERRIO)
    ]
    assert outcomes[0] == outcomes[1]
    assert outcomes[1][0] == -signal.SIGINT
    assert "cleaned up" in outcomes[1][1]


def test_the_interactive_console_runs_on_ferrio(directory):
    outcome = run(
        FERRIO,
        cwd=directory,
        input="await asyncio.sleep(0)\nprint(type(asyncio.get_running_loop()).__module__)\n1/0\n",
        env={"PYTHON_BASIC_REPL": "1"},
    )
    assert outcome.exit_code == 0, outcome
    assert "asyncio REPL" in outcome.errors
    assert "ferrio.loop" in outcome.output
    assert "ZeroDivisionError" in outcome.errors
    assert "program.py" not in outcome.errors


@pytest.mark.skipif(not CONSOLE_SCRIPT.exists(), reason="ferrio is not installed")
@pytest.mark.parametrize("how", ["script", "module"])
def test_the_console_script(directory, how):
    write(directory, "app.py", INTROSPECTION + "raise LookupError('at the end')")
    arguments = [*{"script": ["app.py"], "module": ["-m", "app"]}[how], "one", "-h"]
    plain = run(PLAIN, *arguments, cwd=directory)
    ours = run([str(CONSOLE_SCRIPT)], *arguments, cwd=directory)
    assert (ours.exit_code, ours.output, ours.errors) == (1, plain.output, plain.errors)
    assert "usage: ferrio " in run([str(CONSOLE_SCRIPT)], "--help", cwd=directory).output


def test_help_and_version(directory):
    help_text = run(FERRIO, "--help", cwd=directory)
    assert help_text.exit_code == 0
    for words in ("usage: python -m ferrio", "-m module", "file", "arguments"):
        assert words in help_text.output
    version = run(FERRIO, "--version", cwd=directory)
    assert version.exit_code == 0
    assert version.output.startswith(f"ferrio {ferrio.__version__} ")
    wrong = run(FERRIO, "--no-such-option", cwd=directory)
    assert wrong.exit_code == 2
    assert "unrecognized arguments: --no-such-option" in wrong.errors


@pytest.mark.parametrize("flag", ["-I", "-P", "-s", "-O", "-B"])
def test_flags_of_the_interpreter_before_ferrio(directory, flag):
    write(directory, "app.py", "import sys; print(sys.flags.optimize, sys.path[:1], __debug__)")
    plain = run([sys.executable, flag], "app.py", cwd=directory)
    ours = run([sys.executable, flag, "-m", "ferrio"], "app.py", cwd=directory)
    if "No module named ferrio" in ours.errors:
        pytest.skip("ferrio is not installed but found through PYTHONPATH")
    assert ours.output == plain.output


def test_processes_that_the_program_starts_are_on_ferrio(directory):
    write(
        directory,
        "app.py",
        """
        import asyncio, multiprocessing
        async def main():
            return type(asyncio.get_running_loop()).__module__
        def child(queue):
            queue.put(asyncio.run(main()))
        def parent(queue):
            context = multiprocessing.get_context("spawn")
            process = context.Process(target=child, args=(queue,))
            process.start()
            process.join()
        if __name__ == "__main__":
            for method in ("fork", "spawn", "forkserver"):
                context = multiprocessing.get_context(method)
                queue = context.Queue()
                process = context.Process(target=child, args=(queue,))
                process.start()
                print(method, queue.get(timeout=30))
                process.join()
            context = multiprocessing.get_context("spawn")
            queue = context.Queue()
            process = context.Process(target=parent, args=(queue,))
            process.start()
            print("grandchild", queue.get(timeout=30))
            process.join()
        """,
    )
    outcome = run([sys.executable, "-W", "ignore", "-m", "ferrio"], "app.py", cwd=directory)
    assert outcome.output.split() == [
        "fork",
        "ferrio.loop",
        "spawn",
        "ferrio.loop",
        "forkserver",
        "ferrio.loop",
        "grandchild",
        "ferrio.loop",
    ], outcome


def test_starting_imports_little_beside_asyncio(directory):
    write(directory, "app.py", "import asyncio, sys; print(*sys.modules)")
    plain, ours = (
        set(run(command, "app.py", cwd=directory).output.split()) for command in (PLAIN, FERRIO)
    )
    extra = {name for name in ours - plain if not name.startswith("ferrio")}
    # What it takes to run a module as a program.
    program = {"__future__", "runpy", "pkgutil", "importlib.util", "importlib._abc"}
    # asyncio itself needs it up to 3.13.
    typing = {"typing", "_typing"}
    # What ferrio.tasks() gives is made of data classes.
    data_classes = {"copy", "dataclasses"}
    assert extra <= program | typing | data_classes
