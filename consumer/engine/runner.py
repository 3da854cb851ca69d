"""The drive: polls, keeps batches in flight, moves the offsets, follows the group's rebalances."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from consumer.aio import Backoff
from consumer.contract.record import TopicPartition
from consumer.engine.assignment import Assignment
from consumer.engine.backlog import Backlog
from consumer.engine.breaker import Breaker
from consumer.engine.commits import Committer
from consumer.engine.in_flight import InFlightBatches
from consumer.engine.ledger import Ledger
from consumer.engine.pipeline import Pipeline
from consumer.errors import IncidentError, TaskDiedError, TransientError
from consumer.ports import LogReset, Observer, OffsetGap, Polled, Source, Stage, Store

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
        limits: EngineConfig,
    ) -> None:
        """``chance`` returns a number in [0, 1) for the jitter of waits."""
        self._source = source
        self._store = store
        self._breaker = breaker
        self._backoff = backoff
        self._chance = chance
        self._observer = observer
        self._limits = limits
        self.ledger = Ledger()
        self._assignment = Assignment()
        self._ended = asyncio.Event()
        self._revoking = False
        self._committer = Committer(
            source=source,
            ledger=self.ledger,
            observer=observer,
            interval=limits.commit_interval,
        )
        self._batches = InFlightBatches(
            pipeline=pipeline,
            source=source,
            ledger=self.ledger,
            assignment=self._assignment,
            observer=observer,
            on_failure=self._fail,
        )
        self.unread = Backlog(
            source=source,
            ledger=self.ledger,
            assignment=self._assignment,
            meet_gap=self._meet_gap,
        )
        self._failure: asyncio.Future[None] | None = None

    # --- the run --------------------------------------------------------------

    async def run(
        self, stop: asyncio.Event, until: Mapping[TopicPartition, int] | None = None
    ) -> StopReason:
        """Run until ``stop`` is set, or until the group has committed ``until``.

        Then drain within the deadline, commit, and say how it ended. Raises what ends the
        process: ``IncidentError``, ``PreconditionError``, or a defect.
        """
        self._failure = failure = asyncio.get_running_loop().create_future()
        self._source.listen(self)
        # Goes on while the rest drains: given up in between, its commit would have no answer
        # yet, and none behind it could be sent.
        committing = asyncio.ensure_future(self._committer.run())
        try:
            await self._until_asked(stop, until, committing)
            drained = await self._drain(self._limits.drain_deadline, insist=True)
            if failure.done():
                failure.result()
        finally:
            await self._abandon(committing)
        if not drained:
            return StopReason.DEADLINE
        return StopReason.STOPPED if stop.is_set() else StopReason.CAUGHT_UP

    async def _until_asked(
        self,
        stop: asyncio.Event,
        until: Mapping[TopicPartition, int] | None,
        committing: asyncio.Task[None],
    ) -> None:
        """Poll until there is a reason to end; raise where the reason is a failure."""
        polling = asyncio.ensure_future(self._poll_for_ever())
        waiting: list[asyncio.Task[Any]] = [asyncio.ensure_future(stop.wait())]
        if until is not None:
            waiting.append(asyncio.ensure_future(self._committer.caught_up(until)))
        watched: list[asyncio.Future[Any]] = [polling, committing, *waiting]
        if self._failure is not None:
            watched.append(self._failure)
        try:
            await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            for future in watched:
                if future.cancelled():
                    raise TaskDiedError("a task of the engine was cancelled from outside")
                if future.done():
                    future.result()
        finally:
            # The poll may wait without a limit for a rebalance to end: it must be cancelled.
            for task in (polling, *waiting):
                task.cancel()
            await asyncio.gather(polling, *waiting, return_exceptions=True)

    async def _abandon(self, committing: asyncio.Task[None]) -> None:
        """Let nothing outlive the run: what is still in flight counts as not done."""
        self._ended.set()
        committing.cancel()
        await asyncio.gather(committing, self._batches.cancel(), return_exceptions=True)

    async def _drain(self, seconds: float, *, insist: bool) -> bool:
        """Let what is in flight end and commit it, within one deadline for both steps.

        ``insist``: a refused commit is tried again. Not while the group waits for this member,
        which may be refused because it is none any more.
        """
        deadline = self._now() + seconds
        drained = await self._batches.present_done(seconds * DRAIN_SHARE)
        try:
            async with asyncio.timeout_at(deadline):
                committed = await self._committer.commit()
                while insist and not committed:
                    await asyncio.sleep(self._limits.commit_interval)
                    committed = await self._committer.commit()
        except TimeoutError:
            committed = False
        return drained and committed

    def _fail(self, error: BaseException) -> None:
        """Let ``run`` raise what happened where nobody would have noticed it."""
        if self._failure is not None and not self._failure.done():
            self._failure.set_exception(error)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    # --- polling --------------------------------------------------------------

    async def _poll_for_ever(self) -> None:
        failures = 0
        while True:
            await self._room()
            self._release_gone()
            idle = [] if self._revoking else self._assignment.idle(self._now())
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
            if epoch != self.ledger.epoch:
                # The source has forgotten the old assignment, too, and reads all this again.
                continue
            self._drop_gone(polled)
            if self._revoking:
                self._decline(polled)
            else:
                self._accept(polled)
                for partition in idle:
                    # So that what is committed does not stay before markers and aborted records.
                    self.ledger.pass_to(partition, self._source.position(partition))

    async def _room(self) -> None:
        """Wait for a free place, proving liveness, so that an outage costs no membership."""
        while len(self._batches) >= self._limits.batches_in_flight:
            await self._batches.any_done(timeout=IDLE_POLL)
            if len(self._batches) >= self._limits.batches_in_flight:
                epoch = self.ledger.epoch
                try:
                    polled = await self._source.poll((), 1, 0.0)
                    if epoch == self.ledger.epoch:
                        self._drop_gone(polled)
                except TransientError:
                    # The next poll that wants records meets the trouble again and reports it.
                    continue

    def _drop_gone(self, polled: Polled) -> None:
        for partition in polled.gone:
            self.ledger.drop(partition)

    def _decline(self, polled: Polled) -> None:
        """Take no more while the assignment ends, and let the source not count it as taken."""
        for partition, records in polled.records.items():
            if records:
                self._source.seek(partition, records[0].offset)
        for gap in polled.gaps:
            self._source.seek(gap.partition, gap.first)

    def _accept(self, polled: Polled) -> None:
        incidents = [self._told_gap(gap) for gap in polled.gaps]
        incidents += [self._told_reset(reset) for reset in polled.resets]
        self._stop_for(incidents)
        for gap in polled.gaps:
            self.unread.skip(gap)
        for partition, start in polled.starts.items():
            self.ledger.seed(partition, start.offset, start.committed, held=start.held)
            self._can_be_read(partition)
        for partition, error in polled.failed.items():
            self._set_aside(partition, error)
        for partition in polled.records:
            self._can_be_read(partition)
        records = {partition: records for partition, records in polled.records.items() if records}
        if records:
            self._batches.begin(records, self._ended)
            self.unread.taken(records)

    def _meet_gap(self, gap: OffsetGap) -> None:
        self._stop_for([self._told_gap(gap)])

    def _stop_for(self, incidents: Sequence[str]) -> None:
        """Raise one ``IncidentError`` that names all, where the settings say to stop for any."""
        if self._limits.stop_on_gap and any(incidents):
            raise IncidentError("\n".join(filter(None, incidents)))

    def _told_gap(self, gap: OffsetGap) -> str:
        self._observer.gap(gap)
        return (
            f"{gap.partition.topic}-{gap.partition.partition}: at most {gap.records} records, "
            f"offsets {gap.first} to {gap.end - 1}, were deleted unread; "
            "kafka.on_gap=continue goes on without them"
        )

    def _told_reset(self, reset: LogReset) -> str:
        self._observer.reset(reset)
        if not reset.unread:
            return ""
        return (
            f"{reset.partition.topic}-{reset.partition.partition}: the topic was made again, "
            f"and at most {reset.unread} records of the old one were unread; "
            "kafka.on_gap=continue goes on without them"
        )

    def _can_be_read(self, partition: TopicPartition) -> None:
        if self._assignment.readable(partition):
            self._observer.readable(partition)

    def _set_aside(self, partition: TopicPartition, error: TransientError) -> None:
        attempt = self._assignment.failures(partition) + 1
        delay = self._backoff.delay(attempt, self._chance())
        self._assignment.set_aside(partition, self._now() + delay)
        self._observer.unreadable(partition, error, attempt)

    # --- the breaker ----------------------------------------------------------

    def resume(self) -> None:
        """Let every held partition go on, past the breaker, until it is healthy again."""
        held = self._assignment.resume()
        self._breaker.resume(held)
        self.ledger.resume(held)
        self._observer.resumed(held)

    def _release_gone(self) -> None:
        """A hold speaks of records: where their log is no more, nobody would tell what is lost."""
        gone = self._assignment.resume(but=self.ledger)
        if gone:
            self._observer.resumed(gone)

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
        epoch = self.ledger.epoch
        drained = await self._drain(self._limits.rebalance_timeout * REVOKE_SHARE, insist=False)
        if epoch != self.ledger.epoch:
            # Lost while it drained; whatever has been assigned since then is not to be forgotten.
            return
        self._begin_epoch(())
        self._observer.revoked(drained=drained, lost=False)

    def _begin_epoch(self, partitions: Collection[TopicPartition]) -> None:
        self._ended.set()
        self._ended = asyncio.Event()
        self.ledger.new_epoch()
        self._assignment.begin(partitions)
        self.unread.forget()
        self._breaker.forget()
        self._store.forget()
        self._revoking = False

    async def _guarded(self, step: Awaitable[None]) -> None:
        """The client would swallow an exception of a callback; it must end the process instead."""
        try:
            await step
        except Exception as error:  # noqa: BLE001 -- handed to run(), which raises it
            self._fail(error)
