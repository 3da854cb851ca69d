"""Letters counted by what they have in common. Pure; as large as there are groups, not letters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from consumer.commands.dead_letters.dead_letter_record import DeadLetterRecord, UnreadableDeadLetter
from consumer.commands.dead_letters.dead_letter_selection import UNREADABLE
from consumer.commands.dead_letters.dead_letter_status import DeadLetterStatus
from consumer.contract.record import Position


class GroupKey(NamedTuple):
    """What the letters of a group share. ``hour``: of the failure, in UTC.

    ``fate`` is None where they wait. An unreadable letter's topic is empty and its hour is
    that of the letter itself; None where that has no time either.
    """

    fate: DeadLetterStatus | None
    reason: str
    topic: str
    hour: datetime | None


@dataclass(slots=True)
class Group:
    """How many letters share a key. ``copies`` of one failure beyond its first are among them."""

    first: Position
    letters: int = 0
    copies: int = 0
    truncated: int = 0
    attempts: int = 0
    """The highest number of failures of one record."""


@dataclass(slots=True)
class Groups:
    """All groups of a listing."""

    groups: dict[GroupKey, Group] = field(default_factory=dict)

    def add(
        self,
        letter: DeadLetterRecord | UnreadableDeadLetter,
        fate: DeadLetterStatus | None,
        *,
        copy: bool,
    ) -> None:
        """Count a letter."""
        key = _key(letter, fate)
        group = self.groups.get(key)
        if group is None:
            group = self.groups[key] = Group(letter.position)
        group.letters += 1
        group.copies += copy
        if isinstance(letter, DeadLetterRecord):
            group.truncated += letter.truncated
            group.attempts = max(group.attempts, letter.attempt)

    def __iter__(self) -> Iterator[tuple[GroupKey, Group]]:
        """Yield the groups: by fate, the waiting first, by reason, topic and hour."""
        return iter(sorted(self.groups.items(), key=_order))

    @property
    def letters(self) -> int:
        """All letters."""
        return sum(group.letters for group in self.groups.values())

    @property
    def copies(self) -> int:
        """All letters that repeat another one's failure."""
        return sum(group.copies for group in self.groups.values())


def _order(item: tuple[GroupKey, Group]) -> tuple[str, str, str, float]:
    fate, reason, topic, hour = item[0]
    return fate or "", reason, topic, hour.timestamp() if hour else 0.0


def _key(
    letter: DeadLetterRecord | UnreadableDeadLetter, fate: DeadLetterStatus | None
) -> GroupKey:
    if isinstance(letter, UnreadableDeadLetter):
        return GroupKey(fate, UNREADABLE, "", _hour(letter.sent_at))
    return GroupKey(fate, letter.reason, letter.origin.topic, _hour(letter.failed_at))


def _hour(moment: datetime | None) -> datetime | None:
    if moment is None:
        return None
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
