"""What must be stored once a set of messages has been applied, worked out from the messages alone.

None of the consumer's own code takes part: a fault of it would be expected here as well.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

Document = Mapping[str, Any]
EventKey = tuple[str, str]

_OF_THE_STORE = frozenset({"_id", "from", "createdFrom", "endedFrom"})
"""Fields that say where a document came from, and nothing about what was said."""


def fingerprint(document: Document) -> bytes:
    """Return a digest of everything in a document that its messages decide.

    Fields of objects count in their order: what was said must come back as it was written.
    """
    said = {name: document[name] for name in sorted(document) if name not in _OF_THE_STORE}
    text = json.dumps(said, default=_time, ensure_ascii=False)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _time(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds")
    raise TypeError(f"no document has a {type(value).__name__}")


class Expectation:
    """Grows with every message. Memory: a digest an event, the fields of each session."""

    def __init__(self) -> None:
        """Expect nothing yet."""
        self.events: dict[EventKey, bytes] = {}
        self._sessions: dict[str, dict[str, Any]] = {}
        self.completed = 0

    @property
    def session_count(self) -> int:
        """How many sessions there are."""
        return len(self._sessions)

    def add(self, message: Document) -> None:
        """Take a well-formed message into account, in whatever order; each once."""
        session_id = message["sessionId"]
        session = self._sessions.setdefault(
            session_id, {"sessionId": session_id, "status": "initiated"}
        )
        match message["type"]:
            case "session.created":
                session["language"] = message["language"]
                session["metadata"] = message["metadata"]
                session["startedAt"] = datetime.fromisoformat(message["startedAt"])
            case "event.recorded":
                if session["status"] == "initiated":
                    session["status"] = "active"
                self.events[session_id, message["eventId"]] = fingerprint(_event(message))
            case ended:
                self._end(session, ended.removeprefix("session."), message)

    def _end(self, session: dict[str, Any], status: str, message: Document) -> None:
        session["status"] = status
        session["endedAt"] = datetime.fromisoformat(message["endedAt"])
        session |= {name: message[name] for name in ("reason", "eventCount") if name in message}
        self.completed += status == "completed"

    def sessions(self) -> dict[str, bytes]:
        """Return the digest of every session's document."""
        return {session_id: fingerprint(fields) for session_id, fields in self._sessions.items()}


def _event(message: Document) -> Document:
    return {
        "sessionId": message["sessionId"],
        "eventId": message["eventId"],
        "type": message["eventType"],
        "payload": message["payload"],
        "timestamp": datetime.fromisoformat(message["timestamp"]),
    }
