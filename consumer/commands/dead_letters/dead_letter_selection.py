"""Which dead letters a command is about: by reason, key, time of failure, origin, offset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from consumer.commands.dead_letters.dead_letter_record import (
    UNKNOWN,
    UNREADABLE,
    AnyDeadLetter,
    UnreadableDeadLetter,
)
from consumer.contract.record import Position
from consumer.contract.rejection import Reason
from consumer.settings.model import Settings

STATUS_TOPIC_SUFFIX: Final = ".redriven"

REASONS: Final = (*(reason.value for reason in Reason), UNKNOWN, UNREADABLE)


@dataclass(frozen=True, slots=True)
class OffsetSelector:
    """Offsets from ``first`` to ``last``, both inclusive. What is None does not matter."""

    topic: str | None = None
    partition: int | None = None
    first: int = 0
    last: int | None = None

    def selects(self, position: Position) -> bool:
        """Return whether the position is among them."""
        return (
            self.topic in {None, position.topic}
            and self.partition in {None, position.partition}
            and self.first <= position.offset
            and (self.last is None or position.offset <= self.last)
        )


@dataclass(frozen=True, slots=True)
class DeadLetterSelection:
    """Each filter that is set must hold; of one with several values any will do.

    ``since`` is inclusive and ``until`` exclusive; both are about when the record failed.
    ``offsets`` are those of the dead letters themselves. One that cannot be read has no reason,
    key or origin: it is selected by its offset, by the word ``unreadable`` for a reason, or
    where nothing else is asked for.
    """

    reasons: Sequence[str] = ()
    keys: Sequence[bytes] = ()
    since: datetime | None = None
    until: datetime | None = None
    origins: Sequence[OffsetSelector] = ()
    offsets: Sequence[OffsetSelector] = ()

    @property
    def everything(self) -> bool:
        """Whether no filter is set."""
        return self == DeadLetterSelection()

    def selects(self, dead_letter: AnyDeadLetter) -> bool:
        """Return whether the dead letter is meant."""
        if not _any_selects(self.offsets, dead_letter.record.position):
            return False
        if isinstance(dead_letter, UnreadableDeadLetter):
            named = UNREADABLE in self.reasons if self.reasons else True
            return named and not (self.keys or self.origins or self.since or self.until)
        return (
            (not self.reasons or dead_letter.failed.reason in self.reasons)
            and (not self.keys or dead_letter.record.key in self.keys)
            and (self.since is None or dead_letter.failed_at >= self.since)
            and (self.until is None or dead_letter.failed_at < self.until)
            and _any_selects(self.origins, dead_letter.failed.origin)
        )


def _any_selects(selectors: Sequence[OffsetSelector], position: Position) -> bool:
    return not selectors or any(one.selects(position) for one in selectors)


@dataclass(frozen=True, slots=True)
class DeadLetterRequest:
    """What every command is asked. ``parked``: about dead letters that were parked."""

    settings: Settings
    selection: DeadLetterSelection
    parked: bool = False
    as_json: bool = False

    @property
    def topic(self) -> str:
        """The topic that the dead letters are read from."""
        dead_letters = self.settings.dead_letters
        return dead_letters.parking_topic if self.parked else dead_letters.topic

    @property
    def status_topic(self) -> str:
        """The topic that says what became of them."""
        return self.topic + STATUS_TOPIC_SUFFIX
