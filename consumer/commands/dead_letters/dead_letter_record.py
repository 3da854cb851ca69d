"""A record of the dead-letter topic: what it says of the record that failed. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from consumer.contract.dead_letter import ATTEMPT, NAMES, TRUNCATION_NAMES, origin_of
from consumer.contract.record import Headers, Position, Record
from consumer.contract.times import REDRIVE_TIMESTAMP, usable_time

UNKNOWN: Final = "unknown"
"""Stands for a reason that this version does not know."""

UNREADABLE: Final = "unreadable"
"""Stands where a reason would, for a dead letter whose headers do not tell one."""


@dataclass(frozen=True, slots=True)
class FailedRecord:
    """The record that failed, byte for byte as it came, and why it did.

    ``headers`` are those it came with, in their order; a header may repeat, and its value may
    be None. ``reason`` is that of ``dlq-reason``; ``detail`` names fields; ``origin`` is the
    topic, partition and offset it had.
    """

    key: bytes | None
    value: bytes | None
    headers: Headers
    reason: str
    detail: str
    origin: Position


@dataclass(frozen=True, slots=True)
class DeadLetterRecord:
    """A dead letter that says where its record comes from.

    ``timestamp_ms`` is the time of the first record, however often it was sent back since;
    ``attempt`` how often it has failed. Of a ``truncated`` one only the beginning is there.
    """

    record: Record
    failed: FailedRecord
    timestamp_ms: int
    failed_at: datetime
    attempt: int
    truncated: bool

    @property
    def failure_key(self) -> bytes:
        """What tells this failure from all others, and is the same for its copies.

        Copies differ in our headers, which say where, when and why it failed; a record of a
        topic that was deleted and made anew differs in its content, also without a timestamp.
        """
        failed = self.failed
        digest = _digest(failed.key, failed.value, failed.headers)
        return json_bytes([*failed.origin, self.timestamp_ms, self.attempt, digest])

    def redriven_headers(self, came_with: Headers) -> Headers:
        """Return the headers of the record that goes back.

        Those it first came with, in their order, nulls and repetitions included; of the
        consumer's own only ``dlq-attempt``, on which its next failure counts on; and its first
        timestamp, once, whatever it carried already.
        """
        ours = NAMES | {REDRIVE_TIMESTAMP}
        return (
            *(header for header in came_with if header[0] not in ours),
            (ATTEMPT, str(self.attempt).encode()),
            (REDRIVE_TIMESTAMP, str(self.timestamp_ms).encode()),
        )


@dataclass(frozen=True, slots=True)
class UnreadableDeadLetter:
    """A record whose headers do not tell where it comes from; it can only be discarded."""

    record: Record
    problem: str

    @property
    def failure_key(self) -> bytes:
        """What tells this dead letter from all others.

        Its position alone would be that of another one once the topic has been made anew.
        """
        record = self.record
        digest = _digest(record.key, record.value, record.headers)
        return json_bytes(["letter", *record.position, record.timestamp_ms, digest])


AnyDeadLetter = DeadLetterRecord | UnreadableDeadLetter


def read_dead_letter(record: Record) -> AnyDeadLetter:
    """Read a record of the dead-letter topic."""
    info = origin_of(record.headers)
    if info is None:
        return UnreadableDeadLetter(record, "its headers name no origin")
    if info.timestamp_ms is None:
        return UnreadableDeadLetter(record, "its header dlq-timestamp cannot be read")
    failed_at = info.failed_at or usable_time(record.timestamp_ms)
    if failed_at is None:
        return UnreadableDeadLetter(record, "its header dlq-failed-at cannot be read")
    foreign = tuple(header for header in record.headers if header[0] not in NAMES)
    reason = UNKNOWN if info.reason is None else info.reason.value
    return DeadLetterRecord(
        record,
        FailedRecord(record.key, record.value, foreign, reason, info.detail, info.origin),
        info.timestamp_ms,
        failed_at,
        # That it lies here proves one failure, whatever its header says.
        attempt=max(info.attempt, 1),
        # Any trace of a cut counts, even one that cannot be read: half a message is not sent.
        truncated=any(name in TRUNCATION_NAMES for name, _ in record.headers),
    )


def _digest(key: bytes | None, value: bytes | None, headers: Headers) -> str:
    """Return a digest of a record's content: 32 hexadecimal digits."""
    hashed = hashlib.blake2b(digest_size=16)
    for name, content in (("", key), ("", value), *headers):
        for part in (name.encode(errors="surrogatepass"), content):
            # With lengths in front, no two contents are the same run of bytes.
            hashed.update(b"-" if part is None else b"%d:" % len(part))
            hashed.update(part or b"")
    return hashed.hexdigest()


def json_bytes(content: object) -> bytes:
    """Return the JSON of the status topic's keys and values."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(
        errors="surrogatepass"
    )
