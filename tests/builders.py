"""Messages and records as producers write them, with everything filled in that a test is silent on.

A message is the JSON object of the contract; ``record`` turns it into what Kafka delivers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from consumer.contract.record import Headers, Record

SESSIONS = "conversation.sessions"
EVENTS = "conversation.events"
LETTERS = "conversation.dead-letters"

STAMPED_MS = 1772618400000
"""2026-03-04T10:00:00Z, the usual timestamp of a record."""

STARTED = "2026-03-04T10:05:00.000Z"
SPOKEN = "2026-03-04T10:05:01.250Z"
ENDED = "2026-03-04T10:05:09.500Z"

JsonObject = dict[str, Any]

OWN_KEY = b"\0the key is the session of the message"
"""Stands for the key that a producer of ours would use; never sent."""


def created(session_id: str = "s", **fields: Any) -> JsonObject:
    """A session begins; a field given as None is left out."""
    return _message(
        {
            "type": "session.created",
            "sessionId": session_id,
            "language": "en",
            "startedAt": STARTED,
        },
        fields,
    )


def event(session_id: str = "s", event_id: str = "e", **fields: Any) -> JsonObject:
    """Something is said in a session; a field given as None is left out."""
    return _message(
        {
            "type": "event.recorded",
            "sessionId": session_id,
            "eventId": event_id,
            "eventType": "user_speech",
            "payload": {"text": "hello"},
            "timestamp": SPOKEN,
        },
        fields,
    )


def completed(session_id: str = "s", **fields: Any) -> JsonObject:
    """A session ends well; a field given as None is left out."""
    return _message(
        {"type": "session.completed", "sessionId": session_id, "endedAt": ENDED}, fields
    )


def failed(session_id: str = "s", **fields: Any) -> JsonObject:
    """A session ends badly; a field given as None is left out."""
    return _message({"type": "session.failed", "sessionId": session_id, "endedAt": ENDED}, fields)


def _message(usual: JsonObject, fields: Mapping[str, Any]) -> JsonObject:
    return {name: value for name, value in {**usual, **fields}.items() if value is not None}


def encoded(message: Mapping[str, Any]) -> bytes:
    """The value of a record that says ``message``."""
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


def record(
    says: Mapping[str, Any] | bytes | None,
    offset: int = 0,
    *,
    topic: str = EVENTS,
    partition: int = 0,
    timestamp_ms: int = STAMPED_MS,
    key: bytes | None = OWN_KEY,
    headers: Headers = (),
) -> Record:
    """A record of a message, of bytes, or of nothing."""
    if key == OWN_KEY:
        key = str(says["sessionId"]).encode() if isinstance(says, Mapping) else None
    value = encoded(says) if isinstance(says, Mapping) else says
    return Record(topic, partition, offset, timestamp_ms, key, value, headers)
