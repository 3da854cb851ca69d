"""What a message writes, as values: encoded once, alone, before anything is sent.

An event is inserted. A session is written by guarded upserts: each says when it applies, and
each owns its fields. So creation, activity and end commute, and none of them applies twice.
Where a guard fails on an existing document, the upsert tries to insert and the unique index
rejects it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple, assert_never

from bson.raw_bson import RawBSONDocument

from consumer.contract.json_text import MAX_DOCUMENT_BYTES
from consumer.contract.kinds import (
    ENDED_STATUSES,
    EVENT_RECORDED,
    SESSION_COMPLETED,
    SESSION_FAILED,
    Kind,
    SetOnce,
    UpsertNewest,
    kind_of,
)
from consumer.contract.messages import (
    EventRecorded,
    Message,
    OwnMessage,
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


ENDED = frozenset(map(SessionStatus, ENDED_STATUSES))
PAST_INITIATED = ENDED | {SessionStatus.ACTIVE}


_BY_VALUE = {status.value: status for status in SessionStatus}
_END_STATUSES = {
    SESSION_COMPLETED.name: SessionStatus.COMPLETED,
    SESSION_FAILED.name: SessionStatus.FAILED,
}


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
    def kind(self) -> Kind:
        """The kind of its message."""
        return EVENT_RECORDED

    @property
    def ids(self) -> tuple[str, ...]:
        """The values of its kind's ``identity``."""
        return (self.session_id, self.event_id)

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole of its document."""
        return True

    @property
    def identity(self) -> tuple[str, ...]:
        """What the unique index holds to be one."""
        return ("event", self.session_id, self.event_id)

    def __repr__(self) -> str:
        """Print no document: errors are built from it, and logs are read by more people."""
        return f"<event {self.event_id!r} of {self.session_id!r}, {len(self.document)} bytes>"


@dataclass(frozen=True, slots=True, repr=False)
class DocumentWrite:
    """What a message of any other kind writes: a whole document, or its part of a session's.

    ``ids``: the values of its kind's ``identity``; ``document``: what is written, as BSON, without
    ``_id``.
    """

    kind: Kind
    ids: tuple[str, ...]
    position: Position
    document: bytes
    expire_at: datetime | None = None

    @property
    def session_id(self) -> str:
        """The first field of every identity."""
        return self.ids[0]

    @property
    def content(self) -> RawBSONDocument:
        """The document, for reading."""
        return raw_document(self.document)

    @property
    def identity(self) -> tuple[str, ...]:
        """What can be applied once: each version of a document that the newest one replaces.

        A session is created once and ends once: completed and failed stand for the same place.
        """
        rule = self.kind.write
        version = (str(int(self.content[rule.by])),) if isinstance(rule, UpsertNewest) else ()
        return (self.kind.part, *self.ids, *version)

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole of its document."""
        return not isinstance(self.kind.write, SetOnce)

    @property
    def ends_as(self) -> SessionStatus | None:
        """The status that a session ends with by it, None where it ends none."""
        return _END_STATUSES.get(self.kind.name)

    def __repr__(self) -> str:
        """Print no document, as in ``EventWrite``."""
        return f"<{self.kind.name} {self.ids!r}, {len(self.document)} bytes>"


Write = EventWrite | DocumentWrite


@dataclass(frozen=True, slots=True)
class ActivityWrite:
    """An event is there: the session is past ``initiated``. Belongs to no record."""

    session_id: str
    expire_at: datetime | None = None

    @property
    def ids(self) -> tuple[str, ...]:
        """The values of the sessions' identity."""
        return (self.session_id,)


def plan(message: Message, record: Record, expire_at: datetime | None = None) -> Write | Rejected:
    """Return what ``message`` writes, or why it cannot be stored.

    The same record always writes the same bytes, but for ``expire_at`` where its timestamp was in
    doubt at first.
    """
    origin = origin_fields(record, defaulted=message.time_defaulted)
    kind, ids, most = kind_of(message), (message.session_id,), MAX_END_BYTES
    fields: dict[str, Any]
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
            most = MAX_CREATE_BYTES
            fields = {
                "language": message.language,
                "metadata": message.metadata,
                "startedAt": message.started_at,
                "createdFrom": origin,
            }
        case SessionCompleted() | SessionFailed():
            fields = _end_fields(message, origin)
        case OwnMessage():
            most = MAX_EVENT_BYTES
            ids = tuple(message.fields[name] for name in kind.identity)
            fields = {**message.fields, kind.origin: origin}
            if expire_at is not None:
                fields["expireAt"] = expire_at
        case _:
            assert_never(message)
    encoded = encode(fields, most)
    if isinstance(encoded, Rejected):
        return encoded
    return DocumentWrite(kind, ids, record.position, encoded, expire_at)


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
    encoded = encode(document, MAX_EVENT_BYTES)
    if isinstance(encoded, Rejected):
        return encoded
    # By name it takes twice as long.
    return tuple.__new__(EventWrite, (session_id, event_id, encoded, expire_at))


def _end_fields(
    message: SessionCompleted | SessionFailed, origin: dict[str, Any]
) -> dict[str, Any]:
    name: str
    value: int | str | None
    if isinstance(message, SessionCompleted):
        status, name, value = SessionStatus.COMPLETED, "eventCount", message.event_count
    else:
        status, name, value = SessionStatus.FAILED, "reason", message.reason
    fields = {"status": status.value, "endedAt": message.ended_at, "endedFrom": origin}
    return fields if value is None else {**fields, name: value}


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


AnyWrite = Write | ActivityWrite


def content_bytes(write: AnyWrite) -> int:
    """Return how many bytes of BSON a write has to say."""
    return 0 if isinstance(write, ActivityWrite) else len(write.document)
