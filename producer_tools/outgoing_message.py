"""A message as it is published: its topic, key and bytes, and what must come of all of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, NamedTuple

from consumer.contract.cloudevents import CONTENT_TYPE, PREFIX
from consumer.contract.decode import Decoded, Tombstone, decode
from consumer.contract.encode import (
    TRACEPARENT,
    CloudEventsFormat,
    as_cloud_event,
    encode_json,
    message_fields,
)
from consumer.contract.messages import EventRecorded, Message, MessageKind, identifier_problem
from consumer.contract.record import Headers, Record, size_of
from consumer.contract.rejection import KeyPolicy, Reason, Rejected
from consumer.contract.times import REDRIVE_TIMESTAMP
from consumer.printable import printable
from consumer.settings.model import EVENTS_TOPIC, SESSIONS_TOPIC

MEBIBYTE: Final = 1024 * 1024

_FRAMING_BYTES: Final = 256
"""What a record takes on its way beside key and value, at most."""

_ANY_TIME: Final = 0
"""The record's timestamp is the clock's when it is sent; any usable one serves the check."""


_READ_HEADERS: Final = frozenset({CONTENT_TYPE, REDRIVE_TIMESTAMP, TRACEPARENT})
"""Besides ``ce_`` and ``dlq-``: what tells the consumer how to read a record, and the trace."""

_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


_NOT_JSON: Final = (TypeError, ValueError, RecursionError)
"""What is raised for a value that JSON cannot hold."""


class Stream(StrEnum):
    """Which of the two topics a message goes to."""

    SESSIONS = "sessions"
    EVENTS = "events"


class Outgoing(NamedTuple):
    """A record before it has a topic. The key is the sessionId: one session, one partition."""

    stream: Stream
    key: bytes
    value: bytes
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class Topics:
    """Where each stream of message is published."""

    sessions: str = SESSIONS_TOPIC
    events: str = EVENTS_TOPIC

    def of(self, stream: Stream) -> str:
        """Return the topic of ``stream``."""
        return self.events if stream is Stream.EVENTS else self.sessions

    @property
    def names(self) -> tuple[str, ...]:
        """Every topic, each once: both kinds may share one."""
        return tuple(dict.fromkeys((self.sessions, self.events)))


class InvalidMessageError(ValueError):
    """A message that the consumer would not apply; nothing was sent.

    ``reason`` is the consumer's own word (``invalid``, ``undecodable``, …) or ``too_large``.
    ``detail`` names fields and quotes no values.
    """

    def __init__(self, reason: str, detail: str) -> None:
        """Say what is wrong."""
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def encode_message(message: Mapping[str, object]) -> Outgoing:
    """Return a message of the contract that is known to be well-formed, as it is published.

    Raises ``InvalidMessageError`` where its sessionId is none: another key would be made of it.
    """
    session_id = message["sessionId"]
    if not isinstance(session_id, str) or (problem := identifier_problem(session_id)):
        words = problem if isinstance(session_id, str) else "must be text"
        raise InvalidMessageError(Reason.INVALID, f"sessionId: {words}")
    stream = Stream.EVENTS if message["type"] == MessageKind.EVENT_RECORDED else Stream.SESSIONS
    return Outgoing(stream, session_id.encode(), encode_json(message))


def check_line(value: bytes, limit: Callable[[Stream], int]) -> Outgoing:
    """Return the line as a message under its sessionId.

    It is read as the consumer would read the record. ``limit``: the bytes of the largest.
    What only shows when the document is encoded (``unstorable``) the consumer may still find.
    Raises ``InvalidMessageError`` for what the consumer would refuse.
    """
    read = _read(value)
    outgoing = Outgoing(_stream_of(read), read.session_id.encode(), value)
    check_size(outgoing, limit(outgoing.stream))
    return outgoing


def prepare_message(
    message: Message | Mapping[str, Any],
    *,
    form: CloudEventsFormat | None = None,
    headers: Mapping[str, str | bytes] | None = None,
    traceparent: str | None = None,
) -> Outgoing:
    """Return what is sent of a message: bare, or a CloudEvent where ``form`` says how.

    Raises ``InvalidMessageError`` for whatever the consumer would not apply, as far as
    ``check_line`` tells it, and for headers that the consumer reads itself.
    """
    own = _checked_headers(headers or {}, traceparent)
    fields = _fields_of(message)
    try:
        value = encode_json(fields)
    except _NOT_JSON as error:
        raise InvalidMessageError(Reason.UNDECODABLE, _why_not_json(fields)) from error
    read = _read(value)
    if form is not None:
        value, wrapping = as_cloud_event(fields, read, form, traceparent)
        own = wrapping + own
    return Outgoing(_stream_of(read), read.session_id.encode(), value, own)


def _why_not_json(fields: Mapping[str, Any]) -> str:
    """Name the first field that JSON cannot hold, and say why; never what it says."""
    for name, value in fields.items():
        try:
            encode_json({name: value})
        except UnicodeEncodeError:
            why = "an unpaired surrogate"
        except _NOT_JSON as error:
            # Of what Python says the rest may quote a value.
            why = f"{type(error).__name__}, {str(error).partition(': ')[0]}"
        else:
            continue
        return f"{printable(str(name))}: not JSON: {why}"
    return "not JSON"


def check_size(outgoing: Outgoing, max_message_bytes: int) -> None:
    """Raise ``InvalidMessageError`` for a message that is larger."""
    size = size_of(outgoing.key, outgoing.value, outgoing.headers) + _FRAMING_BYTES
    if size > max_message_bytes:
        detail = f"{size:,} bytes of at most {max_message_bytes:,}"
        raise InvalidMessageError("too_large", detail)


def _fields_of(message: Message | Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(message, Mapping):
        return dict(message)  # what encodes JSON takes no other mapping
    if not isinstance(message, Message):
        raise TypeError(f"a message is a mapping or of a kind's class, not {type(message)}")
    try:
        return message_fields(message)
    except KeyError:
        detail = "type: not a known kind of message"  # its package is not installed here
        raise InvalidMessageError(Reason.UNSUPPORTED_TYPE, detail) from None
    except ValueError as error:
        raise InvalidMessageError(Reason.INVALID, str(error)) from error


def _read(value: bytes) -> Message:
    match decode(Record("", 0, 0, _ANY_TIME, None, value), KeyPolicy.WARN):
        case Decoded(message=message):
            return message
        case Rejected(reason=reason, detail=detail):
            raise InvalidMessageError(reason.value, detail)
        case Tombstone():  # only a null value is one, and these have a value
            raise TypeError("a message has a value")


def _stream_of(message: Message) -> Stream:
    return Stream.EVENTS if isinstance(message, EventRecorded) else Stream.SESSIONS


def _checked_headers(headers: Mapping[str, str | bytes], traceparent: str | None) -> Headers:
    """Return the headers as they are sent. Raises ``InvalidMessageError``."""
    for name in headers:
        if name.startswith((PREFIX, "dlq-")) or name in _READ_HEADERS:
            raise InvalidMessageError(Reason.INVALID, f"header {name}: has a meaning of its own")
    own = tuple((name, _header_value(name, content)) for name, content in headers.items())
    if traceparent is None:
        return own
    if not _TRACEPARENT.fullmatch(traceparent):
        raise InvalidMessageError(
            Reason.INVALID, "traceparent: must be one of W3C Trace Context, 00-…-…-01"
        )
    return (*own, (TRACEPARENT, traceparent.encode()))


def _header_value(name: str, content: str | bytes) -> bytes:
    try:
        return content.encode() if isinstance(content, str) else bytes(memoryview(content))
    except (TypeError, UnicodeEncodeError):
        detail = f"header {name}: must be text or bytes"
        raise InvalidMessageError(Reason.INVALID, detail) from None


@dataclass(slots=True)
class EndState:
    """What must be stored once the messages counted here are applied, in any order or number.

    ``records`` is everything sent, repetitions included.
    """

    records: int = 0
    duplicates: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    malformed: Counter[Reason] = field(default_factory=Counter)

    def add(self, message: Mapping[str, object], *, repeated: bool = False) -> None:
        """Count one well-formed message; ``repeated``: it was counted before."""
        self.records += 1
        if repeated:
            self.duplicates += 1
        else:
            self.kinds[str(message["type"])] += 1

    def add_malformed(self, reason: Reason) -> None:
        """Count one message that must end as a dead letter."""
        self.records += 1
        self.malformed[reason] += 1

    def summary(self) -> dict[str, object]:
        """Return the documents and dead letters that must be there in the end, ready for JSON.

        ``open`` counts the sessions that were created and neither completed nor failed.
        """
        sessions = self.kinds["session.created"]
        completed = self.kinds["session.completed"]
        failed = self.kinds["session.failed"]
        return {
            "records": self.records,
            "sessions": sessions,
            "events": self.kinds["event.recorded"],
            "completed": completed,
            "failed": failed,
            "open": sessions - completed - failed,
            "duplicates": self.duplicates,
            "malformed": self.malformed.total(),
            "dead_letters": {
                reason.value: self.malformed[reason] for reason in sorted(self.malformed)
            },
        }
