"""The service: its routes, and what starts and stops with it.

Run it with `python -m uvicorn --app-dir examples chat.app:app`.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Query, Request, WebSocket
from fastapi.requests import HTTPConnection
from fastapi.responses import JSONResponse, StreamingResponse

from .messages import (
    Message,
    NewMessage,
    RecordedMessage,
    RoomStatistics,
    RunningLoop,
    Summaries,
    Text,
    WordCount,
)
from .model import Model, ModelUnavailable
from .recorder import Recorder
from .rooms import Rooms
from .settings import Settings
from .store import Store
from .summaries import Summarizer


class Chat:
    """Everything that lives as long as the service does."""

    def __init__(self, settings: Settings) -> None:
        self.store = Store(settings.database)
        self.recorder = Recorder(self.store)
        self.rooms = Rooms()
        self.model = Model(settings.model_host, settings.model_port, settings.model_connections)
        self.summarizer = Summarizer(
            self.model, settings.summaries_at_once, settings.summary_timeout
        )

    async def publish(self, message: Message) -> asyncio.Future[int]:
        """Say a message in its room and have it recorded; the future gets its id."""
        self.rooms.say(message)
        return await self.recorder.submit(message)

    async def close(self) -> None:
        """Close what is open; the recorder has to be drained by then."""
        await self.model.close()
        self.store.close()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Own the background worker: it starts with the service and ends when all is recorded."""
    chat = Chat(Settings.from_environment())
    app.state.chat = chat
    try:
        async with asyncio.TaskGroup() as tasks:
            worker = tasks.create_task(chat.recorder.run(), name="recorder")
            yield
            await chat.recorder.drain()
            worker.cancel()
    finally:
        await chat.close()


app = FastAPI(title="Chat", lifespan=lifespan)


async def chat_of(connection: HTTPConnection) -> Chat:
    """Hand the service's parts to a route. FastAPI would run a plain function in a thread."""
    chat: Chat = connection.app.state.chat
    return chat


TheChat = Annotated[Chat, Depends(chat_of)]


@app.exception_handler(ModelUnavailable)
async def model_unavailable(request: Request, error: ModelUnavailable) -> JSONResponse:
    """Tell the client that the fault is upstream."""
    return JSONResponse({"detail": f"model unavailable: {error}"}, status_code=503)


@app.get("/loop")
async def running_loop() -> RunningLoop:
    """Name the event loop that runs the service."""
    kind = type(asyncio.get_running_loop())
    return RunningLoop(module=kind.__module__, name=kind.__qualname__)


@app.post("/words")
async def count_words(body: Text) -> WordCount:
    """Count the words of a text."""
    words = body.text.split()
    return WordCount(
        words=len(words), characters=len(body.text), longest=max(words, key=len, default="")
    )


@app.get("/answers")
async def stream_answer(chat: TheChat, prompt: str) -> StreamingResponse:
    """Stream the model's answer, one server-sent event a token."""

    async def events() -> AsyncIterator[str]:
        async with aclosing(chat.model.answer(prompt)) as tokens:
            async for token in tokens:
                yield f"data: {json.dumps({'token': token})}\n\n"
        yield "event: done\ndata: {}\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


@app.get("/summaries")
async def summarize(
    chat: TheChat, topic: Annotated[list[str], Query(min_length=1, max_length=32)]
) -> Summaries:
    """Summarize several topics; those that take too long are null."""
    return Summaries(summaries=await chat.summarizer.summarize(topic))


@app.post("/rooms/{room}/messages", status_code=201)
async def post_message(chat: TheChat, room: str, body: NewMessage) -> RecordedMessage:
    """Say something in a room; answered once it is on record."""
    recorded = await chat.publish(Message(room, body.author, body.text))
    return RecordedMessage(id=await recorded, room=room, author=body.author, text=body.text)


@app.get("/rooms/{room}/messages")
async def latest_messages(
    chat: TheChat, room: str, limit: Annotated[int, Query(ge=1, le=100)] = 20
) -> list[RecordedMessage]:
    """Return the newest messages of a room, oldest of them first."""
    return await chat.store.latest(room, limit)


@app.get("/rooms/{room}/statistics")
async def statistics(chat: TheChat, room: str) -> RoomStatistics:
    """Count a room's messages, their authors and its present members."""
    messages, authors = await chat.store.totals(room)
    return RoomStatistics(
        room=room, messages=messages, authors=authors, members=chat.rooms.count(room)
    )


@app.websocket("/rooms/{room}/socket")
async def room_socket(websocket: WebSocket, chat: TheChat, room: str, author: str) -> None:
    """Join a room: what is received is said there, what is said there is sent."""
    await websocket.accept()
    with chat.rooms.joined(room, websocket) as member:
        async with asyncio.TaskGroup() as tasks:
            delivery = tasks.create_task(member.deliver(), name=f"deliver to {author}")
            async for text in websocket.iter_text():
                await chat.publish(Message(room, author, text))
            delivery.cancel()
