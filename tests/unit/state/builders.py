"""Messages, records and writes with everything filled in that a test does not speak of."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from consumer.contract.messages import (
    EventRecorded,
    EventType,
    Message,
    SessionCompleted,
    SessionCreated,
    SessionFailed,
)
from consumer.contract.record import Record
from consumer.contract.rejection import Rejected
from consumer.state.writes import DocumentWrite, EventWrite, Write, plan

SESSIONS = "conversation.sessions"
EVENTS = "conversation.events"
STAMPED = datetime(2026, 3, 4, 10, 0, 0, tzinfo=UTC)
STAMPED_MS = 1772618400000
STARTED = datetime(2026, 3, 4, 10, 5, 0, tzinfo=UTC)
SPOKEN = datetime(2026, 3, 4, 10, 5, 1, tzinfo=UTC)
ENDED = datetime(2026, 3, 4, 10, 5, 9, tzinfo=UTC)


def at(second: int, millisecond: int = 0) -> datetime:
    """A time of the conversation."""
    return datetime(2026, 3, 4, 10, 5, second, millisecond * 1000, tzinfo=UTC)


def record(
    offset: int = 0, *, topic: str = EVENTS, partition: int = 0, timestamp_ms: int = STAMPED_MS
) -> Record:
    """A record; its bytes do not matter once it has been decoded."""
    return Record(topic, partition, offset, timestamp_ms, None, b"")


def event(
    session_id: str = "s",
    event_id: str = "e",
    payload: dict[str, Any] | None = None,
    *,
    timestamp: datetime = SPOKEN,
    event_type: EventType = EventType.USER_SPEECH,
    time_defaulted: bool = False,
) -> EventRecorded:
    return EventRecorded(
        session_id=session_id,
        event_id=event_id,
        event_type=event_type,
        payload={"text": "hello"} if payload is None else payload,
        timestamp=timestamp,
        time_defaulted=time_defaulted,
    )


def created(
    session_id: str = "s",
    *,
    language: str = "en",
    metadata: dict[str, Any] | None = None,
    started_at: datetime = STARTED,
    time_defaulted: bool = False,
) -> SessionCreated:
    return SessionCreated(
        session_id=session_id,
        language=language,
        metadata={"caller": "x"} if metadata is None else metadata,
        started_at=started_at,
        time_defaulted=time_defaulted,
    )


def completed(
    session_id: str = "s",
    *,
    ended_at: datetime = ENDED,
    event_count: int | None = None,
    time_defaulted: bool = False,
) -> SessionCompleted:
    return SessionCompleted(
        session_id=session_id,
        ended_at=ended_at,
        event_count=event_count,
        time_defaulted=time_defaulted,
    )


def failed(
    session_id: str = "s",
    *,
    ended_at: datetime = ENDED,
    reason: str | None = None,
    time_defaulted: bool = False,
) -> SessionFailed:
    return SessionFailed(
        session_id=session_id, ended_at=ended_at, reason=reason, time_defaulted=time_defaulted
    )


def write(message: Message, source: Record | int = 0, expire_at: datetime | None = None) -> Write:
    """What a message writes, as the record at an offset or as a given one."""
    planned = plan(message, record(source) if isinstance(source, int) else source, expire_at)
    assert not isinstance(planned, Rejected), planned
    return planned


def event_write(message: EventRecorded, source: Record | int = 0) -> EventWrite:
    written = write(message, source)
    assert isinstance(written, EventWrite)
    return written


def create_write(message: SessionCreated, source: Record | int = 0) -> DocumentWrite:
    written = write(message, source)
    assert isinstance(written, DocumentWrite)
    return written


def end_write(message: SessionCompleted | SessionFailed, source: Record | int = 0) -> DocumentWrite:
    written = write(message, source)
    assert isinstance(written, DocumentWrite)
    return written
