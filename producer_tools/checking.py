"""Reads a line as the consumer would read the record, before it is sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from consumer.contract.decode import Decoded, Tombstone, decode
from consumer.contract.messages import EventRecorded
from consumer.contract.record import Record
from consumer.contract.rejection import KeyPolicy, Rejected
from producer_tools.outgoing import Outgoing, Stream

_FRAMING_BYTES: Final = 256
"""What a record takes on its way beside key and value, at most."""

_ANY_TIME: Final = 0
"""The record's timestamp is the clock's when it is sent; any usable one serves the check."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a line cannot be sent. ``detail`` names fields and quotes no values."""

    reason: str
    detail: str


def check(value: bytes, max_message_bytes: int) -> Outgoing | Problem:
    """Return the line as a message under its sessionId, or why the consumer would refuse it.

    What only shows when the document is encoded (the reason ``unstorable``) the consumer
    may still find.
    """
    record = Record("", 0, 0, _ANY_TIME, None, value)
    match decode(record, KeyPolicy.WARN):
        case Decoded(message=message):
            stream = Stream.EVENTS if isinstance(message, EventRecorded) else Stream.SESSIONS
            key = message.session_id.encode()
            size = len(key) + len(value) + _FRAMING_BYTES
            if size > max_message_bytes:
                return Problem("too_large", f"{size:,} bytes of at most {max_message_bytes:,}")
            return Outgoing(stream, key, value)
        case Rejected(reason=reason, detail=detail):
            return Problem(reason.value, detail)
        case Tombstone():  # only a null value is one, and a line is none
            raise TypeError("a line has a value")
