"""A message as it is published: its topic, key and bytes, and what must come of all of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from consumer.contract.decode import Decoded, Tombstone, decode
from consumer.contract.messages import EventRecorded, MessageKind
from consumer.contract.record import Record
from consumer.contract.rejection import KeyPolicy, Reason, Rejected
from consumer.settings.model import KafkaSettings

_FRAMING_BYTES: Final = 256
"""What a record takes on its way beside key and value, at most."""

_ANY_TIME: Final = 0
"""The record's timestamp is the clock's when it is sent; any usable one serves the check."""


class Stream(StrEnum):
    """Which of the two topics a message goes to."""

    SESSIONS = "sessions"
    EVENTS = "events"


class Outgoing(NamedTuple):
    """A record before it has a topic. The key is the sessionId: one session, one partition."""

    stream: Stream
    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Topics:
    """Where each stream of message is published."""

    sessions: str = "conversation.sessions"
    events: str = "conversation.events"

    def of(self, stream: Stream) -> str:
        """Return the topic of ``stream``."""
        return self.events if stream is Stream.EVENTS else self.sessions

    @property
    def names(self) -> tuple[str, ...]:
        """Every topic, each once: both kinds may share one."""
        return tuple(dict.fromkeys((self.sessions, self.events)))


@dataclass(frozen=True, slots=True)
class PublishTarget:
    """The brokers, the two topics, and the largest message they take."""

    kafka: KafkaSettings
    topics: Topics = field(default_factory=Topics)
    max_message_bytes: int = 1024 * 1024
    idempotent: bool = True
    """A wish: brokers that cannot serve it are written to without."""


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def encode_json(value: object) -> bytes:
    """Return ``value`` as compact JSON in UTF-8, without any newline."""
    return _encode(value).encode()


def encode_message(message: Mapping[str, object]) -> Outgoing:
    """Return a well-formed message of the contract as it is published."""
    stream = Stream.EVENTS if message["type"] == MessageKind.EVENT_RECORDED else Stream.SESSIONS
    return Outgoing(stream, str(message["sessionId"]).encode(), encode_json(message))


@dataclass(frozen=True, slots=True)
class UnsendableLine:
    """Why a line cannot be sent. ``detail`` names fields and quotes no values."""

    reason: str
    detail: str


def check_line(value: bytes, max_message_bytes: int) -> Outgoing | UnsendableLine:
    """Return the line as a message under its sessionId, or why the consumer would refuse it.

    It is read as the consumer would read the record. What only shows when the document is
    encoded (the reason ``unstorable``) the consumer may still find.
    """
    record = Record("", 0, 0, _ANY_TIME, None, value)
    match decode(record, KeyPolicy.WARN):
        case Decoded(message=message):
            stream = Stream.EVENTS if isinstance(message, EventRecorded) else Stream.SESSIONS
            key = message.session_id.encode()
            size = len(key) + len(value) + _FRAMING_BYTES
            if size > max_message_bytes:
                detail = f"{size:,} bytes of at most {max_message_bytes:,}"
                return UnsendableLine("too_large", detail)
            return Outgoing(stream, key, value)
        case Rejected(reason=reason, detail=detail):
            return UnsendableLine(reason.value, detail)
        case Tombstone():  # only a null value is one, and a line is none
            raise TypeError("a line has a value")


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
