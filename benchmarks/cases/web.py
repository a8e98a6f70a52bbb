"""Web servers, as their users run them: uvicorn with httptools, and aiohttp's own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

from harness.case import Answer, Serve, WebCase, question_of, register

if TYPE_CHECKING:
    # Only the process that serves imports it, so that the others can do without.
    from uvicorn import Config

CONNECTIONS = 64

PLAINTEXT = b"Hello, World!"

ITEM = {
    "id": 7,
    "name": "portal gun",
    "price": 42.5,
    "tags": ["green", "portable"],
    "in_stock": True,
}


class Plaintext:
    """The smallest ASGI application that counts its answers."""

    answered = 0

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        self.answered += 1
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", b"text/plain"), (b"content-length", b"13")],
            }
        )
        await send({"type": "http.response.body", "body": PLAINTEXT})


def uvicorn_config(application: Any) -> Config:
    """uvicorn with httptools, on whatever loop runs it, saying only what is wrong."""
    from uvicorn import Config

    return Config(
        application,
        host="127.0.0.1",
        port=0,
        loop="none",
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
    )


@asynccontextmanager
async def serve_with_uvicorn(application: Any) -> AsyncIterator[tuple[str, int]]:
    """Run uvicorn's server in the loop that runs now; gives its address."""
    from uvicorn import Server

    server = Server(uvicorn_config(application))
    serving = asyncio.create_task(server.serve())
    try:
        while not server.started:
            # Or the exception that kept it from starting.
            await asyncio.wait([serving], timeout=0.01)
            if serving.done():
                await serving
        yield server.servers[0].sockets[0].getsockname()
    finally:
        server.should_exit = True
        await serving


@asynccontextmanager
async def serve_uvicorn() -> AsyncIterator[Serve]:
    """What does a request cost uvicorn with httptools, answered with thirteen bytes of text?"""
    application = Plaintext()
    async with serve_with_uvicorn(application) as address:
        yield Serve(address, lambda: application.answered)


@asynccontextmanager
async def serve_fastapi() -> AsyncIterator[Serve]:
    """What does a request cost FastAPI under uvicorn, parameters checked and a model as JSON?"""
    from fastapi import FastAPI
    from pydantic import create_model

    answered = 0
    application = FastAPI()
    model = create_model(
        "Item",
        id=(int, ...),
        name=(str, ...),
        price=(float, ...),
        tags=(list[str], ...),
        in_stock=(bool, True),
    )

    async def item(number: int, name: str = "portal gun") -> Any:
        nonlocal answered
        answered += 1
        return model(id=number, name=name, price=42.5, tags=["green", "portable"])

    application.get("/items/{number}", response_model=model)(item)
    async with serve_with_uvicorn(application) as address:
        yield Serve(address, lambda: answered)


@asynccontextmanager
async def serve_aiohttp() -> AsyncIterator[Serve]:
    """What does a request cost aiohttp's server, answered with a small JSON document?"""
    from aiohttp import web

    answered = 0

    async def item(request: web.Request) -> web.Response:
        nonlocal answered
        answered += 1
        return web.json_response(ITEM | {"id": int(request.match_info["number"])})

    application = web.Application()
    application.router.add_get("/items/{number}", item)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield Serve(runner.addresses[0], lambda: answered)
    finally:
        await runner.cleanup()


def _register_row(
    name: str,
    title: str,
    serve: Callable[[], AbstractAsyncContextManager[Serve]],
    path: str,
    answer: Answer,
    needs: tuple[str, ...],
) -> None:
    register(
        WebCase(
            name=name,
            title=f"{title} × {CONNECTIONS}",
            group="Web servers under wrk",
            question=question_of(serve),
            serve=serve,
            connections=CONNECTIONS,
            path=path,
            answer=answer,
            needs=needs,
        )
    )


_register_row(
    "uvicorn-plaintext",
    "uvicorn plaintext, request",
    serve_uvicorn,
    "/",
    Answer("text/plain", PLAINTEXT),
    ("uvicorn", "httptools"),
)
_register_row(
    "fastapi-json",
    "FastAPI JSON, request",
    serve_fastapi,
    "/items/7?name=portal+gun",
    Answer("application/json", json.dumps(ITEM, separators=(",", ":")).encode()),
    ("fastapi", "uvicorn", "httptools"),
)
_register_row(
    "aiohttp-json",
    "aiohttp JSON, request",
    serve_aiohttp,
    "/items/7",
    Answer("application/json; charset=utf-8", json.dumps(ITEM).encode()),
    ("aiohttp",),
)
