"""What the environment may change about the service."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """The service's settings; every field has a `CHAT_…` environment variable."""

    database: Path
    """The SQLite file; created when it is missing."""
    model_host: str
    model_port: int
    model_connections: int
    """How many connections to the model server are open at most."""
    summaries_at_once: int
    """How many summaries one request may have under way at a time."""
    summary_timeout: float
    """Seconds after which a summary is given up."""

    @classmethod
    def from_environment(cls) -> "Settings":
        """Read the settings from `os.environ`."""
        return cls(
            database=Path(os.environ.get("CHAT_DATABASE", "chat.sqlite3")),
            model_host=os.environ.get("CHAT_MODEL_HOST", "127.0.0.1"),
            model_port=int(os.environ.get("CHAT_MODEL_PORT", "9100")),
            model_connections=int(os.environ.get("CHAT_MODEL_CONNECTIONS", "64")),
            summaries_at_once=int(os.environ.get("CHAT_SUMMARIES_AT_ONCE", "4")),
            summary_timeout=float(os.environ.get("CHAT_SUMMARY_TIMEOUT", "1.5")),
        )
