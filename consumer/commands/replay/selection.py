"""From what was asked for to ranges of offsets, bounded by the ends of this moment."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from consumer.commands.replay.filters import MessageFilter, TimeFilter
from consumer.commands.replay.listed import ListedRecords
from consumer.commands.replay.moments import moment_ms
from consumer.commands.replay.request import Request
from consumer.contract.record import TopicPartition
from consumer.errors import SettingsError
from consumer.kafka.range_reader import RangeReader
from consumer.kafka.ranges import EVERYTHING, Bounds, OffsetRange, offsets_of
from consumer.kafka.selector import AllRecords, Selector

SAMPLE = 200
"""Offsets at the beginning of a range whose keys tell whether keys lead where records lie."""


@dataclass(frozen=True, slots=True)
class Selected:
    """What is read, and what of it is wanted. ``gone``: listed records outside of the logs.

    ``elsewhere``: what is not read, since no record of the sessions asked for should be there.
    ``before``: how many offsets lie before the first record of the time that was asked for, by
    the brokers' index of times.
    """

    ranges: Sequence[OffsetRange]
    bounds: Bounds = EVERYTHING
    gone: int = 0
    elsewhere: Sequence[OffsetRange] = ()
    before: int = 0


def selector_of(
    request: Request, listed: ListedRecords | None, bounds: Bounds
) -> Selector | TimeFilter:
    """Return which records of the ranges are wanted."""
    selector: Selector = AllRecords()
    if listed is not None:
        selector = listed
    elif request.sessions or request.kinds:
        selector = MessageFilter(request.sessions, request.kinds)
    return TimeFilter(selector, bounds) if bounds.has_times else selector


async def select(
    reader: RangeReader,
    request: Request,
    topics: Iterable[str],
    now: datetime,
    came_from: Collection[TopicPartition] = (),
) -> Selected:
    """Return the ranges of what the options select of ``topics``.

    Of sessions, those that their keys lead to and that ``came_from`` names, what their
    documents say they came from; every one where keys do not lead to where records lie.

    Raises ``SettingsError`` for a moment or a partition that makes no sense,
    ``PreconditionError`` for a missing topic, ``TransientError`` while no broker answers.
    """
    bounds = bounds_of(request, now)
    partitions = await reader.partitions_of(topics)
    if request.partitions:
        numbers = {partition.partition for partition in partitions}
        unknown = sorted(set(request.partitions) - numbers)
        if unknown:
            raise SettingsError(
                f"--partition {unknown[0]}: the topics have the partitions 0 to {max(numbers)}"
            )
        partitions = [p for p in partitions if p.partition in request.partitions]
    ranges = await reader.ranges(partitions, bounds)
    before = 0
    if bounds.from_ms is not None:
        without = await reader.ranges(partitions, replace(bounds, from_ms=None, to_ms=None))
        before = offsets_of(without) - offsets_of(ranges)
    if not request.sessions or request.all_partitions or not await _keys_lead(reader, ranges):
        return Selected(ranges, bounds, before=before)
    near = await _homes(reader, partitions, request.sessions) | set(came_from)
    return Selected(
        [part for part in ranges if part.partition in near],
        bounds,
        elsewhere=[part for part in ranges if part.partition not in near],
        before=before,
    )


def bounds_of(request: Request, now: datetime) -> Bounds:
    """Return the bounds in every partition. Raises ``SettingsError``."""
    bounds = Bounds(
        request.from_offset,
        request.to_offset,
        None if request.from_time is None else moment_ms("--from-time", request.from_time, now),
        None if request.to_time is None else moment_ms("--to-time", request.to_time, now),
    )
    if bounds.from_ms is not None and bounds.to_ms is not None and bounds.from_ms >= bounds.to_ms:
        raise SettingsError(
            f"--from-time {request.from_time} is not before --to-time {request.to_time}"
        )
    return bounds


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


async def _homes(
    reader: RangeReader, partitions: Iterable[TopicPartition], sessions: Iterable[str]
) -> set[TopicPartition]:
    """Return where the default partitioner puts the sessions, in each topic."""
    topics = {partition.topic for partition in partitions}
    return {
        await reader.partition_of(topic, session.encode())
        for topic in topics
        for session in sessions
    }


async def select_listed(reader: RangeReader, listed: ListedRecords) -> Selected:
    """Return what listed records span, as far as the logs reach. Raises as ``select`` does."""
    existing = set(await reader.partitions_of(listed.topics))
    spans = {part.partition: part for part in listed.ranges()}
    logs = await reader.ranges([partition for partition in spans if partition in existing])
    ranges = [
        OffsetRange(
            log.partition,
            max(log.first, spans[log.partition].first),
            min(log.end, spans[log.partition].end),
        )
        for log in logs
    ]
    wanted = sum(map(listed.wanted_in, spans.values()))
    return Selected(ranges, gone=wanted - sum(map(listed.wanted_in, ranges)))
