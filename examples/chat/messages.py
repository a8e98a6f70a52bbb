"""The shapes of what goes in and out of the service."""

from dataclasses import dataclass

from pydantic import BaseModel, Field


@dataclass(frozen=True)
class Message:
    """Something that a member said in a room."""

    room: str
    author: str
    text: str


class NewMessage(BaseModel):
    """The body of a posted message."""

    author: str = Field(min_length=1, max_length=40)
    text: str = Field(min_length=1, max_length=2_000)


class RecordedMessage(BaseModel):
    """A message as the record has it."""

    id: int
    room: str
    author: str
    text: str


class Text(BaseModel):
    """The body of a request about a piece of text."""

    text: str = Field(max_length=20_000)


class WordCount(BaseModel):
    """How long a piece of text is."""

    words: int
    characters: int
    longest: str


class RoomStatistics(BaseModel):
    """What a room's record and its present members amount to."""

    room: str
    messages: int
    authors: int
    members: int


class Summaries(BaseModel):
    """A summary for every topic asked for; None where it took too long."""

    summaries: dict[str, str | None]


class RunningLoop(BaseModel):
    """Which event loop the service runs on."""

    module: str
    name: str
