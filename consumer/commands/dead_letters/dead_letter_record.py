"""A record of the dead-letter topic, read as what it says of the record that failed. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from consumer.commands.dead_letters.dead_letter_status import digest_of, letter_key, origin_key
from consumer.contract.dead_letter import (
    NAMES,
    TRUNCATION_NAMES,
    DeadLetterInfo,
    origin_of,
)
from consumer.contract.record import Headers, Position, Record
from consumer.contract.times import usable_time

UNKNOWN: Final = "unknown"
"""Stands for a reason that this version does not know."""


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
    """A letter that says where its record comes from.

    ``timestamp_ms`` is the time of the first record, however often it was sent back since;
    ``attempt`` how often it has failed. Of a ``truncated`` one only the beginning is there.
    """

    record: Record
    origin: Position
    reason: str
    detail: str
    timestamp_ms: int
    failed_at: datetime
    attempt: int
    truncated: bool

    @property
    def position(self) -> Position:
        """Where the letter lies."""
        return self.record.position

    @property
    def key(self) -> bytes | None:
        """The failed record's key."""
        return self.record.key

    @property
    def failed(self) -> FailedRecord:
        """The record that failed."""
        record = self.record
        foreign = tuple(header for header in record.headers if header[0] not in NAMES)
        return FailedRecord(
            record.key, record.value, foreign, self.reason, self.detail, self.origin
        )

    @property
    def state_key(self) -> bytes:
        """What tells this failure from all others, and is the same for its copies."""
        record = self.record
        # What is ours says where, when and why it failed, and copies differ in it.
        foreign = tuple(header for header in record.headers if header[0] not in NAMES)
        digest = digest_of(record.key, record.value, foreign)
        return origin_key(self.origin, self.timestamp_ms, self.attempt, digest)


@dataclass(frozen=True, slots=True)
class UnreadableDeadLetter:
    """A record whose headers do not tell where it comes from; it can only be discarded."""

    record: Record
    problem: str

    @property
    def position(self) -> Position:
        """Where the letter lies."""
        return self.record.position

    @property
    def sent_at(self) -> datetime | None:
        """When it came to the dead-letter topic, None where its timestamp does not tell."""
        return usable_time(self.record.timestamp_ms)

    @property
    def state_key(self) -> bytes:
        """What tells this letter from all others."""
        record = self.record
        digest = digest_of(record.key, record.value, record.headers)
        return letter_key(self.position, record.timestamp_ms, digest)


def read_letter(record: Record) -> DeadLetterRecord | UnreadableDeadLetter:
    """Read a record of the dead-letter topic."""
    info = origin_of(record.headers)
    if info is None:
        return UnreadableDeadLetter(record, "its headers name no origin")
    if info.timestamp_ms is None:
        return UnreadableDeadLetter(record, "its header dlq-timestamp cannot be read")
    failed_at = info.failed_at or usable_time(record.timestamp_ms)
    if failed_at is None:
        return UnreadableDeadLetter(record, "its header dlq-failed-at cannot be read")
    return _letter(record, info, info.timestamp_ms, failed_at)


def _letter(
    record: Record, info: DeadLetterInfo, timestamp_ms: int, failed_at: datetime
) -> DeadLetterRecord:
    return DeadLetterRecord(
        record=record,
        origin=info.origin,
        reason=UNKNOWN if info.reason is None else info.reason.value,
        detail=info.detail,
        timestamp_ms=timestamp_ms,
        failed_at=failed_at,
        # That it lies here proves one failure, whatever its header says.
        attempt=max(info.attempt, 1),
        # Any trace of a cut counts, even one that cannot be read: half a message is not sent.
        truncated=any(name in TRUNCATION_NAMES for name, _ in record.headers),
    )
