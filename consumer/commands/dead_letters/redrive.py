"""Sending letters back: at a rate, up to a limit, each remembered once the broker has it.

The order of steps is what the promise rests on. A window of records is sent; when the
brokers have acknowledged it, the state topic is told; when that is acknowledged the next
window begins. A crash at any point leaves at most one window to be sent again.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol, assert_never

from consumer.commands.dead_letters.dead_letter_record import DeadLetterRecord, UnreadableDeadLetter
from consumer.commands.dead_letters.dead_letter_status import DeadLetterStatus, StatusRecord
from consumer.commands.dead_letters.outbox import NotSentError, Outbox, write_statuses
from consumer.commands.dead_letters.redrive_policy import (
    Redrive,
    RedrivePolicy,
    Refusal,
    RefusalReason,
    SkipReason,
)
from consumer.contract.record import Position
from consumer.kafka.producer import Delivery, Refused, Unconfirmed
from consumer.kafka.rate_limit import RateLimiter

WINDOW = 200
"""The most records in flight: so many a crash may send again."""

WINDOW_BYTES = 8 * 1024 * 1024
"""From so many bytes on a window is full, however few records it has."""


class Reporter(Protocol):
    """Told what happens to letters, one by one."""

    def sending(self, redrive: Redrive) -> None:
        """The record is about to be sent, or would be."""
        ...

    def refused(self, letter: DeadLetterRecord | UnreadableDeadLetter, refused: Refusal) -> None:
        """The letter should go back and cannot."""
        ...


@dataclass(slots=True)
class Tally:
    """What became of the letters that were selected. ``clock``: sent with the clock's time.

    ``unconfirmed``: sent, and whether the brokers have them is not known. ``unremembered``:
    sent and acknowledged, without a mark that the state topic has acknowledged.
    """

    selected: int = 0
    fates: Counter[DeadLetterStatus] = field(default_factory=Counter)
    left: Counter[SkipReason] = field(default_factory=Counter)
    refused: Counter[RefusalReason] = field(default_factory=Counter)
    clock: int = 0
    unconfirmed: int = 0
    unremembered: int = 0
    limit_reached: bool = False


def utc_now() -> datetime:
    """Return the time."""
    return datetime.fromtimestamp(time.time(), UTC)


@dataclass(slots=True)
class RedriveRun:
    """One run. ``outbox`` None: a rehearsal, in which nothing is sent or remembered.

    ``limit``: after so many records no more are sent. ``ready_to_park`` is awaited before the
    first letter is parked.
    """

    judge: RedrivePolicy
    outbox: Outbox | None
    state_topic: str
    reporter: Reporter
    limiter: RateLimiter
    limit: int | None = None
    ready_to_park: Callable[[], Awaitable[None]] | None = None
    window: int = WINDOW
    now: Callable[[], datetime] = utc_now
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    tally: Tally = field(default_factory=Tally)
    _window: list[Redrive] = field(default_factory=list)
    _window_bytes: int = 0
    _taken: int = 0

    async def run(
        self, batches: AsyncIterator[Sequence[DeadLetterRecord | UnreadableDeadLetter]]
    ) -> None:
        """RedriveRun every selected letter of the batches, up to the limit.

        Raises ``NotSentError``. Interrupted, it still settles what is in flight.
        """
        try:
            async for letters in batches:
                for letter in letters:
                    await self._meet(letter)
                    if self.tally.limit_reached:
                        return
                await self._settle()
        finally:
            await self._settle()

    async def _meet(self, letter: DeadLetterRecord | UnreadableDeadLetter) -> None:
        self.tally.selected += 1
        verdict = self.judge.judge(letter, int(self.now().timestamp() * 1000))
        match verdict:
            case Redrive():
                await self._take(verdict)
            case SkipReason():
                self.tally.left[verdict] += 1
            case Refusal():
                self._refuse(letter, verdict)
            case _:
                assert_never(verdict)

    def _refuse(self, letter: DeadLetterRecord | UnreadableDeadLetter, refused: Refusal) -> None:
        self.tally.refused[refused.cause] += 1
        self.reporter.refused(letter, refused)

    async def _take(self, redrive: Redrive) -> None:
        if self.limiter.delay(self.clock()) > 0:
            # Nothing may stay in flight, unremembered, for as long as the rate is low.
            await self._settle()
            await self.sleep(self.limiter.delay(self.clock()))
        self.limiter.take(1, self.clock())
        self._taken += 1
        self.tally.limit_reached = self._taken == self.limit
        self.reporter.sending(redrive)
        self._window.append(redrive)
        self._window_bytes += redrive.record.bytes
        if len(self._window) >= self.window or self._window_bytes >= WINDOW_BYTES:
            await self._settle()

    async def _settle(self) -> None:
        """Send the window and have it remembered, also where an interrupt comes meanwhile."""
        settling = asyncio.ensure_future(self._settle_window())
        try:
            await asyncio.shield(settling)
        except asyncio.CancelledError:
            # The interrupt counts for more than how the settling ended.
            await asyncio.gather(settling, return_exceptions=True)
            raise

    async def _settle_window(self) -> None:
        window, self._window, self._window_bytes = self._window, [], 0
        if not window:
            return
        if self.outbox is None:
            for redrive in window:
                self._count(redrive)
            return
        if self.ready_to_park is not None and any(
            one.fate is DeadLetterStatus.PARKED for one in window
        ):
            await self.ready_to_park()
            self.ready_to_park = None
        answers = await self.outbox.send([redrive.record for redrive in window])
        await self._remember(self.outbox, window, answers)

    async def _remember(
        self, outbox: Outbox, window: Sequence[Redrive], answers: Sequence[Delivery]
    ) -> None:
        entries: list[StatusRecord] = []
        unanswered: Unconfirmed | None = None
        for redrive, answer in zip(window, answers, strict=True):
            letter = redrive.letter
            match answer:
                case Position():
                    self._count(redrive)
                    entries.append(
                        StatusRecord(
                            letter.state_key, redrive.fate, letter.position, self.now(), answer
                        )
                    )
                case Refused(detail=detail):
                    self._refuse(letter, Refusal(RefusalReason.BROKER, detail))
                case Unconfirmed():
                    self.tally.unconfirmed += 1
                    unanswered = unanswered or answer
                case _:
                    assert_never(answer)
        self.tally.unremembered += len(entries)
        await write_statuses(outbox, self.state_topic, entries)
        self.tally.unremembered -= len(entries)
        if unanswered is not None:
            raise NotSentError(str(unanswered.error)) from unanswered.error

    def _count(self, redrive: Redrive) -> None:
        self.tally.fates[redrive.fate] += 1
        self.tally.clock += (
            redrive.fate is DeadLetterStatus.REDRIVEN and redrive.record.timestamp_ms is None
        )
