"""What is done with each dead letter: send its record back, park it, discard it, or leave it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from consumer.commands.dead_letters.context import DeadLetterContext
from consumer.commands.dead_letters.dead_letter_record import (
    AnyDeadLetter,
    DeadLetterRecord,
    FailedRecord,
    UnreadableDeadLetter,
)
from consumer.commands.dead_letters.dead_letter_status import DeadLetterStatus, StatusIndex
from consumer.commands.dead_letters.transform import Transform, TransformError, transformed
from consumer.contract.record import NO_TIMESTAMP
from consumer.kafka.admin import TopicDescription
from consumer.kafka.producer import OutgoingRecord

RETENTION: Final = "retention.ms"

_HOUR_MS: Final = 3_600_000
_ANY_AGE_MS: Final = 2**63 - 1


class SkipReason(StrEnum):
    """Why a dead letter stays where it is, and that is right so."""

    COPY = "copies"
    TRANSFORM = "skipped_by_transform"


class RefusalReason(StrEnum):
    """Why the record of a dead letter should go back and cannot."""

    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"
    OTHER_TOPIC = "other_topic"
    NO_TOPIC = "no_topic"
    COMPACTED = "compacted_topic"
    TRANSFORM = "transform"
    BROKER = "broker"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record that should go back and cannot. ``detail`` quotes no values."""

    reason: RefusalReason
    detail: str


@dataclass(frozen=True, slots=True)
class StatusChange:
    """A dead letter, the status it gets, and the record that is sent first, if any.

    ``reason``: why it is discarded.
    """

    dead_letter: AnyDeadLetter
    status: DeadLetterStatus
    record: OutgoingRecord | None = None
    reason: str | None = None


Decision = StatusChange | SkipReason | Refusal


def keeps_timestamp(topic: TopicDescription, timestamp_ms: int, now_ms: int) -> bool:
    """Return whether the topic takes a record so stamped, and keeps it until it has been read.

    Records are deleted by their timestamps. One that comes back a year later with its first
    timestamp would be gone within minutes, perhaps before it was read, so it goes with the
    clock's, and ``redrive-timestamp-ms`` keeps the first. Half the retention must be left: the
    consumer may lag, or be down for the repair.

    Where the brokers do not tell the retention, no timestamp is known to survive: they say
    nothing when they delete. How far a timestamp may be off they say by refusing it, so that
    Kafka's defaults do for that.
    """
    if timestamp_ms == NO_TIMESTAMP:  # the broker takes it as it is
        return True
    age_ms = now_ms - timestamp_ms
    ahead_ms = int(topic.configs.get("message.timestamp.after.max.ms", _HOUR_MS))
    behind_ms = int(topic.configs.get("message.timestamp.before.max.ms", _ANY_AGE_MS))
    keeps_ms = _ANY_AGE_MS if topic.retention_ms is None else topic.retention_ms // 2
    known = RETENTION in topic.configs
    return known and timestamp_ms >= 0 and -ahead_ms <= age_ms <= min(behind_ms, keeps_ms)


def redriven_record(
    dead_letter: DeadLetterRecord, content: FailedRecord, topic: TopicDescription, now_ms: int
) -> OutgoingRecord:
    """Return the record that goes back to the topic it came from, with this content.

    It goes to its key's partition, as its first producer's default would choose it, also when
    partitions have been added since; without a key to the partition it came from.
    """
    partition = None
    if content.key is None:
        partition = dead_letter.failed.origin.partition % topic.partitions
    keeps = keeps_timestamp(topic, dead_letter.timestamp_ms, now_ms)
    return OutgoingRecord(
        topic.name,
        partition,
        dead_letter.timestamp_ms if keeps else None,
        content.key,
        content.value,
        dead_letter.redriven_headers(content.headers),
    )


def parked_record(dead_letter: DeadLetterRecord, parking_topic: str) -> OutgoingRecord:
    """Return the dead letter itself, unchanged, for the parking topic."""
    record = dead_letter.record
    return OutgoingRecord(parking_topic, None, None, record.key, record.value, record.headers)


@dataclass(frozen=True, slots=True)
class RedrivePolicy:
    """Decides about dead letters one by one, by which it has seen.

    A record goes back to a topic that the consumer reads, and to no other: nobody would read it
    there, and whoever can write dead letters could write to any topic through us. What lies in
    the parking topic is not parked again.
    """

    context: DeadLetterContext
    transform: Transform | None = None

    def decide(self, dead_letter: AnyDeadLetter, now_ms: int) -> Decision:
        """Return what is to be done. ``now_ms``: the time, in milliseconds since the epoch."""
        if isinstance(dead_letter, UnreadableDeadLetter):
            return Refusal(RefusalReason.UNREADABLE, dead_letter.problem)
        if dead_letter.truncated:
            return Refusal(RefusalReason.TRUNCATED, "only the beginning of the record was kept")
        topic = self._usable_topic(dead_letter.failed.origin.topic)
        if isinstance(topic, Refusal):
            return topic
        # Only now: a whole dead letter must not be taken for the copy of a truncated one.
        if not self.context.statuses.first_seen(dead_letter.failure_key):
            return SkipReason.COPY
        request = self.context.request
        settings = request.settings.dead_letters
        # Every attempt but the first was a coming back.
        if not request.parked and dead_letter.attempt > settings.max_attempts:
            parked = parked_record(dead_letter, settings.parking_topic)
            return StatusChange(dead_letter, DeadLetterStatus.PARKED, parked)
        return self._redrive(dead_letter, topic, now_ms)

    def _usable_topic(self, name: str) -> TopicDescription | Refusal:
        if name not in self.context.request.settings.kafka.topics:
            return Refusal(RefusalReason.OTHER_TOPIC, "its topic is none of kafka.topics")
        topic = self.context.topics.get(name)
        if topic is None:
            return Refusal(RefusalReason.NO_TOPIC, "its topic is not there, or not to be seen")
        if topic.compacted:
            detail = "its topic is compacted and would keep one a session"
            return Refusal(RefusalReason.COMPACTED, detail)
        return topic

    def _redrive(
        self, dead_letter: DeadLetterRecord, topic: TopicDescription, now_ms: int
    ) -> Decision:
        content: FailedRecord | None = dead_letter.failed
        if self.transform is not None:
            key_policy = self.context.request.settings.kafka.key_policy
            try:
                content = transformed(self.transform, dead_letter, key_policy)
            except TransformError as error:
                return Refusal(RefusalReason.TRANSFORM, str(error))
        if content is None:
            return SkipReason.TRANSFORM
        record = redriven_record(dead_letter, content, topic, now_ms)
        return StatusChange(dead_letter, DeadLetterStatus.REDRIVEN, record)


def discard(statuses: StatusIndex, reason: str, dead_letter: AnyDeadLetter, _: int) -> Decision:
    """Mark the dead letter, of its copies one."""
    if not statuses.first_seen(dead_letter.failure_key):
        return SkipReason.COPY
    return StatusChange(dead_letter, DeadLetterStatus.DISCARDED, reason=reason)
