"""A record becomes a message, or the reason why it can never become one.

Nothing here raises on any input: what a record holds decides over this record alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple, assert_never

from consumer.contract import cloudevents
from consumer.contract.cloudevents import CloudEvent, Mode, Unusable
from consumer.contract.json_text import NotAnObjectError, TooManyPartsError, parse_object
from consumer.contract.kinds import EVENT_RECORDED, Kind, known_kinds, read_model
from consumer.contract.messages import (
    FIRST_VERSION,
    MAX_LANGUAGE_CODE_POINTS,
    EventRecorded,
    EventType,
    Message,
    MessageKind,
    NoFieldsError,
    OwnMessage,
    SessionCompleted,
    SessionCreated,
    SessionFailed,
    identifier_problem,
    upcast,
)
from consumer.contract.record import Record
from consumer.contract.rejection import KeyPolicy, Reason, Rejected
from consumer.contract.times import EPOCH, format_time, parse_time, record_time

MAX_VALUE_BYTES: Final = 32 * 1024 * 1024
"""The largest value that is read unless something else is asked for: twice what a document may
take, since a text takes up to that in JSON where its letters are escaped or Base64."""


class Decoded(NamedTuple):
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
    mode = cloudevents.mode_of(record.headers) if record.headers else Mode.BARE
    if record.value is None and mode is Mode.BARE:
        return Tombstone()
    opened: _Opened | None = None
    try:
        opened = _opened(record, mode)
        message = _message(opened, record)
    except _RefusedError as refused:
        detail = refused.detail
        if mode is Mode.BARE and opened is not None:
            if cloudevents.is_envelope(opened.fields or {}):
                detail = _UNMARKED
            elif any(name[:3].lower() == _OF_HTTP for name, _ in record.headers):
                detail = f"{detail}; {_OF_HTTP}…: {_OF_KAFKA}"
        return Rejected(refused.reason, detail)
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


_UNMARKED: Final = (
    "content-type: an envelope of CloudEvents needs the header application/cloudevents+json"
)
_OF_HTTP: Final = "ce-"
_OF_KAFKA: Final = f"in Kafka the headers of a CloudEvent begin with {cloudevents.PREFIX}"
_UPGRADE: Final = "the newest that is known here: upgrade the consumer, then redrive"
_REQUIRED: Final = object()
_EVENT_TYPES: Final = {event_type.value: event_type for event_type in EventType}


class _Opened(NamedTuple):
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
                event = cloudevents.read_binary(record.headers, record.value)
            case Mode.STRUCTURED:
                event = cloudevents.read_structured(record.value)
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
    kind, named = _kind(opened)
    problems: list[str] = []
    if kind is None:
        problems.append("type: missing" if opened.type is None else "type: must be text")
    opened = _in_newest_version(kind, named, opened, problems)
    if opened.event is not None:
        problems.extend(_problems_of_event(opened.event))
    if kind is None or opened.fields is None:
        raise _RefusedError(Reason.INVALID, "; ".join(problems))
    message = _Fields(opened, record, problems).message(kind)
    if problems:
        raise _RefusedError(Reason.INVALID, "; ".join(problems))
    return message


def _kind(opened: _Opened) -> tuple[Kind | None, int | None]:
    """Return the kind, None where no text tells it, and the version that its name carries."""
    if not isinstance(opened.type, str):
        return None, None
    name, version = (
        cloudevents.split_type(opened.type) if opened.event is not None else (opened.type, None)
    )
    kind = None if name is None else known_kinds().get(name)
    if kind is None:
        known = ", ".join(known_kinds())
        detail = f"type: not a known kind of message ({known})"
        raise _RefusedError(Reason.UNSUPPORTED_TYPE, detail)
    return kind, version


def _in_newest_version(
    kind: Kind | None, named: int | None, opened: _Opened, problems: list[str]
) -> _Opened:
    """Return the message as the newest version writes it. ``named``: the version in its type.

    As it is, where something is wrong with its version, which is added to ``problems``.
    """
    fields = opened.fields if opened.fields is not None else {}
    newest = max(
        one.newest_version for one in (known_kinds().values() if kind is None else (kind,))
    )
    version, wrong = _version(named, fields.get("schemaVersion"))
    later = "" if version <= newest else f"schemaVersion: later than {newest}, {_UPGRADE}"
    if kind is not None and version < newest and not wrong:
        fields = _upcast(kind, version, fields)
        opened = opened._replace(fields=fields)
    if kind is EVENT_RECORDED:
        _read_event_type(fields, later)
    if later:
        raise _RefusedError(Reason.UNSUPPORTED_VERSION, later)
    problems.extend(wrong)
    return opened


def _version(named: int | None, stated: object) -> tuple[int, Sequence[str]]:
    """Return the version that a message has, the later where its type and fields differ.

    And what is wrong with it.
    """
    version, problems = FIRST_VERSION, []
    if stated is not None:
        if type(stated) is int and stated >= FIRST_VERSION:
            version = stated
        else:
            problems.append(f"schemaVersion: must be an integer from {FIRST_VERSION} on")
    if named is not None:
        if named < FIRST_VERSION:
            problems.append(f"type: its version must be from {FIRST_VERSION} on")
        elif stated is not None and named != stated:
            problems.append("type: its version must be schemaVersion")
        version = max(version, named)
    return version, problems


def _upcast(kind: Kind, version: int, fields: dict[str, Any]) -> dict[str, Any]:
    try:
        return upcast(kind.upcasters, version, fields)
    except NoFieldsError as error:
        cause = str(error)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 -- others' code, which reads what is not validated
        cause = type(error).__name__  # of what it says the rest may quote a value
    problem = f"schemaVersion: {version} was not read as {kind.newest_version}"
    raise _RefusedError(Reason.INVALID, f"{problem}: {cause}")


def _read_event_type(fields: dict[str, Any], later: str) -> None:
    """Put the type itself in the place of its text. ``later``: why it may be of a later version."""
    written = fields.get("eventType")
    if isinstance(written, str):
        event_type = _EVENT_TYPES.get(written)
        if event_type is None:
            unknown = f"eventType: not a known one ({', '.join(EventType)})"
            detail = "; ".join(filter(None, (unknown, later)))
            raise _RefusedError(Reason.UNSUPPORTED_TYPE, detail)
        fields["eventType"] = event_type


def _problems_of_event(event: CloudEvent) -> Iterable[str]:
    if event.specversion != cloudevents.SPECVERSION:
        yield f"specversion: must be {cloudevents.SPECVERSION}"
    for name in ("type", "id", "subject", "time"):
        attribute: object = getattr(event, name)
        if isinstance(attribute, Unusable):
            yield f"{name}: {attribute.value}"
    if isinstance(event.data, Unusable):
        yield f"data: {event.data.value}"
    elif not isinstance(event.data, dict):
        yield "data: missing" if event.data is None else "data: must be an object"


class _Fields:
    """The fields of one message. What is wrong with them is added to ``problems``."""

    def __init__(self, opened: _Opened, record: Record, problems: list[str]) -> None:
        self._fields = opened.fields or {}
        self._event = opened.event
        self._record = record
        self._problems = problems

    def message(self, kind: Kind) -> Message:
        """Return the message, which holds anything where there are problems."""
        instant, defaulted = (EPOCH, False) if kind.time is None else self._time(kind.time)
        session_id = self._id("sessionId")
        subject = None if self._event is None else self._event.subject
        if subject is not None and subject != session_id:
            words = "must equal" if "sessionId" in self._fields else "does not stand for"
            self._problems.append(f"subject: {words} sessionId")
        match kind.name:
            case MessageKind.SESSION_CREATED:
                language = self._typed("language", str, "must be text")
                if type(language) is str and not 1 <= len(language) <= MAX_LANGUAGE_CODE_POINTS:
                    words = f"must have 1 to {MAX_LANGUAGE_CODE_POINTS} characters"
                    self._problems.append(f"language: {words}")
                metadata = self._typed("metadata", dict, "must be an object", default={})
                return SessionCreated(session_id, language, instant, metadata, defaulted)
            case MessageKind.SESSION_COMPLETED:
                count = self._typed("eventCount", int, "must be an integer", default=None)
                if type(count) is int and count < 0:
                    self._problems.append("eventCount: must not be negative")
                return SessionCompleted(session_id, instant, count, defaulted)
            case MessageKind.SESSION_FAILED:
                reason = self._typed("reason", str, "must be text", default=None)
                return SessionFailed(session_id, instant, reason, defaulted)
            case MessageKind.EVENT_RECORDED:
                if self._event is not None and self._fields.get("eventId") is None:
                    self._fields["eventId"] = self._event.id
                event_id = self._id("eventId")
                event_type = self._typed("eventType", EventType, "must be text")
                payload = self._typed("payload", dict, "must be an object")
                return EventRecorded(session_id, event_id, event_type, payload, instant, defaulted)
            case _:
                return self._own(kind, session_id, instant, defaulted=defaulted)

    def _own(
        self, kind: Kind, session_id: str, instant: datetime, *, defaulted: bool
    ) -> OwnMessage:
        """Return a message of a kind that others have declared, as their model has it."""
        known = len(self._problems)
        for name in kind.identity[1:]:
            self._id(name)
        if kind.time is not None:
            self._fields[kind.time] = format_time(instant)
        fields, problems = read_model(kind, self._fields)
        # What is wrong with an id, or the time, is told in our own words.
        if len(self._problems) == known:
            self._problems.extend(problems)
        return OwnMessage(kind.name, session_id, fields, defaulted)

    def _id(self, name: str) -> str:
        value: str = self._fields.get(name)  # type: ignore[assignment]  # or it is a problem
        problem = identifier_problem(value) if name in self._fields else "missing"
        if problem is not None:
            self._problems.append(f"{name}: {problem}")
        return value

    def _typed(self, name: str, kind: type, words: str, default: Any = _REQUIRED) -> Any:  # noqa: ANN401 -- of that type, or a problem
        """Return a field of exactly this type; null is absent where there is a default."""
        value = self._fields.get(name)
        if value is None and default is not _REQUIRED:
            return default
        if type(value) is not kind:
            self._problems.append(f"{name}: {words if name in self._fields else 'missing'}")
        return value

    def _time(self, name: str) -> tuple[datetime, bool]:
        """Return the message's time, or the one of its record, and whether it is that."""
        source, written = name, self._fields.get(name)
        if written is None and self._event is not None and self._event.time is not None:
            source, written = "time", self._event.time
        if written is None:
            instant = record_time(self._record)
            problem = "missing, and the record has no usable timestamp"
        else:
            instant = parse_time(written) if isinstance(written, str) else None
            problem = "must be a time of RFC 3339 with seconds and zone, in years 1 to 9999"
        if instant is None:
            self._problems.append(f"{source}: {problem}")
        # A stand-in, so that the other fields are looked at too.
        return instant or EPOCH, written is None
