"""The drive: polls, keeps batches in flight, moves the offsets, follows the group's rebalances."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from consumer.contract.record import TopicPartition
from consumer.engine.breaker import Breaker
from consumer.engine.offsets import Committer
from consumer.engine.pipeline import Abandoned, Batch, Pipeline
from consumer.engine.retry import Backoff
from consumer.errors import IncidentError, TransientError
from consumer.ports import BatchReport, Gap, Observer, Polled, Source, Stage, Store
from consumer.stream.ledger import Ledger, Span

BUSY_POLL = 0.02
"""Seconds a poll waits while batches are in flight: a longer wait would hold back the
partitions whose batch ends meanwhile."""

IDLE_POLL = 0.5
"""Seconds a poll waits while nothing is in flight."""

REVOKE_SHARE = 0.6
"""The part of the rebalance timeout that draining may take; the rest is for commit and join."""


class RunEnd(StrEnum):
    """Why ``Runner.run`` returned."""

    STOPPED = "stopped"
    CAUGHT_UP = "caught_up"
    DEADLINE = "deadline"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is in flight, and how long things may take. Durations in seconds."""

    max_poll_records: int
    batches_in_flight: int
    commit_interval: float
    drain_deadline: float
    rebalance_timeout: float
    stop_on_gap: bool


class Runner:
    """Drives the pipeline over the partitions of the current assignment.

    A partition has at most one batch in flight, so that of two contradicting
    records the first by offset always comes first. Batches of different
    partitions run side by side.
    """

    def __init__(  # noqa: PLR0913 -- the composition root names each part once
        self,
        *,
        source: Source,
        store: Store,
        pipeline: Pipeline,
        breaker: Breaker,
        backoff: Backoff,
        chance: Callable[[], float],
        observer: Observer,
        limits: Limits,
    ) -> None:
        """``chance`` returns a number in [0, 1) for the jitter of waits."""
        self._source = source
        self._store = store
        self._pipeline = pipeline
        self._breaker = breaker
        self._backoff = backoff
        self._chance = chance
        self._observer = observer
        self._limits = limits
        self.ledger = Ledger()
        self._assigned: frozenset[TopicPartition] = frozenset()
        self._ended = asyncio.Event()
        self._busy: set[TopicPartition] = set()
        self._held: set[TopicPartition] = set()
        self._unreadable: dict[TopicPartition, tuple[int, float]] = {}
        self._stamps: dict[TopicPartition, int] = {}
        self._batches: set[asyncio.Task[None]] = set()
        self._revoking = False
        self._committer = Committer(
            source=source,
            ledger=self.ledger,
            observer=observer,
            interval=limits.commit_interval,
        )
        self._failure: asyncio.Future[None] | None = None

    # --- the run --------------------------------------------------------------

    async def run(
        self, stop: asyncio.Event, until: Mapping[TopicPartition, int] | None = None
    ) -> RunEnd:
        """Run until ``stop`` is set, or until the group has committed ``until``.

        Then drain within the deadline, commit, and say how it ended. Raises what ends the
        process: ``IncidentError``, ``PreconditionError``, or a defect.
        """
        self._failure = asyncio.get_running_loop().create_future()
        self._source.listen(self)
        stopping = asyncio.ensure_future(stop.wait())
        caught_up = asyncio.ensure_future(self._committer.caught_up(until) if until else _never())
        tasks = [
            asyncio.ensure_future(self._poll_for_ever()),
            asyncio.ensure_future(self._committer.run()),
        ]
        ends: list[asyncio.Future[Any]] = [stopping, caught_up, self._failure]
        try:
            await asyncio.wait([*tasks, *ends], return_when=asyncio.FIRST_COMPLETED)
        finally:
            # The poll may wait without a limit for a rebalance to end: it must be cancelled.
            for helper in (*tasks, stopping, caught_up):
                helper.cancel()
            await asyncio.gather(*tasks, stopping, caught_up, return_exceptions=True)
        watched: list[asyncio.Future[Any]] = [*tasks, caught_up, self._failure]
        for task in watched:
            if task.done() and not task.cancelled() and task.exception() is not None:
                await self._give_up()
                task.result()
        drained = await self._drain(self._limits.drain_deadline)
        self._ended.set()
        if not drained:
            return RunEnd.DEADLINE
        return RunEnd.STOPPED if stop.is_set() else RunEnd.CAUGHT_UP

    async def _give_up(self) -> None:
        self._ended.set()
        for batch in self._batches:
            batch.cancel()
        await asyncio.gather(*self._batches, return_exceptions=True)

    async def _drain(self, seconds: float) -> bool:
        """Let what is in flight end and commit it, within one deadline for both steps."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + seconds
        if self._batches:
            await asyncio.wait(self._batches, timeout=seconds)
        drained = not self._batches
        try:
            async with asyncio.timeout(max(deadline - clock(), 0.1)):
                committed = await self._committer.commit()
        except TimeoutError:
            committed = False
        return drained and committed

    # --- polling --------------------------------------------------------------

    async def _poll_for_ever(self) -> None:
        failures = 0
        while True:
            await self._room()
            idle = self._idle()
            epoch = self.ledger.epoch
            wait = BUSY_POLL if self._batches else IDLE_POLL
            try:
                polled = await self._source.poll(idle, self._limits.max_poll_records, wait)
            except TransientError as error:
                failures += 1
                delay = self._backoff.delay(failures, self._chance())
                self._observer.retrying(Stage.POLL, error, failures, delay)
                await asyncio.sleep(delay)
                continue
            if failures:
                self._observer.recovered(Stage.POLL, failures)
                failures = 0
            if epoch == self.ledger.epoch and not self._revoking:
                self._accept(polled)

    async def _room(self) -> None:
        """Wait for a free place, proving liveness, so that an outage costs no membership."""
        while len(self._batches) >= self._limits.batches_in_flight:
            await asyncio.wait(
                self._batches, timeout=IDLE_POLL, return_when=asyncio.FIRST_COMPLETED
            )
            if len(self._batches) >= self._limits.batches_in_flight:
                try:
                    await self._source.poll((), 1, 0.0)
                except TransientError:
                    # The next poll that wants records meets the trouble again and reports it.
                    continue

    def _idle(self) -> list[TopicPartition]:
        """The partitions that may be polled: nothing in flight, not held, readable."""
        if self._revoking:
            return []
        now = asyncio.get_running_loop().time()
        return [
            partition
            for partition in self._assigned
            if partition not in self._busy
            and partition not in self._held
            and self._unreadable.get(partition, (0, 0.0))[1] <= now
        ]

    def _accept(self, polled: Polled) -> None:
        for gap in polled.gaps:
            self._meet_gap(gap)
        for partition, start in polled.starts.items():
            self.ledger.seed(partition, start.offset, start.committed)
        for reset in polled.resets:
            self._observer.reset(reset)
            self.ledger.seed(reset.partition, reset.found)
        for partition, error in polled.failed.items():
            self._set_aside(partition, error)
        records = {partition: records for partition, records in polled.records.items() if records}
        if not records:
            return
        for partition in records:
            if self._unreadable.pop(partition, None) is not None:
                self._observer.readable(partition)
        spans = {
            partition: self.ledger.take(partition, taken[0].offset, taken[-1].offset + 1)
            for partition, taken in records.items()
        }
        self._busy.update(records)
        self._stamps.update({p: taken[0].timestamp_ms for p, taken in records.items()})
        task = asyncio.ensure_future(self._run_batch(Batch(records, self._ended), spans))
        self._batches.add(task)
        task.add_done_callback(self._batch_done)
        self._observer.in_flight(len(self._batches))

    def _meet_gap(self, gap: Gap) -> None:
        self._observer.gap(gap)
        if self._limits.stop_on_gap:
            raise IncidentError(
                f"{gap.partition.topic}-{gap.partition.partition}: offsets {gap.first} to "
                f"{gap.end - 1} were deleted unread; kafka.on_gap=continue goes on without them"
            )

    def _set_aside(self, partition: TopicPartition, error: TransientError) -> None:
        attempt = self._unreadable.get(partition, (0, 0.0))[0] + 1
        delay = self._backoff.delay(attempt, self._chance())
        until = asyncio.get_running_loop().time() + delay
        self._unreadable[partition] = (attempt, until)
        self._observer.unreadable(partition, error, attempt)

    # --- batches --------------------------------------------------------------

    async def _run_batch(self, batch: Batch, spans: Mapping[TopicPartition, Span]) -> None:
        try:
            report = await self._pipeline.process(batch)
        except Abandoned:
            for partition, records in batch.records.items():
                self._observer.abandoned(partition, len(records))
        else:
            self._settle(batch, spans, report)
        finally:
            # Only now may the partitions be polled again, be it in a later assignment: two
            # batches of one partition side by side would let the second by offset come first.
            self._busy.difference_update(batch.records)

    def _settle(
        self, batch: Batch, spans: Mapping[TopicPartition, Span], report: BatchReport
    ) -> None:
        for partition, share in report.held.items():
            span = spans[partition]
            if self.ledger.give_back(span):
                self._source.seek(partition, span.first)
                self._held.add(partition)
                self._observer.held(partition, share)
            else:
                self._observer.abandoned(partition, len(batch.records[partition]))
        for partition in list(report.partitions):
            if not self.ledger.settle(spans[partition]):
                del report.partitions[partition]
                self._observer.abandoned(partition, len(batch.records[partition]))
        self._observer.settled(report)

    def _batch_done(self, task: asyncio.Task[None]) -> None:
        self._batches.discard(task)
        self._observer.in_flight(len(self._batches))
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and self._failure is not None and not self._failure.done():
            self._failure.set_exception(error)

    def resume(self) -> None:
        """Let every held partition go on, past the breaker, until it is healthy again."""
        held = frozenset(self._held)
        self._breaker.resume(held)
        self._held.clear()
        self._observer.resumed(held)

    @property
    def held_partitions(self) -> frozenset[TopicPartition]:
        """The partitions that the dead-letter breaker holds."""
        return frozenset(self._held)

    @property
    def busy_partitions(self) -> frozenset[TopicPartition]:
        """The partitions with a batch in flight."""
        return frozenset(self._busy)

    # --- records not read yet -------------------------------------------------

    def oldest_unread_ms(self) -> Mapping[TopicPartition, int]:
        """See ``UnreadRecords``: the first record of each partition's last batch is the bound."""
        return {
            partition: stamp
            for partition, stamp in self._stamps.items()
            if partition in self.ledger
            and (self._source.highwater(partition) or 0) > self.ledger.committable(partition)
        }

    def idle_positions(self) -> Mapping[TopicPartition, int]:
        """See ``UnreadRecords``."""
        return {
            partition: self.ledger.taken(partition)
            for partition in self.ledger
            if partition not in self._busy
        }

    def cross(self, gap: Gap) -> None:
        """See ``UnreadRecords``. Raises ``IncidentError`` where the settings say to stop."""
        self._meet_gap(gap)
        self.ledger.skip_to(gap.partition, gap.end)
        self._source.seek(gap.partition, gap.end)

    # --- the group ------------------------------------------------------------

    async def on_revoked(self) -> None:
        """See ``AssignmentListener``: take no more, drain, commit, forget."""
        await self._guarded(self._revoke())

    async def on_assigned(self, partitions: Collection[TopicPartition]) -> None:
        """See ``AssignmentListener``: a new epoch begins."""
        self._begin_epoch(partitions)
        self._observer.assigned(partitions, self.ledger.epoch)

    def on_lost(self) -> None:
        """See ``AssignmentListener``: another member may own everything already."""
        self._begin_epoch(())
        self._observer.revoked(drained=False, lost=True)

    async def _revoke(self) -> None:
        self._revoking = True
        drained = await self._drain(self._limits.rebalance_timeout * REVOKE_SHARE)
        self._begin_epoch(())
        self._observer.revoked(drained=drained, lost=False)

    def _begin_epoch(self, partitions: Collection[TopicPartition]) -> None:
        self._ended.set()
        self._ended = asyncio.Event()
        self.ledger.new_epoch()
        self._assigned = frozenset(partitions)
        self._held.clear()
        self._unreadable.clear()
        self._stamps.clear()
        self._breaker.forget()
        self._store.forget()
        self._revoking = False

    async def _guarded(self, step: Awaitable[None]) -> None:
        """The client would swallow an exception of a callback; it must end the process instead."""
        try:
            await step
        except Exception as error:  # noqa: BLE001 -- handed to run(), which raises it
            if self._failure is not None and not self._failure.done():
                self._failure.set_exception(error)


async def _never() -> None:
    await asyncio.Event().wait()
