"""The batches in flight: begun, run to their ends, settled in the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from consumer.contract.record import Record, TopicPartition
from consumer.engine.assignment import Assignment
from consumer.engine.ledger import Ledger, Span
from consumer.engine.pipeline import Abandoned, Batch, Pipeline
from consumer.errors import TaskDiedError
from consumer.ports import BatchReport, Observer, Source


class InFlightBatches:
    """Runs batches side by side, each of partitions that no other one has."""

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        source: Source,
        ledger: Ledger,
        assignment: Assignment,
        observer: Observer,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        """``on_failure`` is told of an exception that ends a batch; it must end the process."""
        self._pipeline = pipeline
        self._source = source
        self._ledger = ledger
        self._assignment = assignment
        self._observer = observer
        self._on_failure = on_failure
        self._epochs: dict[asyncio.Task[None], int] = {}
        self._given_up = False

    def __len__(self) -> int:
        """How many are in flight, those of older assignments included."""
        return len(self._epochs)

    def begin(
        self, records: Mapping[TopicPartition, Sequence[Record]], ended: asyncio.Event
    ) -> None:
        """Take the records and start on them. ``ended`` is set when the assignment is over."""
        spans = {
            partition: self._ledger.take(partition, taken[0].offset, taken[-1].offset + 1)
            for partition, taken in records.items()
        }
        self._assignment.occupy(records)
        task = asyncio.ensure_future(self._run(Batch(records, ended), spans))
        self._epochs[task] = self._ledger.epoch
        task.add_done_callback(self._done)
        self._observer.in_flight(len(self._epochs))

    async def any_done(self, timeout: float) -> None:
        """Wait until one has ended, at most ``timeout`` seconds."""
        await asyncio.wait(self._epochs, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)

    async def present_done(self, timeout: float) -> bool:
        """Wait until those of the present epoch have ended; False where ``timeout`` came first.

        The older ones are not waited for: nothing of them can be committed.
        """
        epoch = self._ledger.epoch
        present = [batch for batch, its_epoch in self._epochs.items() if its_epoch == epoch]
        if present:
            await asyncio.wait(present, timeout=timeout)
        return all(batch.done() for batch in present)

    async def cancel(self) -> None:
        """Give up whatever is in flight; it counts as not done."""
        self._given_up = True
        left = list(self._epochs)
        for batch in left:
            batch.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _run(self, batch: Batch, spans: Mapping[TopicPartition, Span]) -> None:
        try:
            report = await self._pipeline.process(batch)
        except Abandoned:
            self._abandon(batch)
        except asyncio.CancelledError:
            self._abandon(batch)
            raise
        else:
            self._settle(batch, spans, report)
        finally:
            self._assignment.release(batch.records)

    def _abandon(self, batch: Batch) -> None:
        for partition, records in batch.records.items():
            self._observer.abandoned(partition, len(records))

    def _settle(
        self, batch: Batch, spans: Mapping[TopicPartition, Span], report: BatchReport
    ) -> None:
        for partition, hold in report.held.items():
            span = spans[partition]
            if self._ledger.give_back(span, hold):
                self._source.seek(partition, span.first)
                self._assignment.hold(partition)
                self._observer.held(partition, hold)
            else:
                self._observer.abandoned(partition, len(batch.records[partition]))
        for partition in list(report.partitions):
            if not self._ledger.settle(spans[partition]):
                del report.partitions[partition]
                self._observer.abandoned(partition, len(batch.records[partition]))
        self._observer.settled(report)

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._epochs[task]
        self._observer.in_flight(len(self._epochs))
        if task.cancelled():
            if not self._given_up:
                # Its records would stay taken for ever, and the partition would stand still.
                self._on_failure(TaskDiedError("a batch was cancelled from outside"))
            return
        error = task.exception()
        if error is not None:
            self._on_failure(error)
