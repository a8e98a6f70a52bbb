"""``python -m ferrio app.py``: runs an asyncio program, unmodified, on ferrio.

The program must not be able to tell: ``sys.argv``, ``sys.path`` and the module ``__main__`` are
what plain Python would have made them, and how it ends (exit code, traceback, signal) is left to
the interpreter. What is ferrio's own in a traceback is cut off where it is printed.
"""

from __future__ import annotations

import builtins
import importlib.machinery
import os
import runpy
import sys
import types
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from ferrio import __version__, watchdog
from ferrio.children import install_in_children
from ferrio.installation import install

if TYPE_CHECKING:
    from argparse import Namespace

_DESCRIPTION = """\
Run an asyncio program on ferrio, as "python" itself would run it.
Without a program: asyncio's interactive console, on ferrio."""

_COMMANDS = """\
looking at a process that runs with --inspect or FERRIO_INSPECT=1:
  ps [PID]         list such processes, or the tasks of one
  tree PID         show the tasks below those that answer for them
  dump PID         show all that is known of the tasks, with their stacks
  top PID          watch it in the terminal
  trace PID        record it for some seconds, for Perfetto
A script of such a name is run by its path, as in "%(prog)s ./top 5"."""

# What looks at another process instead of running a program.
_COMMAND_NAMES = ("ps", "tree", "dump", "top", "trace")

# Seconds: what blocks a loop for longer is told of, if standard error is a terminal.
_WATCHDOG = 0.25

# Options of ferrio's that take the next word, unless it is attached by "=".
_OPTIONS_WITH_VALUE = ("--web", "-W")


def main() -> None:
    """Do what the command line says; the entry point of ``ferrio`` and ``python -m ferrio``."""
    own_arguments, command = _split_command_line(sys.argv[1:])
    if not own_arguments and _is_command(command):
        # As heavy as all the rest, and programs have no use for it.
        from ferrio.commands import run_command

        run_command(command)
        return
    watchdog.choice.default = _WATCHDOG
    _follow_options(own_arguments)
    install()
    install_in_children()
    if not command:
        _run(lambda: _run_module("asyncio", []))
    elif command[0].startswith("-m"):
        name, *arguments = _value_of_flag(command)
        _run(lambda: _run_module(name, arguments))
    elif command[0].startswith("-c"):
        code, *arguments = _value_of_flag(command)
        _run(lambda: _run_string(code, arguments))
    elif command[0] == "-":
        _run(lambda: _run_standard_input(command))
    else:
        _run(lambda: _run_path(command[0], command))


def _split_command_line(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Split into options of ferrio's and the program with its arguments.

    As with plain Python the program begins with the first word that is no option, or with
    ``-m`` or ``-c``, which may have their value attached to them.
    """
    is_value = False
    for index, argument in enumerate(arguments):
        is_option = (
            argument.startswith("-") and argument != "-" and argument[:2] not in ("-m", "-c")
        )
        if not is_option and not is_value:
            return arguments[:index], arguments[index:]
        is_value = argument in _OPTIONS_WITH_VALUE
    return arguments, []


def _follow_options(arguments: list[str]) -> None:
    """Do what the options of ferrio's say."""
    if not arguments:
        return
    options = _parse_options(arguments)
    watchdog.choice.is_silenced = options.no_watchdog
    for option in options.W:
        _filter_warnings(option)
    if options.inspect:
        _open_inspect_socket()
    if options.web is not None:
        from ferrio import live_server

        try:
            live_server.want(options.web)
        except ValueError as error:
            _fail(f"argument --web: {error}")


def _parse_options(arguments: list[str]) -> Namespace:
    # Every program would pay for this import, and hardly any has a use for it.
    import argparse

    parser = argparse.ArgumentParser(
        prog="ferrio" if sys.argv[0].endswith("ferrio") else "python -m ferrio",
        usage="%(prog)s [options] [file | -m module | -c command | -] [arguments ...]",
        description=_DESCRIPTION,
        epilog=_COMMANDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "-V", "--version", action="version", version=_version(), help="show the versions and exit"
    )
    parser.add_argument(
        "--inspect", action="store_true", help='let "ps", "top" and the others look at the process'
    )
    parser.add_argument(
        "--web",
        metavar="address",
        help="serve a live page, JSON and Prometheus' text at HOST:PORT; "
        "the page's URL is printed on stderr",
    )
    parser.add_argument(
        "--no-watchdog",
        action="store_true",
        help=f"do not tell of what blocks an event loop for longer than {_WATCHDOG * 1000:.0f} ms",
    )
    parser.add_argument(
        "-W",
        metavar="filter",
        action="append",
        default=[],
        help="as python's own, but it knows categories of packages: error::ferrio.LifecycleWarning",
    )
    program = parser.add_argument_group("the program")
    program.add_argument("file", nargs="?", help="a script, or a directory or zip with __main__.py")
    program.add_argument("-m", metavar="module", help="a module or package, found on sys.path")
    program.add_argument("-c", metavar="command", help="the program itself, as a string")
    program.add_argument("arguments", nargs="*", help="what the program finds in sys.argv[1:]")
    return parser.parse_args(arguments)


def _is_command(words: list[str]) -> bool:
    """Whether these are the words of such a command and not a program to be run.

    The first word must be the command's very name, and a number or an option must follow; ``ps``
    may stand alone. So a script of that name is run by a path that is more than the name
    (``ferrio ./top 5``), or when its first argument is neither number nor option.
    """
    match words:
        case ["ps"]:
            return True
        case [name, first, *_]:
            return name in _COMMAND_NAMES and (first.isdecimal() or first.startswith("-"))
        case _:
            return False


def _filter_warnings(option: str) -> None:
    """Do what ``python -W option`` does, at a moment when packages can be imported."""
    import warnings

    set_option: Any = warnings._setoption  # type: ignore[attr-defined]
    try:
        set_option(option)
    except warnings._OptionError as error:
        # The interpreter goes on without such a filter, and so does this.
        print(f"Invalid -W option ignored: {error}", file=sys.stderr)


def _open_inspect_socket() -> None:
    from ferrio.inspection import open_inspect_socket

    try:
        open_inspect_socket()
    except OSError as error:
        _fail(f"no inspect socket: {error}")


def _version() -> str:
    import platform

    return f"ferrio {__version__} ({platform.python_implementation()} {platform.python_version()})"


def _value_of_flag(command: list[str]) -> list[str]:
    """Return the value of the leading ``-m`` or ``-c``, and the arguments after it."""
    flag, *rest = command
    if len(flag) > 2:
        return [flag[2:], *rest]
    if not rest:
        _fail(f"argument expected for the {flag} option")
    return rest


def _run(program: Callable[[], None]) -> None:
    """Run ``program``; let it end as plain Python would, without the frames of this module."""
    try:
        program()
    except SystemExit:
        raise
    except BaseException as error:
        traceback = error.__traceback__
        while traceback is not None and traceback.tb_frame.f_globals is globals():
            traceback = traceback.tb_next
        _report_with(traceback)
        raise


def _report_with(traceback: TracebackType | None) -> None:
    """Have the interpreter report the exception that is on its way with this traceback.

    Raising on is what makes the interpreter end as it should: threads joined, ``atexit`` run,
    and for KeyboardInterrupt the process killed by its signal. But each frame that the
    exception passes adds itself to the traceback. So the hook that is called at the end is told
    what the traceback was; ``sys.excepthook`` is the program's own again before it runs.
    """
    program_hook = sys.excepthook

    def report(kind: type[BaseException], error: BaseException, _: TracebackType | None) -> None:
        sys.excepthook = program_hook
        sys.last_traceback = traceback
        program_hook(kind, error.with_traceback(traceback), traceback)

    sys.excepthook = report


def _run_path(path: str, argv: list[str]) -> None:
    """Run a script, or the ``__main__`` of a directory or zip file."""
    if _has_modules(path):
        sys.argv = argv
        _set_first_path(os.path.abspath(path), even_when_safe=True)
        _fresh_main()
        _runpy_main("__main__", False)
        return
    # The interpreter gives __main__ and tracebacks the absolute path, but not sys.argv.
    absolute_path = os.path.abspath(path)
    try:
        code = _load_code(absolute_path)
    except OSError as error:
        _fail(f"can't open file {absolute_path!r}: [Errno {error.errno}] {error.strerror}")
    sys.argv = argv
    _set_first_path(os.path.dirname(os.path.realpath(path)))
    namespace = _fresh_main(
        __file__=absolute_path,
        __cached__=None,
        __loader__=_loader_type(path)("__main__", absolute_path),
    )
    exec(code(), namespace)


def _run_module(name: str, arguments: list[str]) -> None:
    """Run a module as ``python -m`` does, by the very function that the interpreter calls."""
    # Until the module is found; then its path takes this place.
    sys.argv = ["-m", *arguments]
    _set_first_path(os.getcwd())
    _fresh_main()
    _runpy_main(name, True)


def _run_string(source: str, arguments: list[str]) -> None:
    sys.argv = ["-c", *arguments]
    _set_first_path("")
    namespace = _fresh_main(__loader__=importlib.machinery.BuiltinImporter)
    exec(compile(source, "<string>", "exec", dont_inherit=True), namespace)


def _run_standard_input(argv: list[str]) -> None:
    source = sys.stdin.read()
    sys.argv = argv
    _set_first_path("")
    namespace = _fresh_main(
        __file__="<stdin>", __cached__=None, __loader__=importlib.machinery.BuiltinImporter
    )
    exec(compile(source, "<stdin>", "exec", dont_inherit=True), namespace)


def _runpy_main(name: str, alter_argv: bool) -> None:
    run_module: Any = runpy._run_module_as_main  # type: ignore[attr-defined]
    run_module(name, alter_argv)


def _load_code(path: str) -> Callable[[], types.CodeType]:
    """Read a script; return what compiles it, for a SyntaxError is the program's own.

    Raises OSError when it cannot be read.
    """
    with open(path, "rb") as file:
        content = file.read()
    if path.endswith(".pyc"):
        loader = importlib.machinery.SourcelessFileLoader("__main__", path)

        def load() -> types.CodeType:
            code = loader.get_code("__main__")
            assert code is not None, "a sourceless loader gives the code or raises"
            return code

        return load
    return lambda: compile(content, path, "exec", dont_inherit=True)


def _loader_type(path: str) -> Any:
    if path.endswith(".pyc"):
        return importlib.machinery.SourcelessFileLoader
    return importlib.machinery.SourceFileLoader


def _has_modules(path: str) -> bool:
    """Whether modules can be imported from ``path``: a directory or a zip file."""
    for hook in sys.path_hooks:
        try:
            hook(path)
        except ImportError:
            continue
        return True
    return False


def _set_first_path(path: str, *, even_when_safe: bool = False) -> None:
    """Make ``path`` the first of ``sys.path``, where this command's own directory is.

    With ``-P`` or ``-I`` the interpreter puts nothing there, and nothing is to be replaced.
    """
    if not sys.flags.safe_path:
        sys.path[0] = path
    elif even_when_safe:
        sys.path.insert(0, path)


def _fresh_main(**attributes: object) -> dict[str, Any]:
    """Put an empty module ``__main__`` in the place of this command's; return its namespace."""
    module = types.ModuleType("__main__")
    namespace = vars(module)
    namespace["__builtins__"] = builtins
    if sys.version_info < (3, 14):
        namespace["__annotations__"] = {}
    namespace.update(attributes)
    sys.modules["__main__"] = module
    return namespace


def _fail(message: str) -> NoReturn:
    """End as the interpreter does when it cannot find what it is to run."""
    print(f"{sys.orig_argv[0]}: {message}", file=sys.stderr)
    sys.exit(2)
