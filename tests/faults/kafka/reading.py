"""A member of a group that reads whatever it is assigned, by the product's own source."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import TopicPartition as ClientPartition

from consumer.contract.record import OffsetRange, Record, TopicPartition
from consumer.errors import TransientError
from consumer.kafka.client import GroupClient, RebalanceCallbacks, open_group_client
from consumer.kafka.source import KafkaSource
from consumer.ports import LogReset, StartOffset
from consumer.settings.model import KafkaSettings
from tests.fakes.positions import Positions

TOPIC = "events"
GROUP = "readers"
ONE = TopicPartition(TOPIC, 0)
TWO = TopicPartition(TOPIC, 1)

POLLS_ASIDE = 3

QUICK: Mapping[str, Any] = {
    "topics": (TOPIC,),
    "group_id": GROUP,
    "session_timeout": 2.5,
    "request_timeout": 2.0,
    "rebalance_timeout": 1.5,
    "heartbeat_interval": 0.2,
}
"""Times in seconds. The mock cluster holds a rejoin for a second less than the session timeout."""


def quick(bootstrap_servers: str, **others: Any) -> KafkaSettings:
    """Settings of a member that notices things soon."""
    servers = tuple(bootstrap_servers.split(","))
    return KafkaSettings(bootstrap_servers=servers, **{**QUICK, **others})


BRISK: Mapping[str, Any] = {
    "session_timeout": 1.2,
    "request_timeout": 1.0,
    "rebalance_timeout": 0.8,
}
"""For tests in which the mock cluster has to miss a member before another one may join."""


async def publish(
    bootstrap_servers: str,
    counts: Mapping[TopicPartition, int],
    *,
    batches: int = 1,
    value: Callable[[TopicPartition, int], bytes] = lambda _, number: b"%d" % number,
) -> None:
    """Send so many records to each partition, in so many batches of equal size.

    ``value`` returns the n-th one's value.
    """
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all")
    await producer.start()
    try:
        for partition, count in counts.items():
            size = count // batches
            assert size * batches == count
            for first in range(0, count, size):
                batch = producer.create_batch()
                for number in range(first, first + size):
                    content = value(partition, number)
                    assert batch.append(timestamp=None, key=None, value=content) is not None
                topic, number = partition
                await (await producer.send_batch(batch, topic, partition=number))
    finally:
        await producer.stop()


async def commit_beforehand(bootstrap_servers: str, offsets: Mapping[TopicPartition, int]) -> None:
    """Leave committed offsets behind, as an earlier run of the group does."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers, group_id=GROUP, enable_auto_commit=False
    )
    await consumer.start()
    try:
        targets = {ClientPartition(*partition): offset for partition, offset in offsets.items()}
        consumer.assign(list(targets))
        await consumer.commit(targets)
    finally:
        await consumer.stop()


async def eventually(holds: Callable[[], bool], *, seconds: float = 10.0) -> None:
    """Return when ``holds``, of something that offers no event to wait for."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 -- see the docstring
            await asyncio.sleep(0.02)


class Reader(Positions):
    """Polls when it is told to, and keeps what it meets. Use ``reading``."""

    def __init__(self, kafka: KafkaSettings, max_batch_bytes: int = 2**24) -> None:
        super().__init__()
        self._kafka = kafka
        self.source = KafkaSource(
            self._open,
            request_timeout=kafka.request_timeout,
            max_batch_bytes=max_batch_bytes,
            topics=kafka.topics,
            metadata_max_age=kafka.metadata_max_age,
        )
        self.source.listen(self)
        self.clients: list[GroupClient] = []
        self.assigned: frozenset[TopicPartition] = frozenset()
        self.assignments = 0
        self.losses = 0
        self.starts: dict[TopicPartition, StartOffset] = {}
        self.records: defaultdict[TopicPartition, list[Record]] = defaultdict(list)
        self.failed: list[tuple[TopicPartition, TransientError]] = []
        self.errors: list[TransientError] = []
        self.gaps: list[OffsetRange] = []
        self.resets: list[LogReset] = []
        self._aside: dict[TopicPartition, int] = {}

    async def _open(self, callbacks: RebalanceCallbacks) -> GroupClient:
        client = await open_group_client(self._kafka, callbacks)
        assert isinstance(client, GroupClient)
        self.clients.append(client)
        return client

    @property
    def client(self) -> GroupClient:
        """The one in use."""
        return self.clients[-1]

    @property
    def consumer(self) -> Any:
        """What aiokafka has behind it."""
        return self.client._consumer

    async def on_revoked(self) -> None:
        await super().on_revoked()
        self.assigned = frozenset()

    async def on_assigned(self, partitions: Collection[TopicPartition]) -> None:
        await super().on_assigned(partitions)
        self.assigned = frozenset(partitions)
        self.assignments += 1

    def on_lost(self) -> None:
        super().on_lost()
        self.assigned = frozenset()
        self.losses += 1

    async def poll(self, max_records: int = 500) -> None:
        """Poll once for everything that is assigned; trouble is kept, too."""
        # As the engine does: what cannot be read is left alone for a while.
        self._aside = {partition: left - 1 for partition, left in self._aside.items() if left}
        wanted = sorted(self.assigned - self._aside.keys())
        try:
            polled = await self.source.poll(wanted, max_records, 0.05)
        except TransientError as error:
            self.errors.append(error)
            await asyncio.sleep(0.01)  # what an engine's backoff does, or the loop would spin
            return
        self.take(polled)
        self.starts.update(polled.starts)
        self.gaps += polled.gaps
        self.resets += polled.resets
        self.failed += polled.failed.items()
        self._aside |= dict.fromkeys(polled.failed, POLLS_ASIDE)
        for partition, records in polled.records.items():
            self.records[partition] += records

    async def until(self, holds: Callable[[], bool], *, seconds: float = 20.0) -> None:
        """Poll until ``holds``."""
        try:
            async with asyncio.timeout(seconds):
                while not holds():
                    await self.poll()
        except TimeoutError:
            raise AssertionError(f"not within {seconds:g} s\n{self}") from None

    async def until_read(
        self, counts: Mapping[TopicPartition, int], *, seconds: float = 20.0
    ) -> None:
        """Poll until so many records of each partition have come."""
        await self.until(
            lambda: all(len(self.records[p]) >= n for p, n in counts.items()), seconds=seconds
        )

    def offsets(self, partition: TopicPartition) -> list[int]:
        """The offsets of what was read, in that order."""
        return [record.offset for record in self.records[partition]]

    def causes(self, partition: TopicPartition) -> list[str]:
        """Why the partition could not be read, each time."""
        return [error.cause for failed, error in self.failed if failed == partition]

    def __str__(self) -> str:
        read = {partition: self.offsets(partition)[-3:] for partition in self.records}
        return (
            f"assigned {sorted(self.assigned)}, starts {self.starts}, ends of what was read {read},"
            f" errors {self.errors[-3:]}, failed {self.failed[-3:]}"
        )


@asynccontextmanager
async def reading(kafka: KafkaSettings, max_batch_bytes: int = 2**24) -> AsyncIterator[Reader]:
    """Give a reader, which leaves its group when the context ends."""
    reader = Reader(kafka, max_batch_bytes)
    try:
        yield reader
    finally:
        await reader.source.close(timeout=0.5)
