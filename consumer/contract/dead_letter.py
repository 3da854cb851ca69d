"""What a dead letter carries: the record as it came, and why and where it failed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

from consumer.contract import dead_letter_headers as names
from consumer.contract.dead_letter_headers import (
    MAX_ATTEMPT,
    Part,
    Truncation,
    attempt_of,
    truncation_headers,
    truncation_of,
)
from consumer.contract.record import Headers, Position, Record
from consumer.contract.record_time import effective_timestamp_ms
from consumer.contract.rejection import Reason, Rejected
from consumer.contract.rfc3339 import format_time

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
    max_bytes: int | None = None,
) -> DeadLetter:
    """Return the letter, shortened where it would be larger than ``max_bytes``, if any are given.

    Each header of ours stands on it once, behind the record's other ones. A letter that had
    been cut before it was sent back goes on saying so: its value is no more whole than it was.
    """
    timestamp_ms = effective_timestamp_ms(record)
    said = {
        names.REASON: rejected.reason.value,
        names.DETAIL: _one_line(rejected.detail),
        names.TOPIC: record.topic,
        names.PARTITION: str(record.partition),
        names.OFFSET: str(record.offset),
        names.TIMESTAMP: str(record.timestamp_ms if timestamp_ms is None else timestamp_ms),
        names.GROUP: group,
        names.FAILED_AT: format_time(failed_at),
        names.ATTEMPT: str(min(attempt_of(record.headers) + 1, MAX_ATTEMPT)),
        names.CONSUMER_VERSION: consumer_version,
    }
    headers = _without(record.headers, names.NAMES)
    headers += tuple((name, text.encode()) for name, text in said.items())
    truncation = truncation_of(record.headers)
    if truncation is not None:
        headers += truncation_headers(truncation)
    letter = DeadLetter(record.key, record.value, headers, record.position)
    return letter if max_bytes is None else shortened(letter, max_bytes)


def smallest_letter_bytes(topics: Iterable[str], group: str, consumer_version: str) -> int:
    """Return the most that a letter takes when everything is cut that can be cut."""
    topic = max(topics, key=len, default="")
    longest = Record(topic, 2**31 - 1, 2**63 - 1, -(2**63), b"", b"")
    whole = Truncation(frozenset(Part), 2**63 - 1, "0" * 64)
    headers = ((names.ATTEMPT, str(MAX_ATTEMPT).encode()), *truncation_headers(whole))
    letter = dead_letter(
        replace(longest, headers=headers),
        Rejected(max(Reason, key=len), "x" * MAX_DETAIL_BYTES),
        group=group,
        failed_at=datetime.max.replace(tzinfo=UTC),
        consumer_version=consumer_version,
    )
    return serialized_size(None, None, letter.headers)


def shortened(letter: DeadLetter, max_bytes: int) -> DeadLetter:
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
        if header[0] in names.NAMES and header[0] not in names.TRUNCATION_NAMES
    )
    foreign = _without(letter.headers, names.NAMES)
    truncation = truncation_of(letter.headers) or _uncut(letter.value)
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


def _uncut(value: bytes | None) -> Truncation:
    content = value or b""
    return Truncation(frozenset(), len(content), sha256(content).hexdigest())


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


def _without(headers: Headers, unwanted: frozenset[str]) -> Headers:
    return tuple(header for header in headers if header[0] not in unwanted)


def _one_line(detail: str) -> str:
    """Return the detail without control characters, cut to what a header may take."""
    encoded = _CONTROL.sub(" ", detail).encode(errors="replace")
    return encoded[:MAX_DETAIL_BYTES].decode(errors="ignore")
