"""Reading parts of topics without a group: no membership, no commits, nothing left behind.

``consumer run`` may go on meanwhile; its group does not notice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass
from functools import partial

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as ClientPartition
from aiokafka.consumer.fetcher import READ_UNCOMMITTED
from aiokafka.errors import KafkaError

from consumer.aio import Backoff, stop_quietly
from consumer.contract.record import (
    OffsetRange,
    Offsets,
    Partitions,
    Record,
    Records,
    TopicPartition,
)
from consumer.errors import PreconditionError, TransientError, UndecodableError
from consumer.kafka.admin import CLOSE_TIMEOUT, open_admin
from consumer.kafka.client import GroupClient, PartitionsError, consumer_options
from consumer.kafka.connection import transient_errors, unreachable
from consumer.kafka.decompression import limit_decompression
from consumer.kafka.fetch_results import bound_buffers, use_bounded_results
from consumer.kafka.producer import partition_for
from consumer.kafka.ranges import (
    BEGAN_ANEW,
    DECODING_ATTEMPTS,
    DELETED,
    END_PATIENCE,
    ENDS_BEFORE,
    EVERYTHING,
    PATIENCE,
    Bounds,
    LogExtent,
    UnreadRange,
    ranges_within,
)
from consumer.kafka.topic_ids import Operation
from consumer.settings.model import KafkaSettings

POLL = 0.5
"""Seconds one fetch waits for records."""

PAUSES = Backoff(0.1, 5.0)
"""Between two tries to read, without jitter: nobody else tries."""

NO_TIME_LATER = 2**63 - 1
"""A time no record can be stamped after; larger ones do not fit the protocol."""


@dataclass(frozen=True, slots=True)
class Passed:
    """Where a fetch has left off, and what lies before that without having been handed out.

    ``reached``: the next offset of each partition that was asked for. Transaction markers and
    what was aborted have offsets, too, so that it may be further than any record.
    ``began_anew``: the partitions whose logs are not the ones any more that were read so far.
    """

    reached: Offsets
    deleted: Sequence[OffsetRange]
    began_anew: Partitions


async def passed_over(
    reader: RangeReader,
    expected: Offsets,
    fetched: Records,
) -> Passed:
    """Tell a hole that retention made from one that transactions leave.

    The client goes on by itself at the beginning of a log that was deleted up to there: often
    in a fetch that brings no record yet, so that its position alone tells of it. ``expected``
    is where each partition was to be read from. Raises ``TransientError`` where the brokers
    cannot be asked.
    """
    # Taken before anything is awaited: the client moves its positions in the background.
    positions = {partition: reader.position(partition) for partition in expected}
    begun: dict[TopicPartition, int] = {}
    reached: dict[TopicPartition, int] = {}
    for partition, due in expected.items():
        records, position = fetched.get(partition), positions[partition]
        at = due if position is None else position
        begun[partition] = records[0].offset if records else at
        reached[partition] = max(at, records[-1].offset + 1) if records else at
    jumped = [partition for partition, due in expected.items() if begun[partition] > due]
    beginnings = await reader.beginning_offsets(jumped) if jumped else {}
    gaps = [
        OffsetRange(partition, expected[partition], min(beginnings[partition], begun[partition]))
        for partition in jumped
    ]
    return Passed(
        reached,
        [gap for gap in gaps if gap.offsets > 0],
        [partition for partition, due in expected.items() if begun[partition] < due],
    )


class RangeReader(GroupClient):
    """What the tools ask of topics, as a client of no group: partitions are assigned by hand.

    One ``read`` at a time; use ``open_range_reader``. Everything that is about a group
    (``commit``, ``committed``) must not be called.
    """

    def __init__(self, consumer: AIOKafkaConsumer, kafka: KafkaSettings) -> None:
        """Wrap a started client. ``unread``: what every ``read`` so far had to leave out."""
        super().__init__(consumer)
        self.unread: list[UnreadRange] = []
        self._kafka = kafka
        self._counts: dict[str, int] = {}

    def _check_membership(self) -> None:
        """There is no membership that could be lost."""

    def assign(self, positions: Offsets) -> None:
        """Read these partitions from these offsets on, and no others."""
        self._consumer.assign([ClientPartition(*partition) for partition in positions])
        for partition, offset in positions.items():
            self._consumer.seek(ClientPartition(*partition), offset)

    def pause(self, partition: TopicPartition) -> None:
        """Fetch no more of an assigned partition."""
        self._consumer.pause(ClientPartition(*partition))

    async def offsets_at(
        self, partitions: Partitions, timestamp_ms: int
    ) -> Mapping[TopicPartition, int | None]:
        """Return the first offset stamped then or later, None where there is none."""
        moment = min(max(timestamp_ms, 0), NO_TIME_LATER)
        # The client writes its answer into the mapping it was given: it gets one of its own.
        asked = {ClientPartition(*partition): moment for partition in partitions}
        with transient_errors("list_offsets"):
            found = await self._consumer.offsets_for_times(asked) if partitions else {}
        return {
            TopicPartition(*partition): None if answer is None else int(answer.offset)
            for partition, answer in found.items()
        }

    async def high_watermarks(self, partitions: Partitions) -> Offsets:
        """Return where the logs end, with what open transactions keep from being read.

        To be asked before ``end_offsets``: what lies between was there, and could not be read.
        """
        # A copy, since the level is that of all fetches, too.
        fetcher = copy(self._consumer._fetcher)  # noqa: SLF001 -- nothing public asks for both
        fetcher._isolation_level = READ_UNCOMMITTED  # noqa: SLF001 -- as above
        timeout_ms = int(self._kafka.request_timeout * 1000)
        return await self._offsets(partial(fetcher.end_offsets, timeout_ms=timeout_ms), partitions)

    @property
    def unreadable(self) -> list[UnreadRange]:
        """What of ``unread`` is there and cannot be read; not what retention has deleted."""
        return [part for part in self.unread if part.cause != DELETED]

    async def partitions_of(self, topics: Iterable[str]) -> list[TopicPartition]:
        """Return the partitions of each topic.

        Raises ``PreconditionError`` for one that is missing, or that we may not read.

        Asked of the admin client: asking a consumer's for a topic might create it.
        """
        names = list(dict.fromkeys(topics))
        unknown = [name for name in names if name not in self._counts]
        if unknown:
            async with open_admin(self._kafka) as admin:
                described = await admin.describe(unknown, Operation.READ)
            self._counts.update({name: topic.partitions for name, topic in described.items()})
        missing = [name for name in names if name not in self._counts]
        if missing:
            raise PreconditionError(f"no such topic: {', '.join(missing)}")
        return [
            TopicPartition(name, number) for name in names for number in range(self._counts[name])
        ]

    async def partition_of(self, topic: str, key: bytes) -> TopicPartition:
        """Return where Kafka's default partitioner puts a key."""
        return TopicPartition(topic, partition_for(key, len(await self.partitions_of([topic]))))

    async def ranges(self, topics: Iterable[str], bounds: Bounds = EVERYTHING) -> list[OffsetRange]:
        """Return what ``bounds`` select of each partition, up to the ends of this moment.

        Raises as ``partitions_of``.
        """
        partitions = await self.partitions_of(topics)
        return ranges_within(bounds, await self.extents(partitions, bounds.from_ms))

    async def extents(
        self, partitions: Partitions, from_ms: int | None = None
    ) -> dict[TopicPartition, LogExtent]:
        """Return where each log begins and ends at this moment, with the offset of a time."""
        beginnings, ends = (
            await self.beginning_offsets(partitions),
            await self.end_offsets(partitions),
        )
        at_from = {} if from_ms is None else await self.offsets_at(partitions, from_ms)
        return {p: LogExtent(beginnings[p], ends[p], at_from.get(p)) for p in partitions}

    async def read(
        self, ranges: Iterable[OffsetRange], *, max_records: int = 2000, patience: float = PATIENCE
    ) -> AsyncIterator[tuple[TopicPartition, Sequence[Record]]]:
        """Yield the records of all ranges, each partition's in order, partitions interleaved.

        At most ``max_records`` at a time. What cannot be read of a partition, or was deleted
        meanwhile, is left out and named in ``unread``; the other partitions go on. Raises
        ``TransientError`` where nothing comes of any for ``patience`` seconds.
        """
        reading = RangesInReading(self, ranges, patience)
        clock = asyncio.get_running_loop().time
        deadline, failures = clock() + patience, 0
        while reading.left:
            ready = reading.ready(clock())
            if not ready:
                await asyncio.sleep(PAUSES.initial)
                continue
            try:
                fetched, passed = await reading.fetch(ready, max_records, POLL)
            except PartitionsError as error:
                self.unread += reading.failed(error.failed, clock())
                continue
            except TransientError:
                if clock() >= deadline:
                    raise
                failures += 1
                await asyncio.sleep(PAUSES.ceiling(failures))
                continue
            for item in fetched.items():
                yield item
            moved, unread = reading.moved(passed, clock())
            self.unread += unread
            if moved:
                deadline, failures = clock() + patience, 0
            elif clock() >= deadline:
                raise TransientError("no_records", f"nothing was fetched for {patience:g} s")


@dataclass(slots=True)
class _Failing:
    """A partition whose last attempts to read it have failed: since when, how often, till when."""

    since: float
    attempts: int = 0
    again_at: float = 0.0


class RangesInReading:
    """Where reading stands in each range that is not empty.

    ``left``: how far, for each that is not at its end; ``ends``: where each ends.
    """

    def __init__(self, reader: RangeReader, ranges: Iterable[OffsetRange], patience: float) -> None:
        """Assign the client every range that is not empty."""
        parts = [part for part in ranges if part.offsets]
        self._reader = reader
        self._patience = patience
        self._failing: dict[TopicPartition, _Failing] = {}
        self.ends = {part.partition: part.end for part in parts}
        self.left = {part.partition: part.first for part in parts}
        if parts:
            reader.assign(self.left)

    def ready(self, now: float) -> list[TopicPartition]:
        """Return the partitions to fetch: those that failed a moment ago are left alone."""
        waiting = {p for p, failing in self._failing.items() if failing.again_at > now}
        return [partition for partition in self.left if partition not in waiting]

    async def fetch(
        self, ready: Partitions, max_records: int, timeout: float
    ) -> tuple[Records, Passed]:
        """Return what has come of the ranges; nothing of logs that began anew.

        Raises ``TransientError``: the same is read again.
        """
        try:
            expected = {partition: self.left[partition] for partition in ready}
            fetched = await self._reader.fetch(ready, max_records, timeout)
            passed = await passed_over(self._reader, expected, fetched)
        except PartitionsError:
            raise
        except TransientError:
            # What a failed fetch had taken already is dropped by the client, or by us.
            for partition, offset in self.left.items():
                self._reader.seek(partition, offset)
            raise
        within = {
            partition: [record for record in records if record.offset < self.ends[partition]]
            for partition, records in fetched.items()
            if partition not in passed.began_anew
        }
        return {partition: records for partition, records in within.items() if records}, passed

    def moved(self, passed: Passed, now: float) -> tuple[bool, list[UnreadRange]]:
        """Follow a good fetch; tell whether any partition has advanced, and what it left out."""
        unread = [
            UnreadRange(gap.partition, gap.first, min(gap.end, self.ends[gap.partition]), DELETED)
            for gap in passed.deleted
        ]
        unread += [
            UnreadRange(partition, self.left[partition], self.ends[partition], BEGAN_ANEW)
            for partition in passed.began_anew
        ]
        moved = False
        for partition, reached in passed.reached.items():
            if partition in passed.began_anew:
                self.advance(partition, self.ends[partition])
            elif reached > self.left[partition]:
                self._failing.pop(partition, None)
                self.advance(partition, reached)
            elif (end := self._reader.highwater(partition)) is not None and end <= self.left[
                partition
            ]:
                error = {partition: TransientError(ENDS_BEFORE)}
                unread += self.failed(error, now, END_PATIENCE)
                continue
            else:
                continue
            moved = True
        return moved, unread

    def failed(
        self,
        failed: Mapping[TopicPartition, TransientError],
        now: float,
        patience: float | None = None,
    ) -> list[UnreadRange]:
        """Leave partitions alone for a moment; return what of them is given up.

        That is a batch which cannot be decoded, and all of a partition that cannot be read for
        ``patience`` seconds.
        """
        unread: list[UnreadRange] = []
        for partition, error in failed.items():
            failing = self._failing.setdefault(partition, _Failing(now))
            failing.attempts += 1
            failing.again_at = now + PAUSES.ceiling(failing.attempts)
            first, end = self.left[partition], self.ends[partition]
            if isinstance(error, UndecodableError):
                if failing.attempts < DECODING_ATTEMPTS:
                    continue
                first = max(first, error.first)
                end = end if error.end is None else min(end, error.end)
            elif now - failing.since < (self._patience if patience is None else patience):
                continue
            del self._failing[partition]
            unread.append(UnreadRange(partition, first, end, error.cause))
            self.seek(partition, end)
        return unread

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Go on at ``offset``, and fetch from there, unless it is the end of the range."""
        self.advance(partition, offset)
        if partition in self.left:
            self._reader.seek(partition, offset)

    def advance(self, partition: TopicPartition, offset: int) -> None:
        """Go on at ``offset``; at the end of the range, fetch no more of the partition."""
        self.left[partition] = offset
        if offset >= self.ends[partition]:
            del self.left[partition]
            self._reader.pause(partition)


@asynccontextmanager
async def open_range_reader(kafka: KafkaSettings) -> AsyncIterator[RangeReader]:
    """Connect without a group. Raises ``TransientError`` while no broker answers."""
    limit_decompression(kafka.max_decompressed_bytes)
    use_bounded_results(kafka.max_decompressed_bytes)
    consumer = AIOKafkaConsumer(**consumer_options(kafka))
    try:
        try:
            await consumer.start()
        except (KafkaError, OSError) as error:
            raise await unreachable(kafka, error) from error
        bound_buffers(consumer, kafka.fetch_max_bytes)
        yield RangeReader(consumer, kafka)
    finally:
        await stop_quietly(consumer.stop(), CLOSE_TIMEOUT)
