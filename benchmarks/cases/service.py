"""A whole web service: the chat example, as `make demo` runs it."""

from __future__ import annotations

from harness.case import ServiceCase, register

register(
    ServiceCase(
        name="service",
        title="FastAPI service under uvicorn, request",
        group="Service",
        question=(
            "What does a request cost the FastAPI service of examples/chat under uvicorn?\n\n"
            "A round of the demo: JSON routes, streamed answers, WebSocket rooms, SQLite in a "
            "thread, from a client that checks every answer. Asyncio and ferrio only."
        ),
        loops=("asyncio", "ferrio"),
    )
)
