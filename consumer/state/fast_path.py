"""The fast way of a message that is in order: from a record to its write in one go.

It only ever accepts. What it does not take goes the way of ``decode`` and ``plan``, which alone
know reasons; of what it takes, both make the same write.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from consumer.contract.cloudevents import (
    SPECVERSION,
    Mode,
    Unusable,
    mode_of,
    read_binary,
    read_structured,
    split_type,
)
from consumer.contract.json_text import MAX_QUICK_BYTES, parse_quickly
from consumer.contract.kinds import (
    EVENT_RECORDED,
    SESSION_COMPLETED,
    SESSION_CREATED,
    SESSION_FAILED,
    Kind,
)
from consumer.contract.messages import (
    MAX_LANGUAGE_CODE_POINTS,
    EventType,
    SessionCompleted,
    SessionCreated,
    SessionFailed,
    identifier_problem,
)
from consumer.contract.record import Headers, Record
from consumer.contract.rejection import Rejected
from consumer.contract.times import parse_time, parse_usual_time, record_time
from consumer.state.writes import EventWrite, Write, event_write, origin_fields, plan

_EVENT: Final = EVENT_RECORDED.name
_EVENT_TYPES: Final = frozenset(event_type.value for event_type in EventType)
_SESSIONS: Final = {
    kind.name: kind for kind in (SESSION_CREATED, SESSION_COMPLETED, SESSION_FAILED)
}


def plan_quickly(record: Record, expire_at: datetime | None, max_value_bytes: int) -> Write | None:
    """Return the write of a message that is in order and whose key is its sessionId, else None.

    Events are taken in every wrapping, sessions' messages in none.
    """
    _, _, _, _, key, value, headers = record
    if value is None or len(value) > MAX_QUICK_BYTES or len(value) > max_value_bytes:
        return None
    fields: Any
    try:
        if headers and (mode := mode_of(headers)) is not Mode.BARE:
            fields = _cloud_event_fields(headers, value, mode)
        else:
            fields = parse_quickly(value)
            if not isinstance(fields, dict):
                return None
            if fields.get("type") != _EVENT:
                return _plan_session(record, fields, expire_at)
    except ValueError:
        return None
    if fields is None:
        return None
    session_id, event_id = fields.get("sessionId"), fields.get("eventId")
    event_type, payload = fields.get("eventType"), fields.get("payload")
    version, written = fields.get("schemaVersion"), fields.get("timestamp")
    if (
        identifier_problem(session_id)
        or identifier_problem(event_id)
        or not isinstance(event_type, str)
        or event_type not in _EVENT_TYPES
        or not isinstance(payload, dict)
        or (
            EVENT_RECORDED.upcasters if version is None else not _is_newest(version, EVENT_RECORDED)
        )
        or key != session_id.encode()
    ):
        return None
    if isinstance(written, str):
        timestamp = parse_usual_time(written) or parse_time(written)
    else:
        timestamp = record_time(record) if written is None else None
    if timestamp is None:
        return None
    origin = origin_fields(record, defaulted=written is None)
    write = event_write(session_id, event_id, event_type, payload, timestamp, origin, expire_at)
    return write if isinstance(write, EventWrite) else None


def _plan_session(
    record: Record, fields: dict[str, Any], expire_at: datetime | None
) -> Write | None:
    """Return the write of a session's creation or end that is in order, else None."""
    name, session_id = fields.get("type"), fields.get("sessionId")
    version: Any = fields.get("schemaVersion")
    kind = _SESSIONS.get(name) if isinstance(name, str) else None
    if (
        kind is None
        or identifier_problem(session_id)
        or not isinstance(session_id, str)
        or (kind.upcasters if version is None else not _is_newest(version, kind))
        or record.key != session_id.encode()
    ):
        return None
    written: Any = fields.get(kind.time or "")
    if isinstance(written, str):
        instant = parse_time(written)
    else:
        instant = record_time(record) if written is None else None
    if instant is None:
        return None
    message = _session_message(kind, session_id, fields, instant, defaulted=written is None)
    planned = None if message is None else plan(message, record, expire_at)
    return None if isinstance(planned, Rejected) else planned


def _session_message(
    kind: Kind, session_id: str, fields: dict[str, Any], instant: datetime, *, defaulted: bool
) -> SessionCreated | SessionCompleted | SessionFailed | None:
    if kind is SESSION_CREATED:
        language, metadata = fields.get("language"), fields.get("metadata")
        if isinstance(language, str) and 1 <= len(language) <= MAX_LANGUAGE_CODE_POINTS:
            if metadata is None:
                metadata = {}
            if isinstance(metadata, dict):
                return SessionCreated(session_id, language, instant, metadata, defaulted)
    elif kind is SESSION_COMPLETED:
        count = fields.get("eventCount")
        if count is None or (type(count) is int and count >= 0):
            return SessionCompleted(session_id, instant, count, defaulted)
    else:
        reason = fields.get("reason")
        if reason is None or isinstance(reason, str):
            return SessionFailed(session_id, instant, reason, defaulted)
    return None


def _cloud_event_fields(headers: Headers, value: bytes, mode: Mode) -> dict[str, Any] | None:
    """Return the fields of an event, with those that its envelope's attributes stand for.

    None where it is no event, or where the envelope is not in order. Raises ``ValueError``, too.
    """
    if mode is Mode.UNREADABLE:
        return None
    event = read_binary(headers, value) if mode is Mode.BINARY else read_structured(value)
    if event.specversion != SPECVERSION or not isinstance(event.type, str):
        return None
    kind, version = split_type(event.type)
    if kind != _EVENT or not (version is None or _is_newest(version, EVENT_RECORDED)):
        return None
    fields = event.data
    if not isinstance(fields, dict) or event.subject not in (None, fields.get("sessionId")):
        return None
    if fields.get("schemaVersion") is None:
        fields["schemaVersion"] = version
    if isinstance(event.id, Unusable) or isinstance(event.time, Unusable):
        return None
    if fields.get("eventId") is None:
        fields["eventId"] = event.id
    if fields.get("timestamp") is None:
        fields["timestamp"] = event.time
    return fields


def _is_newest(version: object, kind: Kind) -> bool:
    return type(version) is int and version == kind.newest_version
