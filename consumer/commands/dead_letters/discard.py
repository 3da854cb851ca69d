"""Marking letters as dealt with, so that nothing lists or sends them any more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from consumer.commands.dead_letters.dead_letter_record import DeadLetterRecord, UnreadableDeadLetter
from consumer.commands.dead_letters.dead_letter_status import DeadLetterStatus, StatusRecord
from consumer.commands.dead_letters.outbox import Outbox, write_statuses
from consumer.commands.dead_letters.status_index import StatusIndex


@dataclass(slots=True)
class DiscardTally:
    """What became of the letters that were selected.

    ``unconfirmed``: whether the state topic has their marks is not known.
    """

    selected: int = 0
    discarded: int = 0
    unconfirmed: int = 0
    copies: int = 0
    dealt_with_before: int = 0


@dataclass(slots=True)
class Discard:
    """One run. ``outbox`` None: a rehearsal. ``dealt_with``: also what has another fate."""

    memory: StatusIndex
    outbox: Outbox | None
    state_topic: str
    because: str
    dealt_with: bool
    now: Callable[[], datetime]
    tally: DiscardTally = field(default_factory=DiscardTally)

    async def run(
        self, batches: AsyncIterator[Sequence[DeadLetterRecord | UnreadableDeadLetter]]
    ) -> DiscardTally:
        """Discard every letter of the batches. Raises ``NotSentError``."""
        tally = self.tally
        async for letters in batches:
            tally.selected += len(letters)
            entries = [entry for letter in letters if (entry := self._entry(letter, tally))]
            tally.unconfirmed = len(entries)
            if self.outbox is not None:
                await write_statuses(self.outbox, self.state_topic, entries)
            tally.unconfirmed = 0
            tally.discarded += len(entries)
        return tally

    def _entry(
        self, letter: DeadLetterRecord | UnreadableDeadLetter, tally: DiscardTally
    ) -> StatusRecord | None:
        key = letter.state_key
        fate = self.memory.fate(key)
        if fate is DeadLetterStatus.DISCARDED or (fate is not None and not self.dealt_with):
            tally.dealt_with_before += 1
            return None
        if not self.memory.first_seen(key):
            tally.copies += 1
            return None
        return StatusRecord(
            key, DeadLetterStatus.DISCARDED, letter.position, self.now(), because=self.because
        )
