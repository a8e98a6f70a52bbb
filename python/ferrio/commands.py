"""``ferrio ps``, ``tree``, ``dump``, ``top`` and ``trace``: looking at a running process.

What they print is made in Rust of what the process answers; here is the command line.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable

from ferrio import _ferrio


def run_command(arguments: list[str]) -> None:
    """Do what the command line says, and exit: with 1 if the process cannot be inspected."""
    options = _parser().parse_args(arguments)
    if options.command != "top":
        # Waiting for an answer is native: the interpreter would not come to its handler.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    do: Callable[[argparse.Namespace], None] = options.do
    try:
        _do(do, options)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def _do(do: Callable[[argparse.Namespace], None], options: argparse.Namespace) -> None:
    try:
        do(options)
    except BrokenPipeError:
        # Whoever reads (head, less) has had enough. Python would find it out again at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        sys.exit(f"ferrio: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ferrio",
        description="Look at a process that runs with --inspect or FERRIO_INSPECT=1.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")

    def add(
        name: str, do: Callable[[argparse.Namespace], None], words: str
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=words, description=words)
        command.set_defaults(do=do)
        return command

    listing = add("ps", _ps, "list the processes that can be inspected, or the tasks of one")
    listing.add_argument("pid", type=_process, nargs="?", help="the process's number")
    for name, do, words in (
        ("tree", _tree, "show the tasks of a process below those that answer for them"),
        ("dump", _dump, "show all that is known of a process's tasks, with their stacks"),
    ):
        _add_process(add(name, do, words)).add_argument(
            "--json", action="store_true", help="as JSON: all of it, for programs"
        )
    _add_process(add("top", _top, "watch a process in the terminal; ? shows the keys, q quits"))
    trace = _add_process(
        add("trace", _trace, "record what a process does, for Perfetto (https://ui.perfetto.dev)")
    )
    trace.add_argument(
        "--seconds", type=_seconds, default=5.0, metavar="N", help="how long (default: 5)"
    )
    trace.add_argument(
        "-o", "--output", default="trace.json", metavar="FILE", help="default: trace.json"
    )
    return parser


def _add_process(command: argparse.ArgumentParser) -> argparse.ArgumentParser:
    command.add_argument("pid", type=_process, help="the process's number")
    return command


def _process(word: str) -> int:
    number = int(word)
    if not 0 < number < 1 << 31:
        raise ValueError
    return number


# What argparse calls an argument that the function refuses.
_process.__name__ = "process number"


def _seconds(word: str) -> float:
    seconds = float(word)
    if not 0.001 <= seconds <= 60:
        raise argparse.ArgumentTypeError("from 0.001 to 60 seconds can be recorded")
    return seconds


_seconds.__name__ = "number of seconds"


def _ps(options: argparse.Namespace) -> None:
    if options.pid is None:
        _write(_ferrio._list_processes(_columns()))
    else:
        _write(_ferrio._view_process(options.pid, "ps", _columns()))


def _tree(options: argparse.Namespace) -> None:
    _write(_ferrio._view_process(options.pid, "json" if options.json else "tree", _columns()))


def _dump(options: argparse.Namespace) -> None:
    _write(_ferrio._view_process(options.pid, "json" if options.json else "dump", _columns()))


def _top(options: argparse.Namespace) -> None:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        sys.exit("ferrio: top needs a terminal; ps, tree and dump do not")
    farewell = _ferrio._top(options.pid)
    if farewell:
        print(farewell)


def _trace(options: argparse.Namespace) -> None:
    events, lost, seconds = _ferrio._trace_process(options.pid, options.seconds, options.output)
    print(f"{options.output}: {events - lost:,} events in {seconds:.1f} s, for ui.perfetto.dev")
    if lost:
        print(f"{lost:,} earlier events did not find room; a shorter recording has all of them.")


def _columns() -> int | None:
    """Return how wide lines may be: as wide as the terminal is; in a pipe as long as they are."""
    if not sys.stdout.isatty():
        return None
    import shutil

    return shutil.get_terminal_size().columns


def _write(text: str) -> None:
    # A terminal that has not all of Unicode still shows the rest.
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    sys.stdout.write(text)
    sys.stdout.flush()
