"""Noticing a transaction that does not end: behind it a partition looks idle for ever."""

from __future__ import annotations

from consumer.contract.record import TopicPartition
from consumer.ports import Observer


class TransactionWatch:
    """Remembers since when each partition's last stable offset has not moved."""

    def __init__(self, observer: Observer, hangs_after: float) -> None:
        """``hangs_after``: so many seconds open, a transaction counts as hanging."""
        self._observer = observer
        self._hangs_after = hangs_after
        self._open: dict[TopicPartition, tuple[int, float]] = {}
        self._told: dict[TopicPartition, int] = {}

    def look(self, partition: TopicPartition, stable: int, end: int, now: float) -> None:
        """Take the last stable offset and the end as of the last fetch. ``now`` in seconds."""
        self._observer.behind_transaction(partition, end - stable)
        if stable >= end:
            self._open.pop(partition, None)
            return
        offset, since = self._open.get(partition, (-1, now))
        if offset != stable:
            self._open[partition] = (stable, now)
        elif now - since >= self._hangs_after and self._told.get(partition) != stable:
            self._told[partition] = stable
            self._observer.transaction_hangs(partition, stable, now - since)
