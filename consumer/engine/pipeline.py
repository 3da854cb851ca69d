"""One batch, end to end: decode, plan, apply, dead-letter. The offsets are the runner's."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from operator import attrgetter
from typing import TypeVar, assert_never

from consumer.aio import Backoff, wait_at_most
from consumer.contract.dead_letter import DeadLetter
from consumer.contract.decode import MAX_VALUE_BYTES, Decoded, Tombstone, decode
from consumer.contract.record import Record, Records, size_of
from consumer.contract.rejection import KeyPolicy, Reason, Rejected
from consumer.contract.times import record_time
from consumer.engine.breaker import Breaker
from consumer.errors import TransientError
from consumer.ports import (
    BatchReport,
    DeadLetters,
    Hold,
    Observer,
    PartitionReport,
    Stage,
    Store,
)
from consumer.state.fast_path import plan_quickly
from consumer.state.outcomes import NO_MARK, Mark, Outcome, Result
from consumer.state.retention import FIRST_TIME, FOR_EVER, Lifetime, Retention
from consumer.state.writes import Write, plan

T = TypeVar("T")

DECODED_AT_ONCE = 500
DECODED_BYTES_AT_ONCE = 1024 * 1024
"""Records, and bytes of values, decoded between two turns of the event loop, so that heartbeats
stay in time; one record at least."""

LATENCY_SAMPLE = 100
"""Of so many records of a partition in a batch one tells how long it took to be applied."""

DEAD_LETTER_CHUNK = 100
DEAD_LETTER_CHUNK_BYTES = 4 * 1024 * 1024
"""So many dead letters are sent at once: what is acknowledged within one request's time."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one poll. ``ended`` is set when the assignment they came with is over."""

    records: Records
    ended: asyncio.Event


class Abandoned(Exception):  # noqa: N818 -- not an error: the records have another owner now
    """The assignment ended before the batch did."""


Planner = Callable[[Record], tuple[Write | Result, Mark]]
"""What is done with a record before any I/O: the write, or the outcome where there is none, and
what is to be counted."""


@dataclass(frozen=True, slots=True)
class RecordPlanner:
    """Decodes a record and plans its write, under the policies of the settings."""

    key_policy: KeyPolicy
    retention: Retention | None
    now: Callable[[], datetime]
    max_value_bytes: int = MAX_VALUE_BYTES

    def __call__(self, record: Record) -> tuple[Write | Result, Mark]:
        """See ``Planner``."""
        lifetime = FOR_EVER
        if self.retention is not None:
            lifetime = self.retention.lifetime(record, self.now())
        if not (lifetime.over or lifetime.doubtful):
            write = plan_quickly(record, lifetime.expire_at, self.max_value_bytes)
            if write is not None:
                return write, NO_MARK
        decoded = decode(record, self.key_policy, self.max_value_bytes)
        match decoded:
            case Rejected():
                return Result(Outcome.DEAD_LETTERED, decoded), NO_MARK
            case Tombstone():
                return Result(Outcome.SKIPPED), NO_MARK
            case Decoded():
                return _planned(decoded, record, lifetime)
            case _:
                assert_never(decoded)


def _planned(decoded: Decoded, record: Record, lifetime: Lifetime) -> tuple[Write | Result, Mark]:
    marks = Mark.KEY_MISMATCH if decoded.key_mismatch else NO_MARK
    if lifetime.over:
        return Result(Outcome.SKIPPED), marks | Mark.EXPIRED
    if lifetime.doubtful:
        marks |= Mark.DOUBTFUL_TIMESTAMP
    planned = plan(decoded.message, record, lifetime.expire_at)
    if isinstance(planned, Rejected):
        return Result(Outcome.DEAD_LETTERED, planned), marks
    return planned, marks


@dataclass(slots=True)
class Pipeline:
    """Takes one batch to its end, through every outage on the way.

    ``jitter`` returns a number in [0, 1) for waits; ``now`` is the wall clock, for holds.
    """

    planner: Planner
    store: Store
    dead_letters: DeadLetters
    build_dead_letter: Callable[[Record, Rejected], DeadLetter]
    breaker: Breaker
    backoff: Backoff
    observer: Observer
    jitter: Callable[[], float]
    now: Callable[[], datetime]

    async def process(self, batch: Batch) -> BatchReport:
        """Take the batch to its end.

        1. Every record becomes a write, or an outcome without one.
        2. The writes are applied; every record has its result.
        3. Partitions over the breaker's share are taken out, unsettled.
        4. Dead letters are sent and acknowledged.

        Only when this returns may the offsets of the reported partitions move.
        Raises ``Abandoned`` where the assignment ended first; ``PreconditionError``
        where the store is not as the design needs it.
        """
        clock = asyncio.get_running_loop().time
        report = BatchReport()
        begun = clock()
        planned, marks = await self._plan(batch, report)
        report.seconds[Stage.DECODE] = clock() - begun
        begun = clock()
        results = await self._apply(batch, planned)
        report.seconds[Stage.APPLY] = clock() - begun
        if batch.ended.is_set():
            raise Abandoned
        letters = self._report_and_reject(batch, results, marks, report)
        begun = clock()
        for chunk in chunks(letters):
            await self._retry_until_done(
                batch, Stage.DEAD_LETTERS, partial(self.dead_letters.send, chunk)
            )
        report.seconds[Stage.DEAD_LETTERS] = clock() - begun
        return report

    async def _plan(
        self, batch: Batch, report: BatchReport
    ) -> tuple[list[Write | Result], dict[int, Mark]]:
        planned: list[Write | Result] = []
        marks: dict[int, Mark] = {}
        records_since, bytes_since = 0, 0
        for records in batch.records.values():
            for record in records:
                if records_since == DECODED_AT_ONCE or bytes_since > DECODED_BYTES_AT_ONCE:
                    report.value_bytes += bytes_since
                    records_since, bytes_since = 0, 0
                    await asyncio.sleep(0)
                records_since += 1
                bytes_since += len(record.value or b"")
                what, mark = self.planner(record)
                if mark is not NO_MARK:  # asking a flag whether it is set costs more
                    marks[len(planned)] = mark
                planned.append(what)
        report.value_bytes += bytes_since
        return planned, marks

    async def _apply(self, batch: Batch, planned: Sequence[Write | Result]) -> list[Result]:
        """Return the result of each record, in their order."""
        writes = [one for one in planned if not isinstance(one, Result)]
        applied: Sequence[Result] = ()
        if writes:
            applied = await self._retry_until_done(batch, Stage.APPLY, self.store.prepare(writes))
        if len(applied) != len(writes):
            raise AssertionError(f"{len(applied)} results for {len(writes)} writes")
        ended = iter(applied)
        return [one if isinstance(one, Result) else next(ended) for one in planned]

    async def _retry_until_done(
        self, batch: Batch, stage: Stage, step: Callable[[], Awaitable[T]]
    ) -> T:
        """Do ``step`` until it succeeds or the assignment ends, however long that takes."""
        attempt = 0
        while True:
            if batch.ended.is_set():
                raise Abandoned
            try:
                done = await step()
            except TransientError as error:
                if batch.ended.is_set():
                    # Told now, it would be taken for trouble of the assignment that has begun,
                    # whose batches may never meet any and so never take it back.
                    raise Abandoned from error
                attempt += 1
                delay = self.backoff.delay(attempt, self.jitter())
                self.observer.retrying(stage, error, attempt, delay, batch.records.keys())
                await wait_at_most(delay, batch.ended.wait())
            else:
                if attempt:
                    self.observer.recovered(stage, attempt, batch.records.keys())
                return done

    def _report_and_reject(
        self,
        batch: Batch,
        results: Sequence[Result],
        marks: Mapping[int, Mark],
        report: BatchReport,
    ) -> list[DeadLetter]:
        letters: list[DeadLetter] = []
        start = 0
        for partition, records in batch.records.items():
            ended = results[start : start + len(records)]
            flags = [result.rejected is not None for result in ended]
            share = self.breaker.tripped_by(partition, flags)
            if share is not None:
                report.held[partition] = self._hold(records, ended, share)
            else:
                report.partitions[partition] = part = self._report(records, ended)
                for index in range(start, start + len(records)) if marks else ():
                    part.marks.update(marks.get(index, NO_MARK))
                letters += [
                    self.build_dead_letter(record, result.rejected)
                    for record, result in zip(records, ended, strict=True)
                    if result.rejected is not None
                ]
            start += len(records)
        return letters

    def _hold(self, records: Sequence[Record], ended: Sequence[Result], share: float) -> Hold:
        """Tell the first record of each reason: whoever is to let them pass must know them."""
        reasons: Counter[Reason] = Counter()
        for record, result in zip(records, ended, strict=True):
            if result.rejected is not None:
                if result.rejected.reason not in reasons:
                    self.observer.rejected(record, result.rejected)
                reasons[result.rejected.reason] += 1
        return Hold(records[0].offset, share, reasons, self.now())

    def _report(self, records: Sequence[Record], ended: Sequence[Result]) -> PartitionReport:
        report = PartitionReport(records[0].offset, records[-1].offset + 1)
        report.outcomes.update(map(attrgetter("outcome"), ended))
        report.late = sum(map(attrgetter("late"), ended))
        report.latencies = list(_latencies(records, ended, self.now()))
        for record, result in zip(records, ended, strict=True):
            if result.rejected is not None:
                report.reasons[result.rejected.reason] += 1
                self.observer.rejected(record, result.rejected)
        return report


def _latencies(
    records: Sequence[Record], ended: Sequence[Result], now: datetime
) -> Iterator[float]:
    """Yield seconds from a usable timestamp until ``now``, of a sample of what was applied."""
    for record, result in zip(records[::LATENCY_SAMPLE], ended[::LATENCY_SAMPLE], strict=True):
        if result.outcome is Outcome.APPLIED:
            stamped = record_time(record)
            if stamped is not None and stamped >= FIRST_TIME:
                yield max(0.0, (now - stamped).total_seconds())


def chunks(letters: Sequence[DeadLetter]) -> Iterator[list[DeadLetter]]:
    """Cut letters, in their order, into what is sent at once; one letter at least."""
    chunk: list[DeadLetter] = []
    size = 0
    for letter in letters:
        bytes_of_it = size_of(letter.key, letter.value, letter.headers)
        if chunk and (
            len(chunk) == DEAD_LETTER_CHUNK or size + bytes_of_it > DEAD_LETTER_CHUNK_BYTES
        ):
            yield chunk
            chunk, size = [], 0
        chunk.append(letter)
        size += bytes_of_it
    if chunk:
        yield chunk
