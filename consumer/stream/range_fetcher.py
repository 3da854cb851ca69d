"""What reading parts of topics needs of a client."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from consumer.contract.record import Record, TopicPartition


class RangeFetcher(Protocol):
    """The few methods of a client without a group that are used here."""

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """Read these partitions from these offsets on, and no others."""
        ...

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Fetch from ``offset`` next."""
        ...

    def pause(self, partition: TopicPartition) -> None:
        """Fetch no more of the partition."""
        ...

    def position(self, partition: TopicPartition) -> int | None:
        """The offset the client would fetch next, None where it has none."""
        ...

    def highwater(self, partition: TopicPartition) -> int | None:
        """The end of the partition as of the last fetch, None before it."""
        ...

    async def fetch(
        self, partitions: Collection[TopicPartition], max_records: int, timeout: float
    ) -> Mapping[TopicPartition, Sequence[Record]]:
        """Take what was fetched for ``partitions``. Raises ``TransientError``."""
        ...

    async def beginnings(
        self, partitions: Collection[TopicPartition]
    ) -> Mapping[TopicPartition, int]:
        """The offsets at which the logs begin now. Raises ``TransientError``."""
        ...
