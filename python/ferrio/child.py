"""One child process: learning of its end, and sending signals to no other.

A process is watched through a pidfd (Linux 5.4), a descriptor that means this process and never
one that is given its number later, and that can be read when the process has ended. It needs no
SIGCHLD handler, works in every thread, and touches no other child. Where the kernel or a sandbox
refuses one, or there is no descriptor left, a thread waits for the process instead.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import signal
import sys
import threading
from asyncio.log import logger
from collections.abc import Callable
from typing import Any

# What asyncio reports of a child whose exit status somebody else has taken.
_STATUS_UNKNOWN = 255

_thread_numbers = itertools.count()


class Child:
    """A child of this process, from its start until its exit status is taken."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        # Whether somebody has taken the exit status: the number may be another process's.
        self._is_reaped = False
        # Taken to change the above, and to do what relies on it.
        self._lock = threading.Lock()
        # None where there is none, and when it is closed.
        self._pidfd: int | None = None
        try:
            self._pidfd = _open_pidfd(pid)
        except (ProcessLookupError, ChildProcessError):
            self._is_reaped = True

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Give the descriptor back; from now on nothing is sent to the process."""
        with self._lock:
            pidfd, self._pidfd = self._pidfd, None
            self._is_reaped = True
        if pidfd is not None:
            os.close(pidfd)

    def send_signal(self, number: int) -> None:
        """Send the process a signal; does nothing when its exit status was taken.

        Raises PermissionError when the process runs as another user, ValueError or OSError for
        an unknown signal.
        """
        with self._lock:
            if self._is_reaped:
                return
            try:
                if self._pidfd is None or not _signal_through(self._pidfd, number):
                    os.kill(self.pid, number)
            except ProcessLookupError:
                # Somebody else has taken the status, as waitpid(-1) does.
                pass

    def has_exited(self) -> bool:
        """Whether the process has ended; leaves its exit status where it is."""
        with self._lock:
            if self._is_reaped:
                return True
            try:
                options = os.WEXITED | os.WNOHANG | os.WNOWAIT
                return os.waitid(*self._waitable, options) is not None
            except ChildProcessError:
                return True

    def watch(self, loop: Any, callback: Callable[[int], object]) -> None:
        """Call ``callback(returncode)`` in ``loop`` once the process has ended."""
        if self._pidfd is not None:
            loop._add_reader(self._pidfd, self._ended, loop, callback)
        elif self._is_reaped:
            _warn_of_unknown_status(self.pid, through_pidfd=True)
            loop.call_soon(callback, _STATUS_UNKNOWN)
        else:
            threading.Thread(
                target=self._wait_in_thread,
                name=f"asyncio-waitpid-{next(_thread_numbers)}",
                args=(loop, callback),
                daemon=True,
            ).start()

    @property
    def _waitable(self) -> tuple[int, int]:
        """What ``os.waitid`` knows the process by."""
        if self._pidfd is None:
            return os.P_PID, self.pid
        return os.P_PIDFD, self._pidfd

    def _ended(self, loop: Any, callback: Callable[[int], object]) -> None:
        """Take the exit status: the pidfd has become readable."""
        assert self._pidfd is not None, "it is watched until now"
        loop._remove_reader(self._pidfd)
        callback(self._reap(loop, through_pidfd=True))

    def _wait_in_thread(self, loop: Any, callback: Callable[[int], object]) -> None:
        with contextlib.suppress(ChildProcessError):
            # Its number stays its own until the status is taken, which the lock guards.
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        returncode = self._reap(loop, through_pidfd=False)
        try:
            loop.call_soon_threadsafe(callback, returncode)
        except RuntimeError:
            if not loop.is_closed():
                raise
            logger.warning("Loop %r that handles pid %r is closed", loop, self.pid)

    def _reap(self, loop: Any, *, through_pidfd: bool) -> int:
        """Take the exit status of the process, which has ended."""
        with self._lock:
            try:
                status = os.waitid(*self._waitable, os.WEXITED)
            except ChildProcessError:
                status = None
            self._is_reaped = True
        if status is None:
            _warn_of_unknown_status(self.pid, through_pidfd=through_pidfd)
            return _STATUS_UNKNOWN
        exited = status.si_code == os.CLD_EXITED
        returncode = status.si_status if exited else -status.si_status
        if loop.get_debug():
            logger.debug("process %s exited with returncode %s", self.pid, returncode)
        return returncode


def _open_pidfd(pid: int) -> int | None:
    """Return a descriptor that means the child ``pid``; None where there can be none.

    Raises ProcessLookupError or ChildProcessError when it is no child any more.
    """
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        raise
    except OSError:
        # ENOSYS or EPERM: refused; EMFILE and the like: a thread needs no descriptor.
        return None
    try:
        # The number may have gone to a stranger, if somebody else waits for our children.
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except OSError as error:
        os.close(pidfd)
        if isinstance(error, ChildProcessError):
            raise
        # EINVAL: Linux 5.3 knows pidfds but cannot wait for one.
        return None
    return pidfd


def _signal_through(pidfd: int, number: int) -> bool:
    """Send a signal; False where a sandbox does not know this way to do so."""
    try:
        signal.pidfd_send_signal(pidfd, number)
    except OSError as error:
        if error.errno == errno.ENOSYS:
            return False
        raise
    return True


def _warn_of_unknown_status(pid: int, *, through_pidfd: bool) -> None:
    """Warn as asyncio does: up to 3.11 it waits in threads, and has other words there."""
    message = "Unknown child process pid %d, will report returncode 255"
    if through_pidfd and sys.version_info >= (3, 12):
        message = "child process pid %d exit status already read:  will report returncode 255"
    logger.warning(message, pid)


def watcher_of_policy() -> Any:
    """Return the child watcher that the program has set; None where it has not (3.11 to 3.13).

    asyncio asks its policy for a watcher each time, and the policy makes one where none was set:
    of a class without any state that a program could have set. What it does ferrio does by
    itself. Watchers are deprecated from 3.12 and gone from 3.14.
    """
    if sys.version_info >= (3, 14):
        return None
    import asyncio
    from asyncio import unix_events

    policy: Any = asyncio.get_event_loop_policy()
    method = getattr(policy.get_child_watcher, "__func__", None)
    if method is unix_events._UnixDefaultEventLoopPolicy.get_child_watcher:
        watcher = policy._watcher
        by_default = (
            asyncio.PidfdChildWatcher
            if sys.version_info >= (3, 12)
            else asyncio.ThreadedChildWatcher
        )
        return None if type(watcher) is by_default else watcher
    if method is asyncio.AbstractEventLoopPolicy.get_child_watcher:
        # It has none, and would raise NotImplementedError.
        return None
    return policy.get_child_watcher()
