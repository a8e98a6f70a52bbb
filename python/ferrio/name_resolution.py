"""Names to addresses and back: the system's resolver in a thread, literals without one."""

from __future__ import annotations

import socket
from asyncio.log import logger
from typing import Any, TypeAlias

from ferrio.executor import ExecutorPart

# What socket.getaddrinfo returns for one address: family, type, proto, canonical name, address.
AddressInfo: TypeAlias = tuple[Any, Any, int, str, Any]

_PROTOCOL_OF_TYPE = {
    socket.SOCK_STREAM: socket.IPPROTO_TCP,
    socket.SOCK_DGRAM: socket.IPPROTO_UDP,
}


class NameResolutionPart(ExecutorPart):
    """Asks the system's resolver through the default executor."""

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
        """Resolve as ``socket.getaddrinfo`` does, in the default executor.

        In debug mode a resolution that takes ``slow_callback_duration`` seconds is logged.
        """
        resolve = self._getaddrinfo_and_log if self._debug else socket.getaddrinfo
        return await self.run_in_executor(None, resolve, host, port, family, type, proto, flags)

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> tuple[str, str]:
        """Look up the name of an address as ``socket.getnameinfo`` does, in a thread."""
        return await self.run_in_executor(None, socket.getnameinfo, sockaddr, flags)

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


def _port_number(port: Any) -> int | None:
    if port is None or port in ("", b""):
        return 0
    try:
        return int(port)
    except (TypeError, ValueError):
        return None
