"""What is known of the records that are not settled yet: how old, and whether they still exist."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from consumer.contract.record import Record, TopicPartition
from consumer.engine.assignment import Assignment
from consumer.engine.ledger import Ledger
from consumer.ports import OffsetGap, Source


class Backlog:
    """The unread records of the present assignment; what ``RetentionWatch`` looks at."""

    def __init__(
        self,
        *,
        source: Source,
        ledger: Ledger,
        assignment: Assignment,
        meet_gap: Callable[[OffsetGap], None],
    ) -> None:
        """``meet_gap`` reports records that are gone, or raises where the settings say stop."""
        self._source = source
        self._ledger = ledger
        self._assignment = assignment
        self._meet_gap = meet_gap
        self._stamps: dict[TopicPartition, int] = {}

    def forget(self) -> None:
        """The assignment is over."""
        self._stamps.clear()

    def taken(self, records: Mapping[TopicPartition, Sequence[Record]]) -> None:
        """Note how old the records are that were taken last."""
        self._stamps.update({p: taken[0].timestamp_ms for p, taken in records.items()})

    def oldest_unread_ms(self) -> Mapping[TopicPartition, int]:
        """Return, for each partition with lag, a timestamp no unread record is older than.

        The first record of a partition's last batch is the bound: what is settled is older.
        """
        return {
            partition: stamp
            for partition, stamp in self._stamps.items()
            if partition in self._ledger and self._lags(partition)
        }

    def _lags(self, partition: TopicPartition) -> bool:
        return (self._source.highwater(partition) or 0) > self._ledger.committable(partition)

    def idle_positions(self) -> Mapping[TopicPartition, int]:
        """Return the next offset of every partition with nothing in flight."""
        return {
            partition: self._ledger.taken(partition)
            for partition in self._ledger
            if self._ledger.clean(partition) and not self._assignment.busy(partition)
        }

    def skip(self, gap: OffsetGap) -> None:
        """Let the ledger stand behind a gap that was told, so that it is not found once more."""
        partition = gap.partition
        if partition in self._ledger and self._ledger.clean(partition):
            self._ledger.skip_to(partition, max(gap.end, self._ledger.taken(partition)))

    def cross(self, gap: OffsetGap) -> None:
        """Go on behind records that are gone.

        Raises ``IncidentError`` where the settings say to stop.
        """
        self._meet_gap(gap)
        self.skip(gap)
        self._source.seek(gap.partition, gap.end)
