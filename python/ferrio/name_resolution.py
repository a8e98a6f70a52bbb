"""Names to addresses and back: the system's resolver in a thread, literals without one."""

from __future__ import annotations

import asyncio
import os
import socket
from asyncio.log import logger
from collections.abc import Callable
from typing import Any, TypeAlias

from ferrio import _ferrio
from ferrio.executor import ExecutorPart
from ferrio.resolver_threads import ResolverThreads

# What socket.getaddrinfo returns for one address: family, type, proto, canonical name, address.
AddressInfo: TypeAlias = tuple[Any, Any, int, str, Any]

# The standard library's own. One that somebody has put in its place may block.
_getaddrinfo = socket.getaddrinfo

_PROTOCOL_OF_TYPE = {
    socket.SOCK_STREAM: socket.IPPROTO_TCP,
    socket.SOCK_DGRAM: socket.IPPROTO_UDP,
}


class NameResolutionPart(ExecutorPart):
    """Asks the system's resolver, in threads that nothing else has to wait for.

    A slow lookup is no reason for other blocking work to wait, nor the other way round, so the
    threads are not the default executor's. They end with it (``shutdown_default_executor``), and
    a ``run_in_executor`` that somebody has put in place of the loop's own is still asked.
    """

    def __init__(self) -> None:
        super().__init__()
        self._resolver = ResolverThreads()

    async def getaddrinfo(
        self,
        host: bytes | str | None,
        port: bytes | str | int | None,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """Resolve as ``socket.getaddrinfo`` does, in a thread; at once what is no name.

        In debug mode a resolution that takes ``slow_callback_duration`` seconds is logged. Raises
        what ``socket.getaddrinfo`` raises, and RuntimeError when the loop is closed or its default
        executor was shut down.
        """
        resolve = self._getaddrinfo_and_log if self._debug else socket.getaddrinfo
        if resolve is _getaddrinfo and _is_numeric(host, port):
            self._check_executor()
            return resolve(host, port, family, type, proto, flags)
        infos: list[Any] = await self._look_up(resolve, host, port, family, type, proto, flags)
        return infos

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> tuple[str, str]:
        """Look up the name of an address as ``socket.getnameinfo`` does, in a thread."""
        names: tuple[str, str] = await self._look_up(socket.getnameinfo, sockaddr, flags)
        return names

    async def _look_up(self, function: Callable[..., Any], *arguments: Any) -> Any:
        run_in_executor = self.run_in_executor
        if run_in_executor != _ferrio.EventLoop.run_in_executor.__get__(self):
            return await run_in_executor(None, function, *arguments)
        self._check_executor()
        return await self._resolver.submit(self, function, *arguments)

    def _has_other_threads(self) -> bool:
        return self._resolver.has_threads()

    def _join_other_threads(self) -> None:
        self._resolver.join()

    def _abandon_default_executor(self) -> None:
        super()._abandon_default_executor()
        self._resolver.forget_waiting()

    async def _ensure_resolved(
        self,
        address: tuple[Any, ...],
        *,
        family: int = 0,
        type: int = socket.SOCK_STREAM,
        proto: int = 0,
        flags: int = 0,
    ) -> list[AddressInfo]:
        """Resolve ``address`` unless its host is an IP address already.

        Goes through ``getaddrinfo``, so that a subclass's own resolver is asked.
        """
        host, port = address[:2]
        literal = resolve_literal(host, port, family, type, proto, *address[2:])
        if literal is not None:
            return [literal]
        return await self.getaddrinfo(
            host, port, family=family, type=type, proto=proto, flags=flags
        )

    def _getaddrinfo_and_log(
        self, host: Any, port: Any, family: int, type: int, proto: int, flags: int
    ) -> list[Any]:
        options = {"family": family, "type": type, "proto": proto, "flags": flags}
        question = ", ".join(
            [f"{host}:{port!r}"] + [f"{name}={value!r}" for name, value in options.items() if value]
        )
        logger.debug("Get address info %s", question)
        started = self.time()
        answer = socket.getaddrinfo(host, port, family, type, proto, flags)
        duration = self.time() - started
        log = logger.info if duration >= self.slow_callback_duration else logger.debug
        log("Getting address info %s took %.3fms: %r", question, duration * 1e3, answer)
        return answer


def resolve_literal(
    host: Any,
    port: Any,
    family: int,
    type: int,
    proto: int,
    flowinfo: int = 0,
    scope_id: int = 0,
) -> AddressInfo | None:
    """Return the address information of an IP address with a numeric port, else None.

    Answers what getaddrinfo would, without a thread. Service names ("http"), IPv6 zones
    ("fe80::1%eth0", which inet_pton refuses on Linux) and other protocols than TCP and UDP are
    left to the resolver.
    """
    if host is None or proto not in (0, socket.IPPROTO_TCP, socket.IPPROTO_UDP):
        return None
    protocol = _PROTOCOL_OF_TYPE.get(type)  # type: ignore[call-overload]
    port_number = _port_number(port)
    if protocol is None or port_number is None:
        return None
    if isinstance(host, bytes):
        host = host.decode("idna")
    if "%" in host:
        return None
    candidates = (socket.AF_INET, socket.AF_INET6) if family == socket.AF_UNSPEC else (family,)
    for candidate in candidates:
        try:
            socket.inet_pton(candidate, host)
        except OSError:
            continue
        address: tuple[Any, ...] = (host, port_number)
        if candidate == socket.AF_INET6:
            address += (flowinfo, scope_id)
        return candidate, type, protocol, "", address
    return None


def _is_numeric(host: Any, port: Any) -> bool:
    """Whether there is nothing to look up: no host's name, and no service's."""
    if not (port is None or isinstance(port, int) or (isinstance(port, str) and port.isdecimal())):
        return False
    if host is None:
        return True
    if not isinstance(host, str):
        return False
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError):
            # ValueError: a null character.
            continue
        return True
    return False


def _port_number(port: Any) -> int | None:
    if port is None or port in ("", b""):
        return 0
    try:
        return int(port)
    except (TypeError, ValueError):
        return None


def _end_idle_threads() -> None:
    """Let the threads end whose lookups are made: a fork is to find none that need not be."""
    loop = asyncio._get_running_loop()
    if isinstance(loop, NameResolutionPart):
        loop._resolver.join_idle()


os.register_at_fork(before=_end_idle_threads)
