"""The headers of dead letters: their names, and what they say to those who read them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from consumer.contract.record import Headers, Position, last_header
from consumer.contract.record_time import parse_timestamp_ms
from consumer.contract.rejection import Reason
from consumer.contract.rfc3339 import parse_time

REASON: Final = "dlq-reason"
DETAIL: Final = "dlq-detail"
TOPIC: Final = "dlq-topic"
PARTITION: Final = "dlq-partition"
OFFSET: Final = "dlq-offset"
TIMESTAMP: Final = "dlq-timestamp"
GROUP: Final = "dlq-group"
FAILED_AT: Final = "dlq-failed-at"
ATTEMPT: Final = "dlq-attempt"
CONSUMER_VERSION: Final = "dlq-consumer-version"
TRUNCATED: Final = "dlq-truncated"
SIZE: Final = "dlq-size"
SHA256: Final = "dlq-sha256"

TRUNCATION_NAMES: Final = frozenset({TRUNCATED, SIZE, SHA256})
"""The names of the headers that only a letter has which was cut."""

NAMES: Final = TRUNCATION_NAMES | {
    REASON,
    DETAIL,
    TOPIC,
    PARTITION,
    OFFSET,
    TIMESTAMP,
    GROUP,
    FAILED_AT,
    ATTEMPT,
    CONSUMER_VERSION,
}
"""The headers that are ours: each failure replaces them. All others stay as they came."""

MAX_ATTEMPT: Final = 999_999_999
"""Where the counting ends: a counter that would be too long to be read would begin anew."""

_ATTEMPT: Final = re.compile(rb"[0-9]{1,9}")
_NUMBER: Final = re.compile(rb"[0-9]{1,19}")
_SHA256: Final = re.compile(rb"[0-9a-f]{64}")


class Part(StrEnum):
    """The parts of a record that can be cut, as ``dlq-truncated`` names them."""

    KEY = "key"
    VALUE = "value"
    HEADERS = "headers"


_REASONS: Final = {reason.value: reason for reason in Reason}
_PARTS: Final = {part.value: part for part in Part}


@dataclass(frozen=True, slots=True)
class Truncation:
    """What was cut off, and by what the original can be found.

    ``size`` and ``sha256`` (hexadecimal) are those of the bytes of the original's value; a
    null value has none.
    """

    parts: frozenset[Part]
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class DeadLetterInfo:
    """What the headers of a letter say of its failure. None: absent or not readable.

    ``origin`` is where the record lay that failed; ``timestamp_ms`` is its effective
    timestamp; ``attempt`` counts its failures.
    """

    origin: Position
    reason: Reason | None
    detail: str
    timestamp_ms: int | None
    group: str
    failed_at: datetime | None
    attempt: int
    consumer_version: str
    truncation: Truncation | None


def origin_of(headers: Headers) -> DeadLetterInfo | None:
    """Read the headers of a dead letter; None where they tell no origin: it is none of ours."""
    topic = _text(headers, TOPIC)
    partition = _number(headers, PARTITION)
    offset = _number(headers, OFFSET)
    if not topic or partition is None or offset is None:
        return None
    return DeadLetterInfo(
        origin=Position(topic, partition, offset),
        reason=_REASONS.get(_text(headers, REASON)),
        detail=_text(headers, DETAIL),
        timestamp_ms=parse_timestamp_ms(last_header(headers, TIMESTAMP)),
        group=_text(headers, GROUP),
        failed_at=parse_time(_text(headers, FAILED_AT)),
        attempt=attempt_of(headers),
        consumer_version=_text(headers, CONSUMER_VERSION),
        truncation=truncation_of(headers),
    )


def attempt_of(headers: Headers) -> int:
    """Return how often the record has failed, 0 where no readable header says so."""
    written = last_header(headers, ATTEMPT)
    return int(written) if written is not None and _ATTEMPT.fullmatch(written) else 0


def truncation_of(headers: Headers) -> Truncation | None:
    """Return what was cut, None where nothing was, or where the headers cannot be read."""
    digest = last_header(headers, SHA256)
    size = _number(headers, SIZE)
    parts = frozenset(_PARTS.get(name) for name in _text(headers, TRUNCATED).split(","))
    if digest is None or not _SHA256.fullmatch(digest) or size is None:
        return None
    known = frozenset(part for part in parts if part is not None)
    return Truncation(known, size, digest.decode()) if known == parts else None


def truncation_headers(truncation: Truncation) -> Headers:
    """Return the headers that say what was cut."""
    names = ",".join(part for part in Part if part in truncation.parts)
    return (
        (TRUNCATED, names.encode()),
        (SIZE, str(truncation.size).encode()),
        (SHA256, truncation.sha256.encode()),
    )


def _text(headers: Headers, name: str) -> str:
    return (last_header(headers, name) or b"").decode(errors="replace")


def _number(headers: Headers, name: str) -> int | None:
    written = last_header(headers, name)
    return int(written) if written is not None and _NUMBER.fullmatch(written) else None
