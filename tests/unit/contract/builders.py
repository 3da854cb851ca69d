"""Records with everything filled in that a test does not speak of."""

from __future__ import annotations

import json
from typing import Any

from consumer.contract.decode import Decoded, Tombstone, decode
from consumer.contract.messages import Message
from consumer.contract.record import Headers, Record
from consumer.contract.rejection import KeyPolicy, Reason, Rejected

STAMPED_MS = 1772618400000
"""2026-03-04T10:00:00Z."""

EVENT: dict[str, Any] = {
    "type": "event.recorded",
    "sessionId": "s-1",
    "eventId": "e-1",
    "eventType": "user_speech",
    "payload": {"text": "hello"},
    "timestamp": "2026-03-04T10:00:05Z",
}
CREATED: dict[str, Any] = {
    "type": "session.created",
    "sessionId": "s-1",
    "language": "en",
    "startedAt": "2026-03-04T10:00:00Z",
    "metadata": {"channel": "phone"},
}
COMPLETED: dict[str, Any] = {
    "type": "session.completed",
    "sessionId": "s-1",
    "endedAt": "2026-03-04T10:05:00Z",
    "eventCount": 3,
}
FAILED: dict[str, Any] = {
    "type": "session.failed",
    "sessionId": "s-1",
    "endedAt": "2026-03-04T10:05:00Z",
    "reason": "line lost",
}

CE_HEADERS = {
    "ce_specversion": b"1.0",
    "ce_type": b"com.example.conversation.event.recorded.v1",
    "ce_source": b"/voice/gateway",
    "ce_id": b"ce-1",
    "ce_time": b"2026-03-04T10:00:07.250Z",
}
ENVELOPE: dict[str, Any] = {
    "specversion": "1.0",
    "type": "com.example.conversation.event.recorded.v1",
    "source": "/voice/gateway",
    "id": "ce-1",
    "time": "2026-03-04T10:00:07.250Z",
}
STRUCTURED: Headers = (("content-type", b"application/cloudevents+json"),)


def short(value: object) -> str:
    """A name for a parameter of any length."""
    return ascii(value)[:32]


def without(fields: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}


DATA = without(EVENT, "type", "eventId", "timestamp")
"""An event as the data of a CloudEvent, which has the rest in its attributes."""


def record(
    value: dict[str, Any] | bytes | None,
    *,
    key: bytes | None = b"s-1",
    headers: Headers = (),
    timestamp_ms: int = STAMPED_MS,
) -> Record:
    encoded = json.dumps(value).encode() if isinstance(value, dict) else value
    return Record("conversation.events", 3, 42, timestamp_ms, key, encoded, headers)


def binary(
    data: dict[str, Any] | bytes | None, *more: tuple[str, bytes | None], **attributes: bytes | None
) -> Record:
    """A CloudEvent in binary mode; an attribute given as None is left out."""
    stated = CE_HEADERS | {f"ce_{name}": value for name, value in attributes.items()}
    headers = tuple((name, value) for name, value in stated.items() if value is not None)
    return record(data, headers=headers + more)


def structured(**members: Any) -> Record:
    """A CloudEvent in structured mode, with these members beside or over the usual ones."""
    return record(ENVELOPE | {"data": DATA} | members, headers=STRUCTURED)


def decoded(record: Record, policy: KeyPolicy = KeyPolicy.WARN) -> Message:
    """What a record says; fails where it says nothing."""
    result = decode(record, policy)
    assert isinstance(result, Decoded), result
    return result.message


def refusal(record: Record, policy: KeyPolicy = KeyPolicy.WARN) -> Rejected:
    """Why a record is refused; fails where it is not."""
    result = decode(record, policy)
    assert isinstance(result, Rejected), result
    return result


def reason(record: Record, policy: KeyPolicy = KeyPolicy.WARN) -> Reason | None:
    """The reason a record is refused for, None where it is decoded or skipped."""
    result = decode(record, policy)
    match result:
        case Rejected():
            return result.reason
        case Decoded() | Tombstone():
            return None
