"""Which records of a part of a topic are wanted."""

from __future__ import annotations

from typing import Protocol

from consumer.contract.record import Record, TopicPartition


class Selector(Protocol):
    """Which records of the ranges are wanted."""

    def wants(self, record: Record) -> bool:
        """Whether the engine is to have this record."""
        ...

    def next_wanted(self, partition: TopicPartition, offset: int) -> int | None:
        """The first offset from ``offset`` on that may be wanted, None where there is none."""
        ...


class AllRecords:
    """``Selector`` that wants everything."""

    def wants(self, record: Record) -> bool:  # noqa: ARG002 -- the port's signature
        """See ``Selector``."""
        return True

    def next_wanted(
        self,
        partition: TopicPartition,  # noqa: ARG002 -- the port's signature
        offset: int,
    ) -> int | None:
        """See ``Selector``."""
        return offset
