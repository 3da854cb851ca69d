"""The topics of a Kafka cluster in memory: logs with holes, transactions, deletion, bad batches."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from consumer.contract.record import Headers, Record, TopicPartition


@dataclass(slots=True)
class Log:
    """One partition. ``number`` tells the logs of a topic that was made anew apart."""

    partition: TopicPartition
    number: int = 0
    start: int = 0
    end: int = 0
    records: list[Record] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    corrupt: int | None = None
    """From this offset on the records cannot be decoded."""
    open_from: int | None = None
    """Where an open transaction begins: nothing from there on is handed out."""

    @property
    def stable(self) -> int:
        """The last stable offset, up to which the log can be read."""
        return self.end if self.open_from is None else self.open_from

    def append(
        self,
        value: bytes | None,
        key: bytes | None = None,
        timestamp_ms: int = -1,
        headers: Headers = (),
    ) -> Record:
        """Add a record behind the others."""
        topic, partition = self.partition
        record = Record(topic, partition, self.end, timestamp_ms, key, value, headers)
        self.records.append(record)
        self.offsets.append(self.end)
        self.end += 1
        return record

    def leave_hole(self, offsets: int = 1) -> None:
        """Use offsets up without a record, as markers and aborted transactions do."""
        self.end += offsets

    def abort(self, offsets: Collection[int]) -> None:
        """Let records be aborted: they use their offsets up, and nobody ever reads them."""
        self.records = [record for record in self.records if record.offset not in offsets]
        self.offsets = [record.offset for record in self.records]

    def delete_until(self, offset: int) -> None:
        """Delete what is below ``offset``, as retention does: nothing of an open transaction."""
        self.start = min(max(self.start, offset), self.stable)
        gone = bisect_left(self.offsets, self.start)
        del self.records[:gone], self.offsets[:gone]

    def read(self, offset: int, end: int) -> list[Record]:
        """Return the records from ``offset`` to ``end`` (exclusive)."""
        return self.records[bisect_left(self.offsets, offset) : bisect_left(self.offsets, end)]


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a fetch brought of one partition.

    ``reset_to``: the offset was out of range, and the log begins there. ``corrupt``: behind
    the records comes one that cannot be decoded.
    """

    records: list[Record]
    end: int
    stable: int
    next_offset: int
    reset_to: int | None = None
    corrupt: bool = False


class Broker:
    """Serves the logs. Every method is one request, carried out at once."""

    def __init__(self, partitions: Mapping[str, int]) -> None:
        """Make topics with so many partitions."""
        self.logs = {
            TopicPartition(topic, number): Log(TopicPartition(topic, number))
            for topic, count in partitions.items()
            for number in range(count)
        }
        self.offline: set[TopicPartition] = set()
        """Partitions without a leader: nobody can read them, or say where they begin."""
        self.away: set[str] = set()
        """Topics that are deleted and not made again yet."""
        self.has_topic_ids = True
        """Whether topics have ids, as they have since Kafka 2.8."""
        self._watchers: list[asyncio.Future[None]] = []

    @property
    def partitions(self) -> list[TopicPartition]:
        """All partitions of all topics that are there."""
        return [partition for partition in self.logs if partition.topic not in self.away]

    def watch(self, watcher: asyncio.Future[None]) -> None:
        """Be told once when anything has changed."""
        self._watchers.append(watcher)

    def changed(self) -> None:
        """Tell whoever waits at the ends of the logs."""
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            if not watcher.done():
                watcher.set_result(None)

    def has_news(
        self, positions: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> bool:
        """Whether a fetch would find something, itself out of range, or a log of another end.

        ``ends``: where the logs ended as of the last fetch, as far as that is known.
        """
        return any(
            self._readable(partition)
            and (not log.stable <= position <= log.end or ends.get(partition, log.end) != log.end)
            for partition, position in positions.items()
            for log in (self.logs[partition],)
        )

    def fetch(
        self, positions: Mapping[TopicPartition, int], most: int
    ) -> dict[TopicPartition, Fetched]:
        """Return what stands at the positions, at most so many offsets of each."""
        return {
            partition: self._fetch(self.logs[partition], position, most)
            for partition, position in positions.items()
            if self._readable(partition)
        }

    def _readable(self, partition: TopicPartition) -> bool:
        return partition not in self.offline and partition.topic not in self.away

    def _fetch(self, log: Log, position: int, most: int) -> Fetched:
        if not log.start <= position <= log.end:
            return Fetched([], log.end, log.stable, position, reset_to=log.start)
        end = max(position, min(log.stable, position + most))
        records = log.read(position, end)
        if log.corrupt is not None and records and records[-1].offset >= log.corrupt:
            good = [record for record in records if record.offset < log.corrupt]
            return Fetched(good, log.end, log.stable, position, corrupt=True)
        return Fetched(records, log.end, log.stable, end)

    def topic_ids(self, topics: Collection[str]) -> dict[str, str | None]:
        """Return the ids of the topics that exist."""
        return {
            partition.topic: f"{partition.topic}#{log.number}" if self.has_topic_ids else None
            for partition, log in self.logs.items()
            if partition.topic in topics and partition.topic not in self.away
        }

    def beginnings(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        """Return where the logs begin."""
        return {partition: self.logs[partition].start for partition in partitions}

    def ends(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        """Return up to where the logs can be read."""
        return {partition: self.logs[partition].stable for partition in partitions}

    def delete(self, topic: str) -> None:
        """Delete a topic. Its next logs are empty; until they are made it is away."""
        for partition, log in self.logs.items():
            if partition.topic == topic:
                self.logs[partition] = Log(partition, log.number + 1)
        self.away.add(topic)
        self.changed()

    def create(self, topic: str) -> None:
        """Make a topic again that was deleted."""
        self.away.discard(topic)
        self.changed()
