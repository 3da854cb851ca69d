"""The batches in flight: started, run to their ends, settled in the ledger."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from consumer.contract.record import Records, TopicPartition
from consumer.engine.ledger import Ledger, PartitionState
from consumer.engine.pipeline import Abandoned, Batch, Pipeline
from consumer.errors import TaskDiedError
from consumer.ports import BatchReport, Observer, Source

CANCEL_AGAIN = 0.5
"""Seconds after which a batch is cancelled again: whoever was cancelled may have begun to tidy up,
and wait for a server that keeps silent."""


@dataclass(slots=True)
class InFlightBatches:
    """Runs batches side by side, each of partitions that no other one has.

    ``failure`` is given an exception that ends a batch; it must end the process.
    """

    pipeline: Pipeline
    source: Source
    ledger: Ledger
    observer: Observer
    failure: asyncio.Future[None]
    _epochs: dict[asyncio.Task[None], int] = field(default_factory=dict)
    _cancelled: bool = False

    def __len__(self) -> int:
        """How many are in flight, those of older assignments included."""
        return len(self._epochs)

    def start(self, records: Records, ended: asyncio.Event) -> None:
        """Take the records and start on them. ``ended`` is set when the assignment is over."""
        taken = {}
        for partition, theirs in records.items():
            state = self.ledger.take(partition, theirs[0].offset, theirs[-1].offset + 1)
            state.oldest_unread_ms = theirs[0].timestamp_ms
            taken[partition] = state
            self.observer.consumed(partition, len(theirs))
        self.ledger.mark_busy(records)
        task = asyncio.ensure_future(self._run(Batch(records, ended), taken))
        self._epochs[task] = self.ledger.epoch
        task.add_done_callback(self._done)
        self.observer.in_flight(len(self._epochs))

    async def wait_for_one(self, timeout: float) -> None:
        """Wait until one has ended, at most ``timeout`` seconds."""
        await asyncio.wait(self._epochs, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)

    async def drain(self, timeout: float) -> bool:
        """Wait until those of the present epoch have ended; False where ``timeout`` came first.

        The older ones are not waited for: nothing of them can be committed.
        """
        present = [task for task, epoch in self._epochs.items() if epoch == self.ledger.epoch]
        if present:
            await asyncio.wait(present, timeout=timeout)
        return all(batch.done() for batch in present)

    async def cancel(self) -> None:
        """Give up whatever is in flight; it counts as not done."""
        self._cancelled = True
        while self._epochs:
            for task in self._epochs:
                task.cancel()
            await self.wait_for_one(timeout=CANCEL_AGAIN)

    async def _run(self, batch: Batch, taken: Mapping[TopicPartition, PartitionState]) -> None:
        try:
            # Here and not in ``start``: a task has a context of its own.
            self.observer.batch_started(batch.records)
            report = await self.pipeline.process(batch)
        except Abandoned:
            self._abandon(batch, batch.records)
        except asyncio.CancelledError:
            self._abandon(batch, batch.records)
            raise
        else:
            self._settle(batch, taken, report)
        finally:
            self.ledger.release(batch.records)
            self.observer.batch_ended(sys.exc_info()[1])

    def _abandon(self, batch: Batch, partitions: Iterable[TopicPartition]) -> None:
        for partition in partitions:
            self.observer.abandoned(partition, len(batch.records[partition]))

    def _settle(
        self, batch: Batch, taken: Mapping[TopicPartition, PartitionState], report: BatchReport
    ) -> None:
        for partition, hold in report.held.items():
            if self.ledger.give_back(taken[partition], hold):
                self.source.seek(partition, taken[partition].committable)
                self.observer.held(partition, hold, len(batch.records[partition]))
            else:
                self._abandon(batch, [partition])
        outdated = []
        for partition in report.partitions:
            if self.ledger.settle(taken[partition]):
                # What is unread lies behind it.
                taken[partition].oldest_unread_ms = batch.records[partition][-1].timestamp_ms
            else:
                outdated.append(partition)
        for partition in outdated:
            del report.partitions[partition]
        self._abandon(batch, outdated)
        self.observer.settled(report)

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._epochs[task]
        self.observer.in_flight(len(self._epochs))
        error = None if task.cancelled() else task.exception()
        if task.cancelled() and not self._cancelled:
            # Its records would stay taken for ever, and the partition would stand still.
            error = TaskDiedError("a batch was cancelled from outside")
        if error is not None and not self.failure.done():
            self.failure.set_exception(error)
