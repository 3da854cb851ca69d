"""The commands redrive and discard: records go back, and what became of them is recorded.

The order of steps is what the promise rests on. A window of records is sent; when the
brokers have acknowledged it, its statuses are written; when those are acknowledged the next
window begins. A crash at any point leaves at most one window to be sent again.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Final, assert_never

from consumer.aio import RateLimiter
from consumer.commands.dead_letters.context import DeadLetterContext, open_context, warn
from consumer.commands.dead_letters.dead_letter_record import AnyDeadLetter, DeadLetterRecord
from consumer.commands.dead_letters.dead_letter_selection import DeadLetterRequest
from consumer.commands.dead_letters.dead_letter_status import (
    NO_STATUSES,
    DeadLetterStatus,
    Statuses,
    status_value,
)
from consumer.commands.dead_letters.list_and_show import position_argument, print_change
from consumer.commands.dead_letters.redrive_policy import (
    RETENTION,
    Decision,
    RedrivePolicy,
    Refusal,
    RefusalReason,
    SkipReason,
    StatusChange,
    discard,
)
from consumer.commands.dead_letters.transform import Transform
from consumer.contract.record import Position
from consumer.errors import ExitCode, SettingsError, TransientError
from consumer.kafka.connection import BrokersError
from consumer.kafka.producer import (
    Delivery,
    OutgoingRecord,
    Producer,
    Refused,
    Unconfirmed,
)
from consumer.terminal import print_error, print_results

WINDOW: Final = 200
"""The most records in flight: so many a crash may send again."""

WINDOW_BYTES: Final = 8 * 1024 * 1024
"""From so many bytes on a window is full, however few records it has."""


@dataclass(slots=True)
class RunCounts:
    """What became of the dead letters that were selected.

    ``left``: dealt with before. ``clock``: sent with the clock's time. ``unconfirmed``: sent, and
    whether the brokers have them is not known. ``unrecorded``: sent and acknowledged, without a
    status that the status topic has acknowledged.
    """

    selected: int = 0
    statuses: Counter[DeadLetterStatus] = field(default_factory=Counter)
    left: Counter[DeadLetterStatus] = field(default_factory=Counter)
    skipped: Counter[SkipReason] = field(default_factory=Counter)
    refused: Counter[RefusalReason] = field(default_factory=Counter)
    clock: int = 0
    unconfirmed: int = 0
    unrecorded: int = 0
    limit_reached: bool = False


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a run may do. ``limit``: so many records are tried; ``rate``: so many a second are sent.

    Of the dead letters that have a status only those with one of ``taken`` are dealt with.
    """

    taken: Statuses = NO_STATUSES
    limit: int | None = None
    rate: float | None = None
    dry_run: bool = False


@dataclass(slots=True)
class DeadLetterRun:
    """One run. ``producer`` None: a dry run, in which nothing is sent or recorded.

    ``decide`` is given a dead letter and the time, in milliseconds since the epoch.
    """

    context: DeadLetterContext
    decide: Callable[[AnyDeadLetter, int], Decision]
    producer: Producer | None
    options: RunOptions
    counts: RunCounts = field(default_factory=RunCounts)
    window: int = WINDOW
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _limiter: RateLimiter = field(init=False)
    _window: list[StatusChange] = field(default_factory=list)
    _window_bytes: int = 0
    _taken: int = 0

    def __post_init__(self) -> None:
        """Begin with nothing sent."""
        self._limiter = RateLimiter(self.options.rate)

    async def run(self, batches: AsyncIterator[Sequence[AnyDeadLetter]]) -> None:
        """Redrive every selected dead letter of the batches, up to the limit.

        Raises ``TransientError``. Interrupted, it still records what is in flight.
        """
        try:
            async for batch in batches:
                for dead_letter in batch:
                    await self._handle(dead_letter)
                    if self.counts.limit_reached:
                        return
                await self._flush()
        finally:
            await self._flush()

    async def _handle(self, dead_letter: AnyDeadLetter) -> None:
        self.counts.selected += 1
        status = self.context.statuses.status(dead_letter.failure_key)
        if status is not None and status not in self.options.taken:
            self.counts.left[status] += 1
            return
        decision = self.decide(dead_letter, int(self.now().timestamp() * 1000))
        match decision:
            case StatusChange():
                await self._add(decision)
            case SkipReason():
                self.counts.skipped[decision] += 1
            case Refusal():
                self._refuse(dead_letter, decision)
                if decision.reason is RefusalReason.TRANSFORM:
                    self._take_one()
            case _:
                assert_never(decision)

    def _take_one(self) -> None:
        """Count one that was tried. What can never be sent back must not use up the limit."""
        self._taken += 1
        self.counts.limit_reached = self._taken == self.options.limit

    def _refuse(self, dead_letter: AnyDeadLetter, refusal: Refusal) -> None:
        """Count, and say, that a record should go back and cannot."""
        self.counts.refused[refusal.reason] += 1
        where = position_argument(dead_letter.record.position)
        if isinstance(dead_letter, DeadLetterRecord):
            where += f" (from {position_argument(dead_letter.failed.origin)})"
        print_error(f"{where}: {refusal.reason.value}: {refusal.detail}")

    async def _add(self, change: StatusChange) -> None:
        if self._limiter.delay(self.clock()) > 0:
            # Nothing may stay in flight, unrecorded, for as long as the rate is low.
            await self._flush()
            await self.sleep(self._limiter.delay(self.clock()))
        self._limiter.take(1, self.clock())
        self._take_one()
        if self.producer is None:
            print_change(change, as_json=self.context.request.as_json)
            self._count(change)
            return
        self._window.append(change)
        self._window_bytes += 0 if change.record is None else change.record.bytes
        if len(self._window) >= self.window or self._window_bytes >= WINDOW_BYTES:
            await self._flush()

    async def _flush(self) -> None:
        """Send the window and record its statuses, also where an interrupt comes meanwhile."""
        flushing = asyncio.ensure_future(self._send_window())
        try:
            await asyncio.shield(flushing)
        except asyncio.CancelledError:
            # The interrupt counts for more than how the sending ended.
            await asyncio.gather(flushing, return_exceptions=True)
            raise

    async def _send_window(self) -> None:
        window, self._window, self._window_bytes = self._window, [], 0
        if self.producer is None or not window:
            return
        if any(change.status is DeadLetterStatus.PARKED for change in window):
            await self.context.create_parking_topic()
        outgoing = [change.record for change in window if change.record is not None]
        deliveries = await self.producer.send(outgoing) if outgoing else [None] * len(window)
        await self._record(self.producer, window, deliveries)

    async def _record(
        self,
        producer: Producer,
        window: Sequence[StatusChange],
        deliveries: Sequence[Delivery | None],
    ) -> None:
        topic = self.context.request.status_topic
        records: list[OutgoingRecord] = []
        unconfirmed: Unconfirmed | None = None
        for change, delivery in zip(window, deliveries, strict=True):
            match delivery:
                case Position() | None:
                    self._count(change)
                    where, key = change.dead_letter.record.position, change.dead_letter.failure_key
                    value = status_value(change.status, where, self.now(), delivery, change.reason)
                    records.append(OutgoingRecord(topic, None, None, key, value, ()))
                case Refused(detail=detail):
                    self._refuse(change.dead_letter, Refusal(RefusalReason.BROKER, detail))
                case Unconfirmed():
                    self.counts.unconfirmed += 1
                    unconfirmed = unconfirmed or delivery
                case _:
                    assert_never(delivery)
        self.counts.unrecorded += len(records)
        for written in await producer.send(records) if records else ():
            if not isinstance(written, Position):
                why = written.detail if isinstance(written, Refused) else written.error
                raise TransientError("stopped", f"topic {topic}: {why}")
        self.counts.unrecorded -= len(records)
        if unconfirmed is not None:
            raise TransientError("stopped", str(unconfirmed.error)) from unconfirmed.error

    def _count(self, change: StatusChange) -> None:
        self.counts.statuses[change.status] += 1
        by_clock = change.record is not None and change.record.timestamp_ms is None
        self.counts.clock += by_clock and change.status is DeadLetterStatus.REDRIVEN


async def redrive_dead_letters(
    request: DeadLetterRequest, options: RunOptions, transform: Transform | None
) -> ExitCode:
    """Send records back. Raises ``BrokersError``."""
    counts, kafka, dry_run = RunCounts(), request.settings.kafka, options.dry_run
    targets = (request.settings.dead_letters.parking_topic, *kafka.topics)
    with _printing(counts, partial(_print_redriven, request, options)):
        async with (
            open_context(request, targets, writes=not dry_run) as context,
            context.open_producer(dry_run=dry_run) as producer,
            aclosing(context.batches("redriving", quiet=dry_run)) as batches,
        ):
            if not options.taken:
                context.require_all_statuses()
            warn_of_unknown_retention(context)
            decide = RedrivePolicy(context, transform).decide
            await DeadLetterRun(context, decide, producer, options, counts).run(batches)
    return context.exit_code(ExitCode.FOUND if counts.refused else ExitCode.DONE)


async def discard_dead_letters(
    request: DeadLetterRequest, options: RunOptions, reason: str
) -> ExitCode:
    """Mark dead letters as dealt with. Raises ``BrokersError``."""
    counts, dry_run = RunCounts(), options.dry_run
    with _printing(counts, partial(_print_discarded, request, dry_run=dry_run)):
        async with (
            open_context(request, writes=not dry_run) as context,
            context.open_producer(dry_run=dry_run) as producer,
            aclosing(context.batches("discarding")) as batches,
        ):
            decide = partial(discard, context.statuses, reason)
            await DeadLetterRun(context, decide, producer, options, counts).run(batches)
    return context.exit_code()


@contextmanager
def _printing(counts: RunCounts, print_counts: Callable[[RunCounts], None]) -> Iterator[None]:
    """Print the counts at the end, also of a run that something stopped."""
    try:
        yield
    except (asyncio.CancelledError, BrokersError, SettingsError) as error:
        if counts.selected:
            print_counts(counts)
        if isinstance(error, asyncio.CancelledError):
            warn("interrupted: some of what is selected may not have been looked at")
        raise
    print_counts(counts)


def warn_of_unknown_retention(context: DeadLetterContext) -> None:
    """Say to which topics records go with the time of now, whatever their own is."""
    names = sorted(set(context.request.settings.kafka.topics) & context.topics.keys())
    unknown = [name for name in names if RETENTION not in context.topics[name].configs]
    if unknown:
        warn(
            f"the brokers do not tell how long they keep records of {', '.join(unknown)} (no grant "
            "for DESCRIBE_CONFIGS?): records go there with the time of now, since an old timestamp "
            "might have them deleted before they are read; the header redrive-timestamp-ms keeps it"
        )


def _print_redriven(request: DeadLetterRequest, options: RunOptions, counts: RunCounts) -> None:
    done, sent = ("would_be_", "would be sent") if options.dry_run else ("", "sent")
    results = {f"{done}redriven": 0}
    results |= {f"{done}{status.value}": count for status, count in counts.statuses.items()}
    results |= {f"{status.value}_before": count for status, count in counts.left.items()}
    results |= {reason.value: count for reason, count in counts.skipped.items()}
    results |= {f"refused_{reason.value}": count for reason, count in counts.refused.items()}
    print_results(results, as_json=request.as_json)
    if counts.clock:
        warn(
            f"{sent} with the time of now: {counts.clock:,}, whose own timestamp their topic might "
            "refuse or soon delete; the header redrive-timestamp-ms keeps it"
        )
    if counts.unconfirmed:
        warn(
            f"sent without an answer: {counts.unconfirmed:,}, which may have arrived; the same "
            "command sends them again"
        )
    if counts.unrecorded:
        warn(
            f"sent and not remembered: {counts.unrecorded:,}, because {request.status_topic} did "
            "not acknowledge their marks; the same command sends them again"
        )
    if unknown := counts.left[DeadLetterStatus.UNKNOWN]:
        warn(
            f"left alone: {unknown:,}, whose mark in {request.status_topic} this version does not "
            "know; --all takes them too"
        )
    if counts.limit_reached:
        repeats = options.dry_run or options.taken
        rest = "" if repeats else "; the same command without it takes the rest"
        warn(f"stopped at --limit {options.limit}{rest}")


def _print_discarded(request: DeadLetterRequest, counts: RunCounts, *, dry_run: bool) -> None:
    results = {
        f"{'would_be_' if dry_run else ''}discarded": counts.statuses.total() - counts.unrecorded,
        "copies": counts.skipped[SkipReason.COPY],
        "dealt_with_before": counts.left.total(),
    }
    print_results(results, as_json=request.as_json)
    if counts.unrecorded:
        warn(
            f"marked without an answer: {counts.unrecorded:,}, which may count as discarded; the "
            "same command marks the rest"
        )
