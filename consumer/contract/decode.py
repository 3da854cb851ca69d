"""A record becomes a message, or the reason why it can never become one.

Nothing here raises on any input: what a record holds decides over this record alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, assert_never

from pydantic import ValidationError

from consumer.contract.cloudevents import (
    SPECVERSION,
    CloudEvent,
    Mode,
    Unusable,
    mode_of,
    read_binary,
    read_structured,
    split_type,
)
from consumer.contract.json_text import NotAnObjectError, TooManyPartsError, parse_object
from consumer.contract.messages import (
    SCHEMA_VERSION,
    EventRecorded,
    EventType,
    Message,
    MessageKind,
    SessionCompleted,
    SessionCreated,
    SessionFailed,
)
from consumer.contract.record import Record
from consumer.contract.rejection import KeyPolicy, Reason, Rejected
from consumer.contract.times import EPOCH, parse_time, record_time

MAX_VALUE_BYTES: Final = 32 * 1024 * 1024
"""The largest value that is read unless something else is asked for: twice what a document may
take, since a text takes up to that in JSON where its letters are escaped or Base64."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """A message that is right in itself. ``key_mismatch``: the key is not its sessionId."""

    message: Message
    key_mismatch: bool


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A null value outside of CloudEvents: nothing is said, and nothing is deleted for it."""


def decode(
    record: Record, key_policy: KeyPolicy, max_value_bytes: int = MAX_VALUE_BYTES
) -> Decoded | Tombstone | Rejected:
    """Return what the record says. Of several reasons to refuse it, the first in their order.

    A value of more than ``max_value_bytes`` is refused unread, whatever it says.
    """
    if record.value is not None and len(record.value) > max_value_bytes:
        return Rejected(
            Reason.UNSTORABLE,
            f"value: {len(record.value)} bytes, more than the {max_value_bytes} that are read",
        )
    mode = mode_of(record.headers) if record.headers else Mode.BARE
    if record.value is None and mode is Mode.BARE:
        return Tombstone()
    try:
        message = _message(_opened(record, mode), record)
    except _RefusedError as refused:
        return Rejected(refused.reason, refused.detail)
    mismatch = record.key != message.session_id.encode()
    if mismatch and key_policy is KeyPolicy.DEAD_LETTER:
        return Rejected(Reason.KEY_MISMATCH, "the key is not the sessionId")
    return Decoded(message, mismatch)


class _RefusedError(Exception):
    """Carries a reason out to ``decode``."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class _Shape:
    """How a kind is read: its model, and which of its fields falls back on the record's time."""

    model: type[Message]
    time_field: str


_SHAPES: Final = {
    MessageKind.SESSION_CREATED: _Shape(SessionCreated, "startedAt"),
    MessageKind.SESSION_COMPLETED: _Shape(SessionCompleted, "endedAt"),
    MessageKind.SESSION_FAILED: _Shape(SessionFailed, "endedAt"),
    MessageKind.EVENT_RECORDED: _Shape(EventRecorded, "timestamp"),
}
_KINDS: Final = {kind.value: kind for kind in MessageKind}
_EVENT_TYPES: Final = {event_type.value: event_type for event_type in EventType}


@dataclass(frozen=True, slots=True)
class _Opened:
    """A message out of its wrapping. ``fields`` is its own: what is read may be put back."""

    type: object
    fields: dict[str, Any] | None
    event: CloudEvent | None


def _opened(record: Record, mode: Mode) -> _Opened:
    try:
        match mode:
            case Mode.BARE:
                fields = parse_object(record.value or b"")
                return _Opened(fields.get("type"), fields, None)
            case Mode.BINARY:
                event = read_binary(record.headers, record.value)
            case Mode.STRUCTURED:
                event = read_structured(record.value)
            case Mode.UNREADABLE:
                raise _RefusedError(
                    Reason.UNDECODABLE, "content-type: not a format of CloudEvents that is read"
                )
            case _:
                assert_never(mode)
    except NotAnObjectError as error:
        raise _RefusedError(Reason.UNDECODABLE, str(error)) from None
    except TooManyPartsError as error:
        raise _RefusedError(Reason.UNSTORABLE, str(error)) from None
    return _Opened(event.type, event.data if isinstance(event.data, dict) else None, event)


def _message(opened: _Opened, record: Record) -> Message:
    kind, type_version = _kind(opened)
    fields = opened.fields if opened.fields is not None else {}
    if kind is MessageKind.EVENT_RECORDED:
        _read_event_type(fields)
    version = fields.get("schemaVersion")
    if _is_later(type_version) or _is_later(version):
        raise _RefusedError(
            Reason.UNSUPPORTED_VERSION, f"schemaVersion: later than {SCHEMA_VERSION}"
        )
    problems: list[str] = []
    if kind is None:
        problems.append("type: missing" if opened.type is None else "type: must be text")
    if version is not None and not (type(version) is int and version == SCHEMA_VERSION):
        problems.append("schemaVersion: must be an integer from 1 on")
    if type_version is not None and type_version < 1:
        problems.append("type: its version must be from 1 on")
    if opened.event is not None:
        problems.extend(_problems_of_event(opened.event))
    if kind is None or opened.fields is None:
        raise _RefusedError(Reason.INVALID, "; ".join(problems))
    shape = _SHAPES[kind]
    _complete(fields, kind, opened.event)
    _read_time(fields, shape.time_field, opened.event, record, problems)
    return _validated(shape.model, fields, opened.event, problems)


def _kind(opened: _Opened) -> tuple[MessageKind | None, int | None]:
    """Return the kind, None where no text tells it, and the version that its name carries."""
    if not isinstance(opened.type, str):
        return None, None
    kind, version = (
        split_type(opened.type) if opened.event is not None else (_KINDS.get(opened.type), None)
    )
    if kind is None:
        raise _RefusedError(Reason.UNSUPPORTED_TYPE, "type: not a known kind of message")
    return kind, version


def _read_event_type(fields: dict[str, Any]) -> None:
    written = fields.get("eventType")
    if isinstance(written, str):
        event_type = _EVENT_TYPES.get(written)
        if event_type is None:
            raise _RefusedError(Reason.UNSUPPORTED_TYPE, "eventType: not a known one")
        fields["eventType"] = event_type


def _is_later(version: object) -> bool:
    return type(version) is int and version > SCHEMA_VERSION


def _problems_of_event(event: CloudEvent) -> Iterable[str]:
    if event.specversion != SPECVERSION:
        yield f"specversion: must be {SPECVERSION}"
    for name in ("type", "id", "subject", "time"):
        attribute: object = getattr(event, name)
        if isinstance(attribute, Unusable):
            yield f"{name}: {attribute.value}"
    if isinstance(event.data, Unusable):
        yield f"data: {event.data.value}"
    elif not isinstance(event.data, dict):
        yield "data: missing" if event.data is None else "data: must be an object"


def _complete(fields: dict[str, Any], kind: MessageKind, event: CloudEvent | None) -> None:
    """Put in what has a substitute where it is absent; null is absent."""
    if kind is MessageKind.SESSION_CREATED and fields.get("metadata") is None:
        fields["metadata"] = {}
    if kind is MessageKind.EVENT_RECORDED and event is not None and fields.get("eventId") is None:
        fields["eventId"] = event.id


def _read_time(
    fields: dict[str, Any],
    name: str,
    event: CloudEvent | None,
    record: Record,
    problems: list[str],
) -> None:
    """Put an instant in the place of the message's time, or of the one it does not have."""
    source, written = name, fields.get(name)
    if written is None and event is not None and event.time is not None:
        source, written = "time", event.time
    if written is None:
        instant = record_time(record)
        problem = "missing, and the record has no usable timestamp"
    else:
        instant = parse_time(written) if isinstance(written, str) else None
        problem = "must be a time of RFC 3339 with seconds and zone, in years 1 to 9999"
    if instant is None:
        problems.append(f"{source}: {problem}")
    # A stand-in, so that the other fields are looked at too.
    fields[name] = instant or EPOCH
    fields["time_defaulted"] = written is None


def _validated(
    model: type[Message], fields: dict[str, Any], event: CloudEvent | None, problems: list[str]
) -> Message:
    try:
        message = model.model_validate(fields, by_alias=True, by_name=False)
    except ValidationError as error:
        problems.extend(_problems_of_fields(error))
    else:
        if event is not None and event.subject is not None and event.subject != message.session_id:
            problems.append("subject: must equal sessionId")
        if not problems:
            return message
    raise _RefusedError(Reason.INVALID, "; ".join(problems))


_IN_OUR_WORDS: Final = {
    "enum": "must be text",
    "greater_than_equal": "must not be negative",
    "int_type": "must be an integer",
    "is_instance_of": "must be an object",
    "missing": "missing",
    "string_pattern_mismatch": "must not contain NUL",
    "string_too_long": "too long",
    "string_too_short": "must not be empty",
    "string_type": "must be text",
    "string_unicode": "must not contain an unpaired surrogate",
}


def _problems_of_fields(error: ValidationError) -> Iterable[str]:
    """Name each wrong field; what stood in it is never part of an error's text."""
    for found in error.errors(include_url=False, include_context=False, include_input=False):
        if found["loc"][0] == "eventType" and found["type"] != "missing":
            yield "eventType: must be text"
            continue
        yield f"{found['loc'][0]}: {_IN_OUR_WORDS.get(found['type'], found['msg'])}"
