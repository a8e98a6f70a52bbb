"""Having `ferrio trace` record the process that is measured, as long as it is measured."""

from __future__ import annotations

import json
import socket
import time

from harness.case import verify

LONGEST = 60.0
"""Seconds that one recording lasts at most, which is as long as ferrio allows."""

PATIENCE = 10.0
"""Seconds that the process may take to say whether it records."""

BUSY = "a trace is being recorded already"
"""What is answered to whoever asks for a second recording."""


class Recording:
    """A recording of this process that goes on; a client of its inspect socket.

    The client never reads the trace: it hangs up at the end, and nothing is made of what was
    recorded, which would be measured too.
    """

    def __init__(self, path: str) -> None:
        """Begin it, on all loops that exist; returns when they record."""
        self._path = path
        deadline = time.monotonic() + PATIENCE
        self._client = self._ask()
        while not self.goes_on():
            # Whoever asked whether it goes on may have been served first, and was recorded instead.
            self._client.close()
            if time.monotonic() > deadline:
                raise TimeoutError("the recording does not begin")
            self._client = self._ask()
            time.sleep(0.01)

    def goes_on(self) -> bool:
        """Whether it still does: nobody else can begin one."""
        with self._ask(0.001) as second:
            answer = json.loads(second.makefile().readline())
        return bool(answer.get("error") == BUSY)

    def end(self) -> None:
        """End it, having seen that what was measured was recorded to its end."""
        verify("whether a recording goes on at the end", self.goes_on(), True)
        self._client.close()

    def _ask(self, seconds: float = LONGEST) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(PATIENCE)
        client.connect(self._path)
        client.sendall(json.dumps({"get": "trace", "seconds": seconds}).encode() + b"\n")
        return client
