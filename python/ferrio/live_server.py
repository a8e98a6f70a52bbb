"""The web page, JSON and Prometheus' text over HTTP: ``ferrio.serve_metrics()``.

A native thread serves them, so it answers while a loop is blocked. Nothing listens unless it is
asked for: by ``serve_metrics()``, by ``python -m ferrio --web ADDRESS``, or by
``FERRIO_HTTP=ADDRESS`` in the environment of a process that makes a loop of ferrio's.

============================== =================================================================
``FERRIO_HTTP``                 where to listen: ``127.0.0.1:8642``, ``8642``, ``[::1]:0``
``FERRIO_HTTP_TOKEN``           the token; a random one without it
``FERRIO_HTTP_PUBLIC_METRICS``  1: ``/metrics`` is answered without the token
``FERRIO_HTTP_REMOTE``          1: the address may be one that other machines reach
============================== =================================================================
"""

from __future__ import annotations

import os
import re
import sys

from ferrio import _ferrio

_TOKEN = re.compile(r"[A-Za-z0-9._~-]{8,}")

# Where to listen once a loop is made, if somebody wants it.
_wanted = os.environ.get("FERRIO_HTTP", "")


class LiveServer:
    """A server that was started: where it is, and how to stop it. A context manager, too."""

    def __init__(self, host: str, port: int, token: str) -> None:
        #: The address it listens on.
        self.host = host
        #: The port it listens on.
        self.port = port
        #: What clients have to know: ``?token=…`` or ``Authorization: Bearer …``.
        self.token = token
        # A child of a fork has no server to stop, and nothing to do with its parent's.
        self._process = os.getpid()

    @property
    def url(self) -> str:
        """The web page's URL, with the token."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/?token={self.token}"

    def close(self) -> None:
        """Stop serving and close the socket. May be called twice, and from any thread."""
        global _server
        if _server is self and self._process == os.getpid():
            _server = None
            _ferrio._stop_http()

    def __enter__(self) -> LiveServer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        # Without the token: representations end up in logs.
        return f"<{self.__class__.__name__} host={self.host!r} port={self.port}>"


# This process's server.
_server: LiveServer | None = None


def serve_metrics(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    token: str | None = None,
    allow_remote: bool = False,
    public_metrics: bool = False,
) -> LiveServer:
    """Serve what the loops are at over HTTP, from a native thread; return the server.

    Its paths are ``/`` (the web page), ``/metrics`` (for Prometheus), ``/metrics.json`` and
    ``/snapshot.json``. ``port=0`` takes any free one. ``token`` is what clients have to know, eight
    characters at least; a random one without it. With ``public_metrics`` ``/metrics`` is answered
    without. The address has to be a loopback one unless ``allow_remote`` says otherwise; HTTP is
    not encrypted.

    A process has one such server. It ends with the process, and a child that is forked has none.
    May be called from any thread, before or after there is a loop. Raises ValueError for a bad
    token or port or an address that other machines reach, RuntimeError when the process serves
    already, OSError when the address cannot be had.
    """
    global _server
    if token is not None and not _TOKEN.fullmatch(token):
        raise ValueError("token must be eight or more of the characters A-Z a-z 0-9 . _ ~ -")
    try:
        bound = _ferrio._serve_http(host, port, token, allow_remote, public_metrics)
    except OSError as error:
        if error.errno is None:
            raise ValueError(f"{error}; pass allow_remote=True if that is meant") from None
        raise
    _server = LiveServer(*bound)
    return _server


def want(address: str) -> None:
    """Have the server started when a loop is made. Raises ValueError for what is no address."""
    global _wanted
    _parse(address)
    _wanted = address


def serve_if_wanted() -> None:
    """Start the server if the environment or the command line asked for it: a loop is made."""
    global _wanted
    if not _wanted:
        return
    address, _wanted = _wanted, ""
    try:
        host, port = _parse(address)
        server = serve_metrics(
            host,
            port,
            token=os.environ.get("FERRIO_HTTP_TOKEN"),
            allow_remote=_is_on("FERRIO_HTTP_REMOTE"),
            public_metrics=_is_on("FERRIO_HTTP_PUBLIC_METRICS"),
        )
    except (OSError, RuntimeError, ValueError) as error:
        # Nobody in the program asked for it, so nothing in it may fail for it.
        print(f"ferrio: nothing is served at {address}: {error}", file=sys.stderr)
    else:
        print(f"ferrio: {server.url}", file=sys.stderr)


def _is_on(variable: str) -> bool:
    return os.environ.get(variable, "0") not in ("", "0")


def _parse(address: str) -> tuple[str, int]:
    """Split ``host:port``, ``[::1]:port`` or ``port``. Raises ValueError."""
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{address!r} is no address: HOST:PORT or PORT is expected")
    return host, int(port)


def _forget() -> None:
    """Forget the server, which is the parent's: this is the child of a fork."""
    global _server, _wanted
    _server, _wanted = None, ""


os.register_at_fork(after_in_child=_forget)
