"""The ranges of offsets that a selection means, up to the ends of this moment."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from consumer.commands.common.record_selection import RecordSelection, bounds_of
from consumer.contract.record import OffsetRange, Offsets, Record, TopicPartition
from consumer.errors import SettingsError
from consumer.kafka.range_reader import RangeReader
from consumer.kafka.ranges import EVERYTHING, Bounds, LogExtent, offsets_of, ranges_within
from consumer.quantities import plural

SAMPLE = 200
"""Offsets at the beginning of a range whose keys tell whether keys lead where records lie."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """How much of the topics a command leaves out; the names are those of its JSON."""

    outside_times: int = 0
    """Records that were read, and whose time lies outside of what was asked for."""
    before_times: int = 0
    """Offsets before the first record of that time, by the brokers' index."""
    behind_transactions: int = 0
    """Offsets behind a transaction that is open: nobody can read them yet."""
    partitions_left_out: int = 0
    """Partitions not read, since no record of the sessions asked for should be there."""

    def remarks(self) -> Iterator[str]:
        """Say it to people."""
        if self.before_times:
            yield (
                f"{plural(self.before_times, 'offset')} before the first record of that time, by "
                "the brokers' index of times"
            )
        if self.outside_times:
            passed_over = plural(self.outside_times, "record")
            yield f"{passed_over} read and passed over, whose own time lies outside"
        if self.behind_transactions:
            offsets = plural(self.behind_transactions, "offset")
            yield f"{offsets} left out: behind a transaction that is still open"
        if self.partitions_left_out:
            yield (
                f"{plural(self.partitions_left_out, 'partition')} not read: no key of these "
                "sessions leads there, and no document came from there; --all-partitions reads "
                "them too"
            )


@dataclass(frozen=True, slots=True)
class SelectedRanges:
    """What is read; ``elsewhere``: the partitions left out for the sessions asked for."""

    ranges: Sequence[OffsetRange]
    bounds: Bounds = EVERYTHING
    elsewhere: Sequence[OffsetRange] = ()
    left_out: LeftOut = LeftOut()


async def select_ranges(
    reader: RangeReader,
    selection: RecordSelection,
    topics: Iterable[str],
    now: datetime,
    came_from: Collection[TopicPartition] = (),
) -> SelectedRanges:
    """Return the ranges of what the options select of ``topics``, up to their ends of now.

    Of sessions, those that their keys lead to and that ``came_from`` names, what their
    documents say they came from; every one where keys do not lead to where records lie.

    Raises ``SettingsError`` for a time or a partition that makes no sense,
    ``PreconditionError`` for a missing topic, ``TransientError`` while no broker answers.
    """
    bounds = bounds_of(selection, now)
    partitions = await reader.partitions_of(topics)
    if selection.partitions:
        numbers = {partition.partition for partition in partitions}
        unknown = sorted(set(selection.partitions) - numbers)
        if unknown:
            raise SettingsError(
                f"--partition {unknown[0]}: the topics have the partitions 0 to {max(numbers)}"
            )
        partitions = [p for p in partitions if p.partition in selection.partitions]
    ahead = await reader.high_watermarks(partitions)
    # Asked once: what is published meanwhile is neither in the ranges nor before them.
    extents = await reader.extents(partitions, bounds.from_ms)
    ranges = ranges_within(bounds, extents)
    before = 0
    if bounds.from_ms is not None:
        without = ranges_within(replace(bounds, from_ms=None, to_ms=None), extents)
        before = offsets_of(without) - offsets_of(ranges)
    left_out = LeftOut(before_times=before, behind_transactions=held_back_by(extents, ahead))
    if not selection.sessions or selection.all_partitions or not await _keys_lead(reader, ranges):
        return SelectedRanges(ranges, bounds, left_out=left_out)
    topics = {partition.topic for partition in partitions}
    keys = [(topic, session.encode()) for topic in topics for session in selection.sessions]
    near = {await reader.partition_of(*key) for key in keys} | set(came_from)
    elsewhere = [part for part in ranges if part.partition not in near]
    return SelectedRanges(
        [part for part in ranges if part.partition in near],
        bounds,
        elsewhere,
        replace(left_out, partitions_left_out=len(elsewhere)),
    )


def held_back_by(extents: Mapping[TopicPartition, LogExtent], ahead: Offsets) -> int:
    """Return how many offsets open transactions keep from being read."""
    return sum(max(ahead[partition] - log.end, 0) for partition, log in extents.items())


async def _keys_lead(reader: RangeReader, ranges: Iterable[OffsetRange]) -> bool:
    """Tell whether the oldest records lie where the default partitioner puts their keys now.

    They do not where partitions have been added since, where a producer partitions by other
    rules, or where it sends no keys: then nothing tells where a session's records are.
    """
    oldest = [replace(part, end=min(part.end, part.first + SAMPLE)) for part in ranges]
    lead, unread = True, list(reader.unread)
    async for partition, records in reader.read(oldest):
        for key in {record.key for record in records}:
            home = None if key is None else await reader.partition_of(partition.topic, key)
            lead = lead and home == partition
    # What cannot be read here is met again, and named, by whoever wants it.
    reader.unread[:] = unread
    return lead


@dataclass(frozen=True, slots=True)
class CommittedOffsets:
    """The offsets that the group has committed: nothing has to account yet for what lies beyond.

    A group that has none at all may have been replaced by a replay, or its offsets have
    expired: then every record is taken as read.
    """

    offsets: Mapping[TopicPartition, int]

    def end(self, part: OffsetRange) -> int:
        """Return up to where the group has read a range: from its first to its end."""
        read = self.offsets.get(part.partition, 0) if self.offsets else part.end
        return max(part.first, min(part.end, read))

    def covers(self, record: Record) -> bool:
        """Tell whether the group has read a record."""
        offset = record.offset
        return self.end(OffsetRange(record.topic_partition, offset, offset + 1)) > offset
