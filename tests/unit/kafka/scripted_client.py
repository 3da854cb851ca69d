"""A group client that does what a test says, and remembers what it was asked."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import cast

from consumer.contract.record import Record, TopicPartition
from consumer.errors import TransientError
from consumer.kafka.client import GroupClient, RebalanceCallbacks
from consumer.kafka.committed import AcceptedTarget, Committed
from consumer.kafka.source import KafkaSource
from consumer.kafka.topic_ids import TopicIds
from consumer.ports import Polled
from tests import builders
from tests.fakes.positions import Positions

P0 = TopicPartition(builders.EVENTS, 0)
P1 = TopicPartition(builders.EVENTS, 1)
P2 = TopicPartition(builders.SESSIONS, 0)

BAD_BATCH = TransientError("CorruptRecordException", "fetch failed")

Fetched = Mapping[TopicPartition, Sequence[Record]]
Script = Fetched | Exception | Callable[[], Fetched]


def records(partition: TopicPartition, *offsets: int, value: bytes = b"{}") -> list[Record]:
    topic, number = partition
    return [builders.record(value, offset, topic=topic, partition=number) for offset in offsets]


def nothing(polled: Polled) -> bool:
    """Whether a poll brought nothing at all."""
    return not any((polled.records, polled.starts, polled.gaps, polled.resets, polled.failed))


class ScriptedClient:
    """Stands in for ``GroupClient``.

    ``fetches`` are worked off one by one; without one a fetch waits for its timeout and
    brings nothing.
    """

    def __init__(self, callbacks: RebalanceCallbacks) -> None:
        self.callbacks = callbacks
        self.fetches: deque[Script] = deque()
        self.asked: list[tuple[tuple[TopicPartition, ...], float]] = []
        """The partitions and the timeout of each fetch."""
        self.sought: list[tuple[TopicPartition, int]] = []
        self.positions: dict[TopicPartition, int] = {}
        self.offsets: dict[TopicPartition, int] = {}
        self.metadata: dict[TopicPartition, str] = {}
        self.ids: dict[str, str | None] = dict.fromkeys((builders.EVENTS, builders.SESSIONS))
        """The topics that exist; None: the broker has no ids."""
        self.stale_ids: list[dict[str, str | None]] = []
        """What brokers whose metadata is behind answer first, one after the other."""
        self.ids_error: TransientError | None = None
        self.log_starts: dict[TopicPartition, int] = {}
        self.log_ends: dict[TopicPartition, int] = {}
        self.known_topics = {builders.EVENTS, builders.SESSIONS}
        """What the client's metadata has."""
        self.committed_error: TransientError | None = None
        self.beginnings_error: TransientError | None = None
        self.offline: set[TopicPartition] = set()
        """Partitions without a leader: nobody says where they begin."""
        self.before_answer: Callable[[], None] | None = None
        """Called once before the next question about offsets is answered."""
        self.commits: list[dict[TopicPartition, int]] = []
        self.commit_gate = asyncio.Event()
        self.commit_gate.set()
        self.commit_error: TransientError | None = None
        self.close_gate = asyncio.Event()
        self.close_gate.set()
        self.close_error: TransientError | None = None
        self.closed = False

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.sought.append((partition, offset))
        self.positions[partition] = offset

    def position(self, partition: TopicPartition) -> int | None:
        return self.positions.get(partition)

    def highwater(self, partition: TopicPartition) -> int | None:
        return 1_000

    def last_stable_offset(self, partition: TopicPartition) -> int | None:
        return self.highwater(partition)

    def unreachable(self) -> Mapping[TopicPartition, str]:
        return {}

    async def fetch(
        self, partitions: Collection[TopicPartition], max_records: int, timeout: float
    ) -> Fetched:
        self.asked.append((tuple(partitions), timeout))
        if not self.fetches:
            await asyncio.sleep(timeout)
            return {}
        script = self.fetches.popleft()
        await asyncio.sleep(0)
        if isinstance(script, Exception):
            # As the real one: what it has read before the error is passed over.
            self.positions |= dict.fromkeys(partitions, 999)
            raise script
        brought = script() if callable(script) else script
        for partition, read in brought.items():
            self.positions[partition] = read[-1].offset + 1
        return brought

    async def committed(
        self, partitions: Collection[TopicPartition]
    ) -> Mapping[TopicPartition, Committed | None]:
        await self._before_answer()
        if self.committed_error is not None:
            raise self.committed_error
        return {
            partition: Committed(self.offsets[partition], self.metadata.get(partition, ""))
            if partition in self.offsets
            else None
            for partition in partitions
        }

    async def topic_ids(self, topics: Collection[str]) -> TopicIds:
        await asyncio.sleep(0)
        if self.ids_error is not None:
            raise self.ids_error
        ids = self.ids | (self.stale_ids.pop(0) if self.stale_ids else {})
        return {topic: ids[topic] for topic in topics if topic in ids}

    async def beginning_offsets(
        self, partitions: Collection[TopicPartition]
    ) -> Mapping[TopicPartition, int]:
        await self._before_answer()
        if self.offline.intersection(partitions):
            await asyncio.Event().wait()
        if self.beginnings_error is not None:
            raise self.beginnings_error
        return {partition: self.log_starts.get(partition, 0) for partition in partitions}

    async def _before_answer(self) -> None:
        await asyncio.sleep(0)
        action, self.before_answer = self.before_answer, None
        if action is not None:
            action()

    async def end_offsets(
        self, partitions: Collection[TopicPartition]
    ) -> Mapping[TopicPartition, int]:
        await asyncio.sleep(0)
        return {partition: self.log_ends.get(partition, 1_000) for partition in partitions}

    def partition_counts(self) -> Mapping[str, int]:
        return dict.fromkeys(self.known_topics, 3)

    async def commit(self, offsets: Mapping[TopicPartition, Committed]) -> None:
        await self.commit_gate.wait()
        if self.commit_error is not None:
            raise self.commit_error
        self.commits.append({partition: kept.offset for partition, kept in offsets.items()})
        self.metadata |= {partition: kept.metadata for partition, kept in offsets.items()}

    async def close(self) -> None:
        await self.close_gate.wait()
        self.closed = True
        if self.close_error is not None:
            raise self.close_error


class Listening(Positions):
    """Keeps the calls. ``gate`` holds a revocation up."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[object] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def on_revoked(self) -> None:
        self.calls.append("revoked")
        await self.gate.wait()
        await super().on_revoked()

    async def on_assigned(self, partitions: Collection[TopicPartition]) -> None:
        self.calls.append(set(partitions))
        await super().on_assigned(partitions)

    def on_lost(self) -> None:
        self.calls.append("lost")
        super().on_lost()


class Setting:
    """A source whose clients are scripted."""

    def __init__(
        self, max_batch_bytes: int = 1_000_000, accepted: AcceptedTarget | None = None
    ) -> None:
        self.clients: list[ScriptedClient] = []
        self.open_errors: deque[TransientError] = deque()
        self.opens = 0
        self.listener = Listening()
        self.source = KafkaSource(
            self._open,
            request_timeout=30.0,
            max_batch_bytes=max_batch_bytes,
            topics=(builders.EVENTS, builders.SESSIONS),
            metadata_max_age=5.0,
            accepted=accepted,
        )
        self.source.listen(self.listener)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Go on from there, as the engine does behind a gap, or before what is given back."""
        self.listener.ledger[partition].position = offset
        self.source.seek(partition, offset)

    async def poll(
        self, partitions: Collection[TopicPartition], max_records: int, timeout: float
    ) -> Polled:
        """Poll, and take what it brings as the engine does."""
        polled = await self.source.poll(partitions, max_records, timeout)
        self.listener.take(polled)
        return polled

    @property
    def client(self) -> ScriptedClient:
        """The latest client."""
        return self.clients[-1]

    async def _open(self, callbacks: RebalanceCallbacks) -> GroupClient:
        self.opens += 1
        await asyncio.sleep(1.0)
        if self.open_errors:
            raise self.open_errors.popleft()
        self.clients.append(ScriptedClient(callbacks))
        return cast("GroupClient", self.client)

    async def assigned(self, *partitions: TopicPartition) -> ScriptedClient:
        """Open a client and give it partitions."""
        await self.poll((), 1, 0.0)
        await self.client.callbacks.on_assigned(partitions)
        return self.client

    async def reading(self, *partitions: TopicPartition) -> ScriptedClient:
        """Open a client and begin to read the partitions, each at 10."""
        client = await self.assigned(*partitions)
        client.offsets = dict.fromkeys(partitions, 10)
        await self.poll(partitions, 100, 0.1)
        client.asked.clear()
        client.sought.clear()
        return client
