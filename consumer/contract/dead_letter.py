"""What a dead letter carries: the record as it came, cut where it must be, and why it failed.

Its headers are written here and read here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from typing import Final

from consumer.contract.record import Headers, Position, Record, last_header
from consumer.contract.rejection import Reason, Rejected
from consumer.contract.times import (
    effective_timestamp_ms,
    format_time,
    parse_time,
    parse_timestamp_ms,
)

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


MAX_DETAIL_BYTES: Final = 512

_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")

_BATCH_BYTES: Final = 61
_RECORD_BYTES: Final = 1 + 5 + 10 + 5 + 5 + 5 + 5
"""Attributes, and the varints of length, time, offset, key, value and number of headers."""
_HEADER_BYTES: Final = 5 + 5
"""The varints of the lengths of a name and a value, at their longest."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record for the dead-letter topic. ``origin`` tells one failure's copies from another's."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    origin: Position


def dead_letter(
    record: Record,
    rejected: Rejected,
    *,
    group: str,
    failed_at: datetime,
    consumer_version: str,
) -> DeadLetter:
    """Return the letter, however large it is.

    Each header of ours stands on it once, behind the record's other ones. A letter that had
    been cut before it was sent back goes on saying so: its value is no more whole than it was.
    """
    timestamp_ms = effective_timestamp_ms(record)
    said = {
        REASON: rejected.reason.value,
        DETAIL: _one_line(rejected.detail),
        TOPIC: record.topic,
        PARTITION: str(record.partition),
        OFFSET: str(record.offset),
        TIMESTAMP: str(record.timestamp_ms if timestamp_ms is None else timestamp_ms),
        GROUP: group,
        FAILED_AT: format_time(failed_at),
        ATTEMPT: str(min(attempt_of(record.headers) + 1, MAX_ATTEMPT)),
        CONSUMER_VERSION: consumer_version,
    }
    headers = _foreign(record.headers)
    headers += tuple((name, text.encode()) for name, text in said.items())
    truncation = truncation_of(record.headers)
    if truncation is not None:
        headers += truncation_headers(truncation)
    return DeadLetter(record.key, record.value, headers, record.position)


def min_dead_letter_bytes(topics: Iterable[str], group: str, consumer_version: str) -> int:
    """Return the most that a letter takes when everything is cut that can be cut."""
    topic = max(topics, key=len, default="")
    longest = Record(topic, 2**31 - 1, 2**63 - 1, -(2**63), b"", b"")
    whole = Truncation(frozenset(Part), 2**63 - 1, "0" * 64)
    headers = ((ATTEMPT, str(MAX_ATTEMPT).encode()), *truncation_headers(whole))
    letter = dead_letter(
        longest._replace(headers=headers),
        Rejected(max(Reason, key=len), "x" * MAX_DETAIL_BYTES),
        group=group,
        failed_at=datetime.max.replace(tzinfo=UTC),
        consumer_version=consumer_version,
    )
    return serialized_size(None, None, letter.headers)


def truncate(letter: DeadLetter, max_bytes: int) -> DeadLetter:
    """Return the letter, cut to ``max_bytes`` where it is larger.

    The beginnings of the key, of the value and of the foreign headers stay, as much of each
    as its fair share allows; the headers of ours stay whole, so that less than they take
    cannot be had. What was cut, and what the value was, is said by three headers more.
    """
    if serialized_size(letter.key, letter.value, letter.headers) <= max_bytes:
        return letter
    own = tuple(
        header
        for header in letter.headers
        if header[0] in NAMES and header[0] not in TRUNCATION_NAMES
    )
    foreign = _foreign(letter.headers)
    truncation = truncation_of(letter.headers)
    if truncation is None:
        content = letter.value or b""
        truncation = Truncation(frozenset(), len(content), sha256(content).hexdigest())
    longest = Truncation(frozenset(Part), truncation.size, truncation.sha256)
    room = max_bytes - serialized_size(None, None, own + truncation_headers(longest))
    key, value, kept = _cut(letter, foreign, max(0, room))
    parts = truncation.parts.union(
        part
        for part, before, after in (
            (Part.KEY, letter.key, key),
            (Part.VALUE, letter.value, value),
            (Part.HEADERS, foreign, kept),
        )
        if before != after
    )
    cut = Truncation(parts, truncation.size, truncation.sha256)
    return DeadLetter(key, value, kept + own + truncation_headers(cut), letter.origin)


def serialized_size(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """Return how many bytes a batch of this one record takes at most, uncompressed."""
    return _BATCH_BYTES + _RECORD_BYTES + len(key or b"") + len(value or b"") + _size(headers)


def _size(headers: Headers) -> int:
    return sum(
        _HEADER_BYTES + len(name.encode(errors="surrogatepass")) + len(value or b"")
        for name, value in headers
    )


def _cut(
    letter: DeadLetter, foreign: Headers, room: int
) -> tuple[bytes | None, bytes | None, Headers]:
    """Return the beginnings of key, value and headers that fit into ``room`` together."""
    key, value = letter.key or b"", letter.value or b""
    key_room, _, headers_room = _fair_shares(room, (len(key), len(value), _size(foreign)))
    kept = _beginning(foreign, headers_room)
    # Headers are dropped whole: what that leaves of their share is the value's.
    value_room = room - min(len(key), key_room) - _size(kept)
    return (
        None if letter.key is None else key[:key_room],
        None if letter.value is None else value[:value_room],
        kept,
    )


def _fair_shares(room: int, sizes: Sequence[int]) -> list[int]:
    """Share ``room`` out so that no part is cut to less than one that stays larger."""
    shares = [0] * len(sizes)
    for waiting, index in zip(
        range(len(sizes), 0, -1), sorted(range(len(sizes)), key=sizes.__getitem__), strict=True
    ):
        shares[index] = min(sizes[index], room // waiting)
        room -= shares[index]
    return shares


def _beginning(headers: Headers, room: int) -> Headers:
    for index, header in enumerate(headers):
        room -= _size((header,))
        if room < 0:
            return headers[:index]
    return headers


def _foreign(headers: Headers) -> Headers:
    return tuple(header for header in headers if header[0] not in NAMES)


def _one_line(detail: str) -> str:
    """Return the detail without control characters, cut to what a header may take."""
    encoded = _CONTROL.sub(" ", detail).encode(errors="replace")
    return encoded[:MAX_DETAIL_BYTES].decode(errors="ignore")
