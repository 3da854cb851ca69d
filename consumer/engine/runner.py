"""The drive: polls, keeps batches in flight, moves the offsets, drains what is revoked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from consumer.aio import Backoff, cancel_and_wait, wait_at_most
from consumer.contract.record import OffsetRange, Offsets, Partitions, TopicPartition
from consumer.engine.breaker import BreakerLimits
from consumer.engine.commits import Committer
from consumer.engine.in_flight import InFlightBatches
from consumer.engine.ledger import Ledger, PartitionState
from consumer.engine.pipeline import Pipeline
from consumer.errors import IncidentError, TaskDiedError, TransientError
from consumer.ports import LogReset, Observer, Polled, Source, Stage

BUSY_POLL = 0.02
"""Seconds a poll waits while batches are in flight: a longer wait would hold back the
partitions whose batch ends meanwhile."""

IDLE_POLL = 0.5
"""Seconds a poll waits while nothing is in flight."""

REVOKE_SHARE = 0.75
"""The part of the rebalance timeout that drain and commit may take; the rest is for the join."""

DRAIN_SHARE = 0.8
"""The part of a drain that batches have to end in; the rest is for the commit."""


class StopReason(StrEnum):
    """Why ``Runner.run`` returned."""

    STOPPED = "stopped"
    CAUGHT_UP = "caught_up"
    DEADLINE = "deadline"


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """How much is in flight, and how long things may take. Durations in seconds.

    ``retention_ms``: for how long the brokers keep records, by topic, where that is known.
    """

    max_poll_records: int
    batches_in_flight: int
    commit_interval: float
    drain_deadline: float
    rebalance_timeout: float
    stop_on_gap: bool
    backoff: Backoff
    breaker: BreakerLimits
    stall_after: float = 60.0
    retention_ms: Mapping[str, int] = field(default_factory=dict)


@dataclass(kw_only=True)
class Runner:
    """Drives the pipeline over the partitions of the current assignment.

    A partition has at most one batch in flight, so that of two contradicting
    records the first by offset always comes first. Batches of different
    partitions run side by side.
    """

    source: Source
    pipeline: Pipeline
    observer: Observer
    config: EngineConfig
    _ended: asyncio.Event = field(default_factory=asyncio.Event)
    _assigned: asyncio.Event = field(default_factory=asyncio.Event)
    _revoking: bool = False

    def __post_init__(self) -> None:
        """Begin without partitions; needs a running event loop."""
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ledger = Ledger()
        self._committer = Committer(
            self.source, self.ledger, self.observer, self.config.commit_interval
        )
        self._batches = InFlightBatches(
            self.pipeline, self.source, self.ledger, self.observer, self._failure
        )

    # --- the run --------------------------------------------------------------

    async def run(self, stop: asyncio.Event, until: Offsets | None = None) -> StopReason:
        """Run until ``stop`` is set, or until the group has committed ``until``.

        Then drain within the deadline, commit, and say how it ended. Raises what ends the
        process: ``IncidentError``, ``PreconditionError``, or a defect.
        """
        self.source.listen(self)
        # Goes on while the rest drains: given up in between, its commit would have no answer
        # yet, and none behind it could be sent.
        committing = asyncio.ensure_future(self._committer.run())
        try:
            await self._poll_until_asked(stop, until, committing)
            drained = await self._drain(self.config.drain_deadline, retry=True)
            if self._failure.done():
                self._failure.result()
        finally:
            # Nothing outlives the run: what is still in flight counts as not done.
            self._ended.set()
            await cancel_and_wait(committing)
            await self._batches.cancel()
        if not drained:
            return StopReason.DEADLINE
        return StopReason.STOPPED if stop.is_set() else StopReason.CAUGHT_UP

    async def _poll_until_asked(
        self,
        stop: asyncio.Event,
        until: Offsets | None,
        committing: asyncio.Task[None],
    ) -> None:
        """Poll until there is a reason to end; raise where the reason is a failure."""
        own: list[asyncio.Task[Any]] = [
            asyncio.ensure_future(self._poll_for_ever()),
            asyncio.ensure_future(stop.wait()),
        ]
        if until is not None:
            own.append(asyncio.ensure_future(self._committer.wait_until_caught_up(until)))
        watched: list[asyncio.Future[Any]] = [*own, committing, self._failure]
        try:
            await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            for future in watched:
                if future.cancelled():
                    raise TaskDiedError("a task of the engine was cancelled from outside")
                if future.done():
                    future.result()
        finally:
            # The poll may wait without a limit for a rebalance to end: it must be cancelled.
            await cancel_and_wait(*own)

    async def _drain(self, seconds: float, *, retry: bool) -> bool:
        """Let what is in flight end and commit it, within one deadline for both steps.

        ``retry``: a refused commit is tried again. Not while the group waits for this member,
        which may be refused because it is none any more.
        """
        deadline = self._now() + seconds
        drained = await self._batches.drain(seconds * DRAIN_SHARE)
        try:
            async with asyncio.timeout_at(deadline):
                committed = await self._committer.commit()
                while retry and not committed:
                    await asyncio.sleep(self.config.commit_interval)
                    committed = await self._committer.commit()
        except TimeoutError:
            committed = False
        return drained and committed

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    # --- polling --------------------------------------------------------------

    async def _poll_for_ever(self) -> None:
        failures = 0
        while True:
            await self._wait_for_slot()
            # A hold speaks of records: where their log is no more, nobody would tell what is lost.
            if gone := self.ledger.resume(gone=True):
                self.observer.resumed(gone)
            self._assigned.clear()
            idle = [] if self._revoking else self.ledger.idle(self._now())
            epoch = self.ledger.epoch
            waits = not idle and not self._batches
            wait = BUSY_POLL if self._batches else 0.0 if waits else IDLE_POLL
            try:
                polled = await self.source.poll(idle, self.config.max_poll_records, wait)
            except TransientError as error:
                failures += 1
                delay = self.config.backoff.delay(failures, self.pipeline.jitter())
                self.observer.retrying(Stage.POLL, error, failures, delay)
                await asyncio.sleep(delay)
                continue
            if failures:
                self.observer.recovered(Stage.POLL, failures)
                failures = 0
            if epoch != self.ledger.epoch:
                # The source has forgotten the old assignment, too, and reads all this again.
                continue
            self._drop_gone(polled)
            if self._revoking:
                self._discard(idle)
            else:
                self._dispatch(polled)
            if waits:
                # Within the poll it would not be told that there are partitions now.
                await wait_at_most(IDLE_POLL, self._assigned.wait())

    async def _wait_for_slot(self) -> None:
        """Wait for a free place, proving liveness, so that an outage costs no membership."""
        while len(self._batches) >= self.config.batches_in_flight:
            await self._batches.wait_for_one(timeout=IDLE_POLL)
            if len(self._batches) >= self.config.batches_in_flight:
                epoch = self.ledger.epoch
                try:
                    polled = await self.source.poll((), 1, 0.0)
                    if epoch == self.ledger.epoch:
                        self._drop_gone(polled)
                except TransientError:
                    # The next poll that wants records meets the trouble again and reports it.
                    continue

    def _drop_gone(self, polled: Polled) -> None:
        for partition in polled.gone:
            self.ledger.drop(partition)

    def _discard(self, polled: Partitions) -> None:
        """Take no more while the assignment ends: what was polled is to be polled again."""
        for partition in polled:
            position = self.ledger.position(partition)
            if position is not None:
                self.source.seek(partition, position)

    def _dispatch(self, polled: Polled) -> None:
        """Bring the ledger up to what a poll has told, and start on the records."""
        self._skip_gaps(polled.gaps, polled.resets)
        for partition in (*polled.starts, *polled.records):
            if self.ledger[partition].failures:
                self.ledger[partition].failures, self.ledger[partition].retry_at = 0, 0.0
                self.observer.readable(partition)
        for partition, start in polled.starts.items():
            self.ledger.begin(partition, start)
        for partition, error in polled.failed.items():
            self._back_off(partition, error)
        records = {partition: records for partition, records in polled.records.items() if records}
        if records:
            self._batches.start(records, self._ended)
        for partition, offset in polled.passed.items():
            # So that what is committed does not stay before markers and aborted records.
            self.ledger.pass_to(partition, offset)

    def _skip_gaps(self, gaps: Sequence[OffsetRange], resets: Sequence[LogReset]) -> None:
        """Tell what is gone unread, and go on behind it: so it is not found once more.

        Raises one ``IncidentError`` that names all where the settings say to stop.
        """
        incidents: list[str] = []
        for gap in gaps:
            self.observer.gap(gap)
            incidents.append(
                f"{gap.partition.name}: at most {gap.offsets} records, "
                f"offsets {gap.first} to {gap.end - 1}, were deleted unread; "
                "kafka.on_gap=continue goes on without them"
            )
        for reset in resets:
            self.observer.reset(reset)
            if reset.unread:
                incidents.append(
                    f"{reset.partition.name}: the log began anew, and at most "
                    f"{reset.unread} records of the old one were unread; "
                    "kafka.on_gap=continue goes on without them"
                )
        if self.config.stop_on_gap and incidents:
            raise IncidentError("\n".join(incidents))
        for gap in gaps:
            self.ledger.pass_to(gap.partition, gap.end)

    def _back_off(self, partition: TopicPartition, error: TransientError) -> None:
        """Leave a partition alone for a while that could not be read; the others go on."""
        state = self.ledger[partition]
        state.failures += 1
        state.retry_at = self._now() + self.config.backoff.delay(
            state.failures, self.pipeline.jitter()
        )
        self.observer.unreadable(partition, error, state.failures)

    def resume(self) -> None:
        """Let every held partition go on, past the breaker, until it is healthy again."""
        held = self.ledger.resume()
        self.pipeline.breaker.resume(held)
        self.observer.resumed(held)

    # --- the group ------------------------------------------------------------

    def progress(self, partition: TopicPartition) -> PartitionState | None:
        """See ``AssignmentListener``."""
        return self.ledger.get(partition)

    async def on_revoked(self) -> None:
        """See ``AssignmentListener``: take no more, drain, commit, forget."""
        await self._guarded(self._revoke())

    async def on_assigned(self, partitions: Partitions) -> None:
        """See ``AssignmentListener``: a new epoch begins."""
        self._begin_epoch(partitions)
        self.observer.assigned(partitions, self.ledger.epoch)

    def on_lost(self) -> None:
        """See ``AssignmentListener``: another member may own everything already."""
        self._begin_epoch(())
        self.observer.revoked(drained=False, lost=True)

    async def _revoke(self) -> None:
        self._revoking = True
        epoch = self.ledger.epoch
        drained = await self._drain(self.config.rebalance_timeout * REVOKE_SHARE, retry=False)
        if epoch != self.ledger.epoch:
            # Lost while it drained; whatever has been assigned since then is not to be forgotten.
            return
        self._begin_epoch(())
        self.observer.revoked(drained=drained, lost=False)

    def _begin_epoch(self, partitions: Partitions) -> None:
        if partitions:
            self._assigned.set()
        self._ended.set()
        self._ended = asyncio.Event()
        self.ledger.assign(partitions)
        self.pipeline.breaker.forget()
        self.pipeline.store.forget()
        self._revoking = False

    async def _guarded(self, step: Awaitable[None]) -> None:
        """The client would swallow an exception of a callback; it must end the process instead."""
        try:
            await step
        except Exception as error:  # noqa: BLE001 -- handed to run(), which raises it
            if not self._failure.done():
                self._failure.set_exception(error)
