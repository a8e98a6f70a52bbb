"""Subprocesses, through ``asyncio.create_subprocess_exec`` and ``create_subprocess_shell``.

A child is started by ``subprocess.Popen``, which does so without copying the parent's memory
(``vfork``). ``ferrio.child`` watches it.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import warnings
from asyncio import base_subprocess
from asyncio.log import logger
from collections.abc import Callable
from typing import Any, TypeVar

from ferrio import resources
from ferrio.child import Child, watcher_of_policy
from ferrio.pipes import PipesPart

_Protocol = TypeVar("_Protocol", bound=asyncio.BaseProtocol)

# What checks the arguments of subprocess_exec() and subprocess_shell(), in each version's words.
_ASYNCIOS: Any = asyncio.BaseEventLoop


class ProcessesPart(PipesPart):
    """``subprocess_exec`` and ``subprocess_shell``."""

    async def subprocess_exec(
        self,
        protocol_factory: Callable[[], _Protocol],
        program: Any,
        *args: Any,
        stdin: Any = subprocess.PIPE,
        stdout: Any = subprocess.PIPE,
        stderr: Any = subprocess.PIPE,
        universal_newlines: bool = False,
        shell: bool = False,
        bufsize: int = 0,
        encoding: str | None = None,
        errors: str | None = None,
        text: bool | None = None,
        **kwargs: Any,
    ) -> tuple[SubprocessTransport, _Protocol]:
        """Start ``program`` with the arguments ``args``; return its transport and protocol.

        ``stdin``, ``stdout`` and ``stderr`` are PIPE, DEVNULL, STDOUT (``stderr`` only), a file,
        a descriptor, or None for the parent's; other arguments are those of
        ``subprocess.Popen``. Raises OSError when the program cannot be started, such as
        FileNotFoundError, and ValueError for what Popen does to make bytes text.
        """
        # Its frame is asyncio's own, too: tools that forbid blocking calls where a loop runs know
        # that one, in which Popen waits until the child has begun.
        made: tuple[SubprocessTransport, _Protocol] = await _ASYNCIOS.subprocess_exec(
            self,
            protocol_factory,
            program,
            *args,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            universal_newlines=universal_newlines,
            shell=shell,
            bufsize=bufsize,
            encoding=encoding,
            errors=errors,
            text=text,
            **kwargs,
        )
        return made

    async def subprocess_shell(
        self,
        protocol_factory: Callable[[], _Protocol],
        cmd: str | bytes,
        *,
        stdin: Any = subprocess.PIPE,
        stdout: Any = subprocess.PIPE,
        stderr: Any = subprocess.PIPE,
        universal_newlines: bool = False,
        shell: bool = True,
        bufsize: int = 0,
        encoding: str | None = None,
        errors: str | None = None,
        text: bool | None = None,
        **kwargs: Any,
    ) -> tuple[SubprocessTransport, _Protocol]:
        """Have a shell run ``cmd``; otherwise as ``subprocess_exec``."""
        made: tuple[SubprocessTransport, _Protocol] = await _ASYNCIOS.subprocess_shell(
            self,
            protocol_factory,
            cmd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            universal_newlines=universal_newlines,
            shell=shell,
            bufsize=bufsize,
            encoding=encoding,
            errors=errors,
            text=text,
            **kwargs,
        )
        return made

    # What asyncio's functions call on their loop in debug mode.
    _log_subprocess = _ASYNCIOS._log_subprocess

    async def _make_subprocess_transport(
        self,
        protocol: Any,
        args: Any,
        shell: bool,
        stdin: Any,
        stdout: Any,
        stderr: Any,
        bufsize: int,
        extra: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> SubprocessTransport:
        """Start a child, have it watched, and wait until the protocol has its transport."""
        waiter = self.create_future()

        def start() -> SubprocessTransport:
            transport = SubprocessTransport(
                self,
                protocol,
                args,
                shell,
                stdin,
                stdout,
                stderr,
                bufsize,
                waiter=waiter,
                extra=extra,
                **kwargs,
            )
            resources.remember("subprocess", self, transport)
            return transport

        watcher = watcher_of_policy()
        if watcher is None:
            transport = start()
            transport._watch()
            await _connected(transport, waiter)
            return transport
        with watcher:
            if not watcher.is_active():
                raise RuntimeError(
                    "asyncio.get_child_watcher() is not activated, "
                    "subprocess support is not installed."
                )
            transport = start()
            try:
                watcher.add_child_handler(
                    transport.get_pid(), self._child_watcher_callback, transport
                )
            except BaseException:
                transport.close()
                raise
            await _connected(transport, waiter)
        return transport

    def _child_watcher_callback(
        self, pid: int, returncode: int, transport: SubprocessTransport
    ) -> None:
        """Hear of a child's end from the program's own child watcher, in any thread."""
        if sys.version_info < (3, 12):
            self.call_soon_threadsafe(self.call_soon, transport._process_exited, returncode)
        else:
            self.call_soon_threadsafe(transport._process_exited, returncode)


class SubprocessTransport(base_subprocess.BaseSubprocessTransport):
    """An ``asyncio.SubprocessTransport``; belongs to its loop's thread.

    What asyncio's own class does is used as it is: the order in which a protocol hears of its
    pipes' data and ends and of the process's. What touches the process itself is done here.
    """

    # None until it is started.
    _child: Child | None = None

    def _start(
        self,
        args: Any,
        shell: bool,
        stdin: Any,
        stdout: Any,
        stderr: Any,
        bufsize: int,
        **kwargs: Any,
    ) -> None:
        self._proc: Any = subprocess.Popen(
            args,
            shell=shell,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            universal_newlines=False,
            bufsize=bufsize,
            **kwargs,
        )
        self._child = Child(self._proc.pid)

    def _watch(self) -> None:
        """Learn of the process's end through the loop."""
        assert self._child is not None, "started by __init__"
        self._child.watch(self._loop, self._notice_exit)

    def _notice_exit(self, returncode: int) -> None:
        """Let the protocol hear that the process has ended, no earlier than under asyncio."""
        if sys.version_info < (3, 12):
            self._loop.call_soon(self._loop.call_soon, self._process_exited, returncode)
        else:
            self._loop.call_soon(self._process_exited, returncode)

    def _process_exited(self, returncode: int) -> None:
        if self._child is not None:
            # Its number may be another process's from now on.
            self._child.close()
        super()._process_exited(returncode)

    def send_signal(self, signal: int) -> None:
        """Send the process a signal; does nothing when it has ended.

        Raises ProcessLookupError once the transport is done with the process.
        """
        self._check_proc()
        if self._child is not None:
            self._child.send_signal(signal)

    def terminate(self) -> None:
        """Send the process SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send the process SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Close the pipes and kill the process, if it is still running."""
        if self._closed:
            return
        self._closed = True
        # A loop that is closed cannot end a pipe's transport in its own time.
        if self._loop is not None and not self._loop.is_closed():
            pipes: dict[int, Any] = self._pipes
            for protocol in pipes.values():
                if protocol is not None:
                    protocol.pipe.close()
        child = self._child
        if child is None or self._returncode is not None or child.has_exited():
            return
        if self._loop is not None and self._loop.get_debug():
            logger.warning("Close running child process: kill %r", self)
        # It may run as another user, as a set-user-id program does.
        with contextlib.suppress(PermissionError):
            child.send_signal(signal.SIGKILL)

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        # The default argument outlives this module's globals when the interpreter ends.
        if not self._closed:
            _warn(f"unclosed transport {self!r}", ResourceWarning, source=self)
            self.close()


async def _connected(transport: SubprocessTransport, waiter: asyncio.Future[None]) -> None:
    """Wait until the pipes are connected; otherwise end the process and wait for that."""
    try:
        await waiter
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException:
        transport.close()
        await transport._wait()
        raise
