"""Parts of topics: from which offset to which. Pure: no client, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from consumer.contract.record import OffsetRange, Record, TopicPartition

DECODING_ATTEMPTS = 3
"""So often a batch that cannot be decoded is fetched: it may have been damaged on its way."""

PATIENCE = 60.0
"""Seconds for which a partition that cannot be read is tried again."""

END_PATIENCE = 10.0
"""Seconds for which a log may end before its range: a new leader learns the end a little later."""

DELETED = "deleted"
BEGAN_ANEW = "log_began_anew"
ENDS_BEFORE = "log_ends_before"
TOPIC_GONE = "topic_gone"
"""What ``UnreadRange.cause`` may say, beside the names of what clients and decoders raise."""


@dataclass(frozen=True, slots=True)
class UnreadRange(OffsetRange):
    """The offsets ``first`` to ``end`` (exclusive) of a range, which were not read, and why.

    Deleted ones are counted as a whole: what of them held no record cannot be told any more.
    """

    cause: str

    def __str__(self) -> str:
        """Say it as a report does."""
        offsets = f"{self.first} to {self.end - 1}"
        return f"{self.partition.name}: offsets {offsets} not read ({self.cause})"

    def facts(self) -> dict[str, object]:
        """Return it for JSON."""
        said = {"first": self.first, "end": self.end, "cause": self.cause}
        return self.partition._asdict() | said


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a caller asks for, in every partition alike; None where it does not say.

    ``from_offset`` and ``from_ms`` (milliseconds since the epoch) are inclusive, ``to_offset``
    and ``to_ms`` exclusive. Where offset and time both stand, the narrower one counts.
    Producers' clocks differ, so that times have no order in a log: it is read from the first
    record stamped at ``from_ms`` or later, as the broker finds it, up to its end, and ``hold``
    tells of each record whether its own time lies inside.
    """

    from_offset: int | None = None
    to_offset: int | None = None
    from_ms: int | None = None
    to_ms: int | None = None

    def hold(self, timestamp_ms: int) -> bool:
        """Tell whether a record stamped so lies inside; one without a time lies in none."""
        if self.from_ms is None and self.to_ms is None:
            return True
        first = 0 if self.from_ms is None else self.from_ms
        return max(first, 0) <= timestamp_ms and (self.to_ms is None or timestamp_ms < self.to_ms)


EVERYTHING = Bounds()


@dataclass(frozen=True, slots=True)
class LogExtent:
    """Where a partition's log begins and ends, with the offset at the time asked for.

    ``at_from`` is None where no record is stamped then or later.
    """

    beginning: int
    end: int
    at_from: int | None = None


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
    first = min(first, extent.end)
    return OffsetRange(partition, first, max(first, end))


def offsets_of(ranges: Iterable[OffsetRange]) -> int:
    """Return how many offsets all the ranges cover."""
    return sum(part.offsets for part in ranges)


class RecordFilter(Protocol):
    """Which records of ranges are wanted."""

    def matches(self, record: Record) -> bool:
        """Whether the record is wanted."""

    def next_match(self, partition: TopicPartition, offset: int) -> int | None:
        """The first offset from ``offset`` on that may be wanted, None where there is none."""
