"""What a message writes, as values: encoded once, alone, before anything is sent.

An event is inserted. A session is written by guarded upserts: each says when it applies, and
each owns its fields. So creation, activity and end commute, and none of them applies twice.
Where a guard fails on an existing document, the upsert tries to insert and the unique index
rejects it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple, assert_never

from bson.raw_bson import RawBSONDocument

from consumer.contract.json_text import MAX_DOCUMENT_BYTES
from consumer.contract.messages import (
    EventRecorded,
    Message,
    SessionCompleted,
    SessionCreated,
    SessionFailed,
)
from consumer.contract.record import Position, Record
from consumer.contract.rejection import Rejected
from consumer.state.bson_compare import SERVER_ID_BYTES, raw_document
from consumer.state.bson_limits import encode


class SessionStatus(StrEnum):
    """How far a session is. Never goes back: initiated, active, then one of the two ends."""

    INITIATED = "initiated"
    ACTIVE = "active"
    COMPLETED = "completed"
    FAILED = "failed"


ENDED = frozenset({SessionStatus.COMPLETED, SessionStatus.FAILED})
PAST_INITIATED = ENDED | {SessionStatus.ACTIVE}


_BY_VALUE = {status.value: status for status in SessionStatus}


def status_of(value: object) -> SessionStatus | None:
    """Return a stored status, or None where there is none that is known."""
    return _BY_VALUE.get(value) if isinstance(value, str) else None


MAX_EVENT_BYTES = MAX_DOCUMENT_BYTES - SERVER_ID_BYTES

SESSION_RESERVE_BYTES = 64 * 1024
"""What a session's creation leaves free, so that its end fits in whichever comes first."""

_SESSION_FRAME_BYTES = 2 * 1024
"""What a session has besides both contents: ids of at most 1,024 bytes, status, expiry."""

MAX_CREATE_BYTES = MAX_DOCUMENT_BYTES - SESSION_RESERVE_BYTES
MAX_END_BYTES = SESSION_RESERVE_BYTES - _SESSION_FRAME_BYTES


class EventWrite(NamedTuple):
    """An event to insert. ``document`` is the whole document as BSON, without ``_id``.

    The one value that is made for each event: what else is asked of it is read from its document.
    """

    session_id: str
    event_id: str
    document: bytes
    expire_at: datetime | None = None

    @property
    def content(self) -> RawBSONDocument:
        """The document, for reading."""
        return raw_document(self.document)

    @property
    def position(self) -> Position:
        """Where the record lies that the event came from."""
        origin = self.content["from"]
        return Position(origin["topic"], origin["partition"], origin["offset"])

    @property
    def identity(self) -> tuple[str, ...]:
        """What the unique index holds to be one."""
        return ("event", self.session_id, self.event_id)

    def __repr__(self) -> str:
        """Print no document: errors are built from it, and logs are read by more people."""
        return f"<event {self.event_id!r} of {self.session_id!r}, {len(self.document)} bytes>"


@dataclass(frozen=True, slots=True)
class CreateWrite:
    """A session's creation. ``content`` holds the fields that only a creation sets."""

    session_id: str
    position: Position
    content: RawBSONDocument
    expire_at: datetime | None = None

    @property
    def identity(self) -> tuple[str, ...]:
        """A session is created once."""
        return ("create", self.session_id)


@dataclass(frozen=True, slots=True)
class EndWrite:
    """A session's end, good or bad. ``content`` holds the status and what only an end sets."""

    session_id: str
    position: Position
    content: RawBSONDocument
    status: SessionStatus
    expire_at: datetime | None = None

    @property
    def identity(self) -> tuple[str, ...]:
        """A session ends once: completed and failed stand for the same place."""
        return ("end", self.session_id)


Write = EventWrite | CreateWrite | EndWrite


@dataclass(frozen=True, slots=True)
class ActivityWrite:
    """An event is there: the session is past ``initiated``. Belongs to no record."""

    session_id: str
    expire_at: datetime | None = None


def plan(message: Message, record: Record, expire_at: datetime | None = None) -> Write | Rejected:
    """Return what ``message`` writes, or why it cannot be stored.

    The same record always writes the same bytes, but for ``expire_at`` where its timestamp was in
    doubt at first.
    """
    origin = origin_fields(record, defaulted=message.time_defaulted)
    match message:
        case EventRecorded():
            return event_write(
                message.session_id,
                message.event_id,
                message.event_type.value,
                message.payload,
                message.timestamp,
                origin,
                expire_at,
            )
        case SessionCreated():
            return _create(message, record, origin, expire_at)
        case SessionCompleted() | SessionFailed():
            return _end(message, record, origin, expire_at)
        case _:
            assert_never(message)


def event_write(
    session_id: str,
    event_id: str,
    event_type: str,
    payload: dict[str, Any],
    timestamp: datetime,
    origin: dict[str, Any],
    expire_at: datetime | None,
) -> EventWrite | Rejected:
    """Return the write of an event, or why it cannot be stored."""
    document = {
        "sessionId": session_id,
        "eventId": event_id,
        "type": event_type,
        "payload": payload,
        "timestamp": timestamp,
        "from": origin,
    }
    if expire_at is not None:
        document["expireAt"] = expire_at
    encoded = encode(document, ("payload",), MAX_EVENT_BYTES)
    if isinstance(encoded, Rejected):
        return encoded
    return EventWrite(session_id, event_id, encoded, expire_at)


def _create(
    message: SessionCreated, record: Record, origin: dict[str, Any], expire_at: datetime | None
) -> CreateWrite | Rejected:
    fields = {
        "language": message.language,
        "metadata": message.metadata,
        "startedAt": message.started_at,
        "createdFrom": origin,
    }
    encoded = encode(fields, ("language", "metadata"), MAX_CREATE_BYTES)
    if isinstance(encoded, Rejected):
        return encoded
    return CreateWrite(message.session_id, record.position, raw_document(encoded), expire_at)


def _end(
    message: SessionCompleted | SessionFailed,
    record: Record,
    origin: dict[str, Any],
    expire_at: datetime | None,
) -> EndWrite | Rejected:
    name: str
    value: int | str | None
    if isinstance(message, SessionCompleted):
        status, name, value = SessionStatus.COMPLETED, "eventCount", message.event_count
    else:
        status, name, value = SessionStatus.FAILED, "reason", message.reason
    fields: dict[str, Any] = {
        "status": status.value,
        "endedAt": message.ended_at,
        "endedFrom": origin,
    }
    if value is not None:
        fields[name] = value
    encoded = encode(fields, (name,), MAX_END_BYTES)
    if isinstance(encoded, Rejected):
        return encoded
    return EndWrite(message.session_id, record.position, raw_document(encoded), status, expire_at)


def origin_fields(record: Record, *, defaulted: bool) -> dict[str, Any]:
    """Return where a content came from; ``defaulted``: its time is the record's."""
    origin: dict[str, Any] = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
    }
    if defaulted:
        origin["defaulted"] = True
    return origin


SessionWrite = CreateWrite | EndWrite | ActivityWrite


def content_bytes(write: EventWrite | SessionWrite) -> int:
    """Return how many bytes of BSON a write has to say."""
    match write:
        case EventWrite():
            return len(write.document)
        case ActivityWrite():
            return 0
        case _:
            return len(write.content.raw)


@dataclass(frozen=True, slots=True)
class SessionUpdate:
    """One upsert in MongoDB's own terms."""

    filter: Mapping[str, Any]
    update: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Guard:
    """A write applies unless ``field`` has one of the ``refused`` values; None: any value.

    No field goes back, so a guard that has failed once fails for ever.
    """

    field: str
    refused: frozenset[SessionStatus] | None

    def condition(self) -> dict[str, Any]:
        """Return the guard as part of a filter."""
        if self.refused is None:
            return {self.field: None}
        return {self.field: {"$nin": sorted(status.value for status in self.refused)}}

    def holds(self, stored: RawBSONDocument) -> bool:
        """Tell whether the write applies to what is stored: the same as ``condition`` matching."""
        value = stored.get(self.field)
        if self.refused is None:
            return value is None
        return not (isinstance(value, str) and value in self.refused)


_CREATE = Guard("startedAt", None)
_ACTIVITY = Guard("status", PAST_INITIATED)
_END = Guard("status", ENDED)


def guard_of(write: SessionWrite) -> Guard:
    """Return the guard of a write."""
    match write:
        case CreateWrite():
            return _CREATE
        case ActivityWrite():
            return _ACTIVITY
        case EndWrite():
            return _END
        case _:
            assert_never(write)


def update_of(write: SessionWrite) -> SessionUpdate:
    """Return the guarded upsert of a write."""
    condition = {"sessionId": write.session_id, **guard_of(write).condition()}
    update: dict[str, Any]
    match write:
        case CreateWrite():
            update = {
                "$set": write.content,
                "$setOnInsert": {"status": SessionStatus.INITIATED.value},
            }
        case ActivityWrite():
            update = {"$set": {"status": SessionStatus.ACTIVE.value}}
        case EndWrite():
            update = {"$set": write.content}
        case _:
            assert_never(write)
    if write.expire_at is not None:
        # The latest of all the records that wrote the session, in whichever order they came.
        update["$max"] = {"expireAt": write.expire_at}
    return SessionUpdate(condition, update)
