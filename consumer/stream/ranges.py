"""Parts of topics: from which offset to which. Pure: no client, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from consumer.contract.record import TopicPartition


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """The offsets ``first`` to ``end`` (exclusive) of one partition; not each has a record."""

    partition: TopicPartition
    first: int
    end: int

    @property
    def offsets(self) -> int:
        """How many offsets it covers: at most so many records."""
        return max(self.end - self.first, 0)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a caller asks for, in every partition alike; None where it does not say.

    ``from_offset`` and ``from_ms`` (milliseconds since the epoch) are inclusive, ``to_offset``
    and ``to_ms`` exclusive. Where offset and time both stand, the narrower one counts.
    A time means the first record stamped then or later, as the broker finds it.
    """

    from_offset: int | None = None
    to_offset: int | None = None
    from_ms: int | None = None
    to_ms: int | None = None


EVERYTHING = Bounds()


@dataclass(frozen=True, slots=True)
class LogExtent:
    """Where a partition's log begins and ends, with the offsets at the times asked for.

    ``at_from`` and ``at_to`` are None where no record is stamped then or later.
    """

    beginning: int
    end: int
    at_from: int | None = None
    at_to: int | None = None


def ranges_within(bounds: Bounds, extents: Mapping[TopicPartition, LogExtent]) -> list[OffsetRange]:
    """Return what ``bounds`` select of each partition, by topic and partition, perhaps nothing."""
    return [_range_within(bounds, partition, extents[partition]) for partition in sorted(extents)]


def _range_within(bounds: Bounds, partition: TopicPartition, extent: LogExtent) -> OffsetRange:
    first, end = extent.beginning, extent.end
    if bounds.from_offset is not None:
        first = max(first, bounds.from_offset)
    if bounds.from_ms is not None:
        first = max(first, extent.end if extent.at_from is None else extent.at_from)
    if bounds.to_offset is not None:
        end = min(end, bounds.to_offset)
    if bounds.to_ms is not None and extent.at_to is not None:
        end = min(end, extent.at_to)
    first = min(first, extent.end)
    return OffsetRange(partition, first, max(first, end))


def offsets_of(ranges: Iterable[OffsetRange]) -> int:
    """Return how many offsets all the ranges cover."""
    return sum(part.offsets for part in ranges)
