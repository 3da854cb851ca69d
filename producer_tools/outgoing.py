"""What is sent: one message as bytes, with its key and the stream of topic it belongs to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from consumer.contract.messages import MessageKind


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


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def encode_json(value: object) -> bytes:
    """Return ``value`` as compact JSON in UTF-8, without any newline."""
    return _encode(value).encode()


def encode_message(message: Mapping[str, object]) -> Outgoing:
    """Return a well-formed message of the contract as it is published."""
    stream = Stream.EVENTS if message["type"] == MessageKind.EVENT_RECORDED else Stream.SESSIONS
    return Outgoing(stream, str(message["sessionId"]).encode(), encode_json(message))
