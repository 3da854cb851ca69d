"""What is to be done with a letter that a redrive meets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from consumer.commands.dead_letters.dead_letter_record import Letter, Unreadable
from consumer.commands.dead_letters.dead_letter_status import Fate
from consumer.commands.dead_letters.redriven_record import (
    Destination,
    OutgoingRecord,
    parked,
    redriven,
)
from consumer.commands.dead_letters.status_index import Memory
from consumer.commands.dead_letters.transform import RepairError, Transform, repair
from consumer.contract.rejection import KeyPolicy


class Left(StrEnum):
    """Why a letter stays where it is, and that is right so."""

    REDRIVEN = "redriven_before"
    PARKED = "parked_before"
    DISCARDED = "discarded_before"
    UNKNOWN = "unknown_state"
    COPY = "copies"
    SKIPPED = "skipped_by_transform"


class Cause(StrEnum):
    """Why a letter that should go back cannot."""

    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"
    OTHER_TOPIC = "other_topic"
    NO_TOPIC = "no_topic"
    COMPACTED = "compacted_topic"
    TRANSFORM = "transform"
    BROKER = "broker"


@dataclass(frozen=True, slots=True)
class Refused:
    """A letter that should go back and cannot. ``detail`` quotes no values."""

    cause: Cause
    detail: str


@dataclass(frozen=True, slots=True)
class ToSend:
    """A letter with the record to send for it, and what it is then."""

    letter: Letter
    record: OutgoingRecord
    fate: Fate


@dataclass(frozen=True, slots=True)
class Policy:
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


class Judge:
    """Decides about letters one by one, knowing what became of them and which it has met."""

    def __init__(self, policy: Policy, memory: Memory) -> None:
        """``memory`` holds the fates of earlier runs."""
        self._policy = policy
        self._memory = memory

    def judge(self, letter: Letter | Unreadable, now_ms: int) -> ToSend | Left | Refused:
        """Return what is to be done. ``now_ms``: the time, in milliseconds since the epoch."""
        fate = self._memory.fate(letter.state_key)
        if (left := self._settled(fate)) is not None:
            return left
        if isinstance(letter, Unreadable):
            return Refused(Cause.UNREADABLE, letter.problem)
        if letter.truncated:
            return Refused(Cause.TRUNCATED, "only the beginning of the record was kept")
        refused = self._unusable_topic(letter.origin.topic)
        if refused is not None:
            return refused
        # Only now: a whole letter must not be taken for the copy of a truncated one.
        if not self._memory.meet(letter.state_key):
            return Left.COPY
        return self._sendable(letter, now_ms)

    def _settled(self, fate: Fate | None) -> Left | None:
        policy = self._policy
        match fate:
            case None:
                return None
            case Fate.REDRIVEN:
                return None if policy.again or policy.dealt_with else Left.REDRIVEN
            case Fate.PARKED:
                return None if policy.again or policy.dealt_with else Left.PARKED
            case Fate.DISCARDED:
                return None if policy.dealt_with else Left.DISCARDED
            case Fate.UNKNOWN:
                return None if policy.dealt_with else Left.UNKNOWN

    def _unusable_topic(self, topic: str) -> Refused | None:
        if topic not in self._policy.topics:
            return Refused(Cause.OTHER_TOPIC, "its topic is none of kafka.topics")
        if topic not in self._policy.destinations:
            return Refused(Cause.NO_TOPIC, "its topic does not exist any more")
        if self._policy.destinations[topic].compacted:
            return Refused(Cause.COMPACTED, "its topic is compacted and would keep one a session")
        return None

    def _sendable(self, letter: Letter, now_ms: int) -> ToSend | Left | Refused:
        policy = self._policy
        # Every attempt but the first was a coming back.
        if policy.parking_topic is not None and letter.attempt > policy.max_attempts:
            return ToSend(letter, parked(letter, policy.parking_topic), Fate.PARKED)
        content = letter.failed
        if policy.transform is not None:
            try:
                repaired = repair(policy.transform, letter, policy.key_policy)
            except RepairError as error:
                return Refused(Cause.TRANSFORM, str(error))
            if repaired is None:
                return Left.SKIPPED
            content = repaired
        destination = policy.destinations[letter.origin.topic]
        return ToSend(letter, redriven(letter, content, destination, now_ms), Fate.REDRIVEN)
