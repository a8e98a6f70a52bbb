"""The inspect socket: what ``ferrio ps``, ``tree``, ``dump``, ``top`` and ``trace`` talk to.

A Unix socket in a directory that only the user can enter, served by a native thread, so that it
answers while a loop is blocked. Nothing listens unless it is asked for: by
``python -m ferrio --inspect``, by ``FERRIO_INSPECT=1`` in the environment of a process that makes a
loop of ferrio's, or by ``open_inspect_socket()``.
"""

from __future__ import annotations

import atexit
import os
import sys

from ferrio import _ferrio

# Whether this process and its children are to have a socket each, once they make a loop.
_is_wanted = os.environ.get("FERRIO_INSPECT", "0") not in ("", "0")

# Where the socket of this process is, once it is open; with the process, for a fork copies both.
_opened: tuple[int, str] | None = None


def open_inspect_socket() -> str:
    """Let the user's other processes inspect this one; return the path of the socket.

    ``ferrio ps`` finds it then, and whoever is the same user (or root) may ask what the loops and
    tasks of this process are at. Calling it again returns the same path. The socket is removed
    when the process ends. In a child that the process forks it is closed, and opened anew, under
    the child's number, when the child makes a loop.

    May be called from any thread, before or after there is a loop. Raises OSError when there can be
    no socket: PermissionError if the directory for it is another user's.
    """
    global _opened
    path = _ferrio._open_inspect_socket()
    if _opened is None:
        atexit.register(_ferrio._close_inspect_socket)
    want()
    _opened = (os.getpid(), path)
    return path


def want() -> None:
    """Have this process and its children open a socket when they make a loop."""
    global _is_wanted
    _is_wanted = True


def is_wanted() -> bool:
    """Whether they do."""
    return _is_wanted


def open_if_wanted() -> None:
    """Open the socket when the environment or the command line asked for it: a loop is made."""
    if _is_wanted and (_opened is None or _opened[0] != os.getpid()):
        try:
            open_inspect_socket()
        except OSError as error:
            # Nobody in the program asked for it, so nothing in it may fail for it.
            _give_up(error)


def _give_up(error: OSError) -> None:
    global _is_wanted
    _is_wanted = False
    print(f"ferrio: no inspect socket: {error}", file=sys.stderr)
