"""What a source asks of the engine, without an engine: how far each partition was read."""

from __future__ import annotations

from collections.abc import Collection

from consumer.contract.record import TopicPartition
from consumer.engine.ledger import Ledger, PartitionState
from consumer.ports import Polled


class Positions:
    """Implements ``AssignmentListener``. What is polled counts as settled at once."""

    def __init__(self) -> None:
        self.ledger = Ledger()

    def progress(self, partition: TopicPartition) -> PartitionState | None:
        return self.ledger.get(partition)

    async def on_revoked(self) -> None:
        self.ledger.assign(())

    async def on_assigned(self, partitions: Collection[TopicPartition]) -> None:
        self.ledger.assign(partitions)

    def on_lost(self) -> None:
        self.ledger.assign(())

    def take(self, polled: Polled) -> None:
        """Take all that a poll has brought."""
        for partition in polled.gone:
            self.ledger.drop(partition)
        for gap in polled.gaps:
            self.ledger.pass_to(gap.partition, gap.end)
        for partition, start in polled.starts.items():
            self.ledger.begin(partition, start)
        for partition, records in polled.records.items():
            if records:
                first, end = records[0].offset, records[-1].offset + 1
                self.ledger.settle(self.ledger.take(partition, first, end))
        for partition, offset in polled.passed.items():
            if not polled.records.get(partition):
                self.ledger.pass_to(partition, offset)
