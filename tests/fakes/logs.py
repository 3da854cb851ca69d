"""Logs and stored sessions in memory, as the commands that only look read them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, cast

import bson
from aiokafka.partitioner import murmur2
from bson.codec_options import CodecOptions

from consumer.contract.record import OffsetRange, Record, TopicPartition
from consumer.errors import PreconditionError, TimedOutError, TransientError
from consumer.kafka.range_reader import RangeReader
from consumer.kafka.ranges import EVERYTHING, Bounds, LogExtent, UnreadRange, ranges_within
from consumer.mongo.session_reader import EndedSession, SessionReader
from tests.fakes.collections import MemoryCollections

AWARE: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True)


class MemoryLogs:
    """Topics in memory: what ``RangeReader`` tells of a cluster.

    Each partition holds its records; ``begins`` says where a log begins whose first records
    are gone. ``fails`` is how many of the next reads end in trouble after their first batch.
    """

    def __init__(self, partitions: int, *topics: str) -> None:
        self.records: dict[TopicPartition, list[Record]] = {
            TopicPartition(topic, number): [] for topic in topics for number in range(partitions)
        }
        self.begins: dict[TopicPartition, int] = {}
        self.fails = 0
        self.unread: list[UnreadRange] = []
        self.unreadable: list[UnreadRange] = []

    @property
    def reader(self) -> RangeReader:
        """What the commands are given."""
        return cast("RangeReader", self)

    def publish(
        self, topic: str, key: bytes | None, value: bytes | None, partition: int | None = None
    ) -> Record:
        """Append a record where the default partitioner puts its key, or to ``partition``."""
        if partition is None:
            partition = self.home(topic, key or b"").partition
        log = self.records[TopicPartition(topic, partition)]
        record = Record(topic, partition, len(log), 1772618400000, key, value)
        log.append(record)
        return record

    def add_partitions(self, topic: str, count: int) -> None:
        """Let a topic have ``count`` partitions from now on."""
        for number in range(count):
            self.records.setdefault(TopicPartition(topic, number), [])

    def home(self, topic: str, key: bytes) -> TopicPartition:
        """Return where the default partitioner puts a key now."""
        count = sum(1 for partition in self.records if partition.topic == topic)
        return TopicPartition(topic, int((murmur2(key) & 0x7FFFFFFF) % count))

    async def partitions_of(self, topics: Iterable[str]) -> list[TopicPartition]:
        wanted = set(topics)
        missing = wanted - {partition.topic for partition in self.records}
        if missing:
            raise PreconditionError(f"no such topic: {', '.join(sorted(missing))}")
        return [partition for partition in self.records if partition.topic in wanted]

    async def partition_of(self, topic: str, key: bytes) -> TopicPartition:
        return self.home(topic, key)

    async def ranges(self, topics: Iterable[str], bounds: Bounds = EVERYTHING) -> list[OffsetRange]:
        partitions = await self.partitions_of(topics)
        return ranges_within(bounds, await self.extents(partitions, bounds.from_ms))

    async def high_watermarks(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, int]:
        return {partition: len(self.records[partition]) for partition in partitions}

    async def extents(
        self,
        partitions: Iterable[TopicPartition],
        from_ms: int | None = None,
    ) -> dict[TopicPartition, LogExtent]:
        return {
            partition: LogExtent(self.begins.get(partition, 0), len(self.records[partition]))
            for partition in partitions
        }

    async def read(
        self, ranges: Iterable[OffsetRange]
    ) -> AsyncIterator[tuple[TopicPartition, Sequence[Record]]]:
        for part in ranges:
            found = [one for one in self.records[part.partition] if part.first <= one.offset]
            found = [one for one in found if one.offset < part.end]
            if not found:
                continue
            yield part.partition, found[:1]
            if self.fails:
                self.fails -= 1
                raise TransientError("no_records", "the brokers are away")
            if found[1:]:
                yield part.partition, found[1:]


class MemorySessions:
    """What ``SessionReader`` tells of collections in memory; ``fails`` of its answers are lost.

    ``fits``: for how many sessions events can be counted before the deadline of a command.
    """

    def __init__(self, collections: MemoryCollections) -> None:
        self._collections = collections
        self.fails = 0
        self.fits = 1_000_000

    @property
    def reader(self) -> SessionReader:
        """What the commands are given."""
        return cast("SessionReader", self)

    async def came_from(self, session_ids: Sequence[str]) -> set[TopicPartition]:
        documents = [
            self._collections.sessions[one]
            for one in session_ids
            if one in self._collections.sessions
        ]
        origins = [
            document.get(name) for document in documents for name in ("createdFrom", "endedFrom")
        ]
        origins += [event["from"] for event in self._events(session_ids)]
        return {
            TopicPartition(origin["topic"], origin["partition"])
            for origin in origins
            if origin is not None
        }

    async def session(self, session_id: str) -> Mapping[str, Any] | None:
        self._answer()
        found = self._collections.sessions.get(session_id)
        return None if found is None else bson.decode(bson.encode(found), AWARE)

    async def count_events(self, session_id: str) -> int:
        self._answer()
        return len(self._events([session_id]))

    async def count_others(self, session_id: str) -> dict[str, int]:
        self._answer()
        return {
            name: sum(ids[0] == session_id for ids in places)
            for name, places in self._collections.others.items()
        }

    async def events(
        self, session_id: str, after: Mapping[str, Any] | None = None
    ) -> AsyncIterator[Mapping[str, Any]]:
        """One at a time: each may be the last before trouble."""
        found = sorted(self._events([session_id]), key=_place)
        for event in found:
            if after is None or _place(event) > _place(after):
                yield event
                self._answer()

    async def ended(self, session_ids: Sequence[str]) -> dict[str, EndedSession]:
        self._answer()
        found = {}
        for session_id in session_ids:
            document = await self.session(session_id)
            if document is not None and "eventCount" in document:
                found[session_id] = EndedSession(
                    document["eventCount"],
                    document.get("startedAt"),
                    document.get("endedAt"),
                    document.get("expireAt"),
                )
        return found

    async def event_counts(self, session_ids: Sequence[str]) -> dict[str, int]:
        self._answer()
        if len(session_ids) > self.fits:
            raise TimedOutError("NetworkTimeout")
        return {one: len(self._events([one])) for one in session_ids}

    def _events(self, session_ids: Sequence[str]) -> list[dict[str, Any]]:
        return [
            bson.decode(bytes(document.raw))
            for (session_id, _), document in self._collections.events.items()
            if session_id in session_ids
        ]

    def _answer(self) -> None:
        if self.fails:
            self.fails -= 1
            raise TransientError("network", "the database is away")


def _place(event: Mapping[str, Any]) -> tuple[Any, str]:
    return event["timestamp"], event["eventId"]
