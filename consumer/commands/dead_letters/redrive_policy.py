"""What is to be done with a letter that a redrive meets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from consumer.commands.dead_letters.dead_letter_record import DeadLetterRecord, UnreadableDeadLetter
from consumer.commands.dead_letters.dead_letter_status import DeadLetterStatus
from consumer.commands.dead_letters.redriven_record import Destination, parked, redriven
from consumer.commands.dead_letters.status_index import StatusIndex
from consumer.commands.dead_letters.transform import RepairError, Transform, repair
from consumer.contract.rejection import KeyPolicy
from consumer.kafka.producer import OutgoingRecord


class SkipReason(StrEnum):
    """Why a letter stays where it is, and that is right so."""

    REDRIVEN = "redriven_before"
    PARKED = "parked_before"
    DISCARDED = "discarded_before"
    UNKNOWN = "unknown_state"
    COPY = "copies"
    SKIPPED = "skipped_by_transform"


class RefusalReason(StrEnum):
    """Why a letter that should go back cannot."""

    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"
    OTHER_TOPIC = "other_topic"
    NO_TOPIC = "no_topic"
    COMPACTED = "compacted_topic"
    TRANSFORM = "transform"
    BROKER = "broker"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A letter that should go back and cannot. ``detail`` quotes no values."""

    cause: RefusalReason
    detail: str


@dataclass(frozen=True, slots=True)
class Redrive:
    """A letter with the record to send for it, and what it is then."""

    letter: DeadLetterRecord
    record: OutgoingRecord
    fate: DeadLetterStatus


@dataclass(frozen=True, slots=True)
class RedriveRules:
    """What a redrive may do. ``destinations``: those of ``topics`` that exist, by name.

    ``topics`` are the ones the consumer reads. A letter from any other is not sent: nobody
    would read it there, and whoever can write letters could write to any topic through us.
    ``parking_topic`` is None where the letters are read from there.
    """

    topics: frozenset[str]
    destinations: Mapping[str, Destination]
    parking_topic: str | None
    max_attempts: int
    key_policy: KeyPolicy = KeyPolicy.WARN
    transform: Transform | None = None
    again: bool = False
    """Also what was redriven or parked before."""
    dealt_with: bool = False
    """Also whatever has any fate."""


class RedrivePolicy:
    """Decides about letters one by one, knowing what became of them and which it has met."""

    def __init__(self, policy: RedriveRules, memory: StatusIndex) -> None:
        """``memory`` holds the fates of earlier runs."""
        self._policy = policy
        self._memory = memory

    def judge(
        self, letter: DeadLetterRecord | UnreadableDeadLetter, now_ms: int
    ) -> Redrive | SkipReason | Refusal:
        """Return what is to be done. ``now_ms``: the time, in milliseconds since the epoch."""
        fate = self._memory.fate(letter.state_key)
        if (left := self._settled(fate)) is not None:
            return left
        if isinstance(letter, UnreadableDeadLetter):
            return Refusal(RefusalReason.UNREADABLE, letter.problem)
        if letter.truncated:
            return Refusal(RefusalReason.TRUNCATED, "only the beginning of the record was kept")
        refused = self._unusable_topic(letter.origin.topic)
        if refused is not None:
            return refused
        # Only now: a whole letter must not be taken for the copy of a truncated one.
        if not self._memory.first_seen(letter.state_key):
            return SkipReason.COPY
        return self._sendable(letter, now_ms)

    def _settled(self, fate: DeadLetterStatus | None) -> SkipReason | None:
        policy = self._policy
        match fate:
            case None:
                return None
            case DeadLetterStatus.REDRIVEN:
                return None if policy.again or policy.dealt_with else SkipReason.REDRIVEN
            case DeadLetterStatus.PARKED:
                return None if policy.again or policy.dealt_with else SkipReason.PARKED
            case DeadLetterStatus.DISCARDED:
                return None if policy.dealt_with else SkipReason.DISCARDED
            case DeadLetterStatus.UNKNOWN:
                return None if policy.dealt_with else SkipReason.UNKNOWN

    def _unusable_topic(self, topic: str) -> Refusal | None:
        if topic not in self._policy.topics:
            return Refusal(RefusalReason.OTHER_TOPIC, "its topic is none of kafka.topics")
        if topic not in self._policy.destinations:
            return Refusal(RefusalReason.NO_TOPIC, "its topic does not exist any more")
        if self._policy.destinations[topic].compacted:
            return Refusal(
                RefusalReason.COMPACTED, "its topic is compacted and would keep one a session"
            )
        return None

    def _sendable(self, letter: DeadLetterRecord, now_ms: int) -> Redrive | SkipReason | Refusal:
        policy = self._policy
        # Every attempt but the first was a coming back.
        if policy.parking_topic is not None and letter.attempt > policy.max_attempts:
            return Redrive(letter, parked(letter, policy.parking_topic), DeadLetterStatus.PARKED)
        content = letter.failed
        if policy.transform is not None:
            try:
                repaired = repair(policy.transform, letter, policy.key_policy)
            except RepairError as error:
                return Refusal(RefusalReason.TRANSFORM, str(error))
            if repaired is None:
                return SkipReason.SKIPPED
            content = repaired
        destination = policy.destinations[letter.origin.topic]
        return Redrive(
            letter, redriven(letter, content, destination, now_ms), DeadLetterStatus.REDRIVEN
        )
