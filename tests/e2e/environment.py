"""A place for one test: topics, a group and a database that nobody else uses."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import TopicPartition as ClientPartition
from aiokafka.admin import AIOKafkaAdminClient
from bson.raw_bson import RawBSONDocument
from pymongo import AsyncMongoClient

from consumer.contract.dead_letter import origin_of
from consumer.contract.record import Position, Record, TopicPartition
from consumer.contract.rejection import Reason
from tests.builders import encoded
from tests.model import Document, Sent
from tests.servers.topics import create_topics

PARTITIONS = 6
BY_KEY = -1
NOW = -2

QUICK_GROUP: dict[str, object] = {
    "kafka.session_timeout": 6.0,
    "kafka.request_timeout": 5.0,
    "kafka.rebalance_timeout": 4.0,
    "kafka.heartbeat_interval": 1.0,
    "engine.backoff_max": 1.0,
}
"""What a member leaves behind when it is killed goes to the others within seconds."""


@dataclass(frozen=True, slots=True)
class Environment:
    """Where a test publishes, and where what became of it is read. ``name``: its prefix.

    ``patience``: seconds in which brokers answer a question about topics and groups.
    """

    kafka: str
    mongodb: str
    name: str
    partitions: int = PARTITIONS
    patience: float = 40.0

    @property
    def sessions(self) -> str:
        return f"{self.name}.sessions"

    @property
    def events(self) -> str:
        return f"{self.name}.events"

    @property
    def letters(self) -> str:
        return f"{self.name}.dead-letters"

    @property
    def settings(self) -> dict[str, object]:
        """What a consumer must be told to work here."""
        return {
            **QUICK_GROUP,
            "kafka.bootstrap_servers": self.kafka,
            "kafka.topics": f"{self.sessions},{self.events}",
            "kafka.group_id": self.name,
            "dead_letters.topic": self.letters,
            "dead_letters.parking_topic": f"{self.name}.parking",
            "mongo.uri": self.mongodb,
            "mongo.database": self.name,
        }

    async def create_topics(self, *names: str) -> None:
        """Create these topics, by default all of the place."""
        await create_topics(
            self.kafka,
            *(names or (self.sessions, self.events, self.letters)),
            partitions=self.partitions,
            configs={"message.timestamp.after.max.ms": str(2**63 - 1)},
        )

    async def delete_topics(self) -> None:
        """Delete them: a broker that is killed takes as long to start as it has partitions."""
        async with self._admin() as admin:
            theirs = [name for name in await admin.list_topics() if name.startswith(self.name)]
            await admin.delete_topics(theirs)

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(
            bootstrap_servers=self.kafka, request_timeout_ms=int(self.patience * 1000)
        )
        try:
            await admin.start()
            yield admin
        finally:
            await admin.close()

    def seen_from(self, *, kafka: str | None = None, mongodb: str | None = None) -> Environment:
        """The same place by other ways, as through a proxy."""
        return replace(self, kafka=kafka or self.kafka, mongodb=mongodb or self.mongodb)

    # --- the way in ---------------------------------------------------------------------

    def record_of(self, message: Document) -> Record:
        """The record of a message as its producer would send it, without a place yet."""
        topic = self.events if message["type"] == "event.recorded" else self.sessions
        key = str(message["sessionId"]).encode()
        return Record(topic, BY_KEY, 0, NOW, key, encoded(message))

    async def publish(self, messages: Iterable[Document]) -> list[Sent]:
        """Send messages, by their keys, and return what was acknowledged, in their order."""
        kept = list(messages)
        positions = await self.send(self.record_of(message) for message in kept)
        return [
            Sent(position, timestamp_ms, message)
            for message, (position, timestamp_ms) in zip(kept, positions, strict=True)
        ]

    async def send(
        self, records: Iterable[Record], *, apart: bool = False
    ) -> list[tuple[Position, int]]:
        """Send records as they are; return where each lies, and its timestamp.

        ``apart``: each in a batch of its own. Of a batch whose first timestamp is -1 the client
        writes another one.
        ``BY_KEY`` and ``NOW`` stand for the partition and the timestamp a producer would choose.
        """
        stamps: list[int] = []
        async with producing(self.kafka) as producer:
            futures = []
            for record in records:
                stamped = record.timestamp_ms != NOW
                stamps.append(record.timestamp_ms if stamped else time.time_ns() // 1_000_000)
                partition = None if record.partition == BY_KEY else record.partition
                future = await producer.send(
                    *(record.topic, record.value, record.key, partition, stamps[-1]),
                    headers=list(record.headers),
                )
                futures.append(future)
                if apart:
                    await future
            await producer.flush()
        answers = [future.result() for future in futures]
        # The client's answer has the timestamp of another record of the same batch.
        return [
            (Position(answer.topic, answer.partition, answer.offset), stamp)
            for answer, stamp in zip(answers, stamps, strict=True)
        ]

    # --- the way out --------------------------------------------------------------------

    async def documents(self) -> tuple[list[Document], list[Document]]:
        """Every session and every event."""
        async with AsyncMongoClient[dict[str, Any]](self.mongodb, tz_aware=True) as client:
            database = client[self.name]
            sessions: list[Document] = [*await database["conversation_sessions"].find().to_list()]
            events: list[Document] = [*await database["conversation_events"].find().to_list()]
        return sessions, events

    async def digests(self) -> dict[str, bytes]:
        """What every document is, byte for byte, ``_id`` and order of fields included."""
        found: dict[str, bytes] = {}
        async with AsyncMongoClient(self.mongodb, document_class=RawBSONDocument) as client:
            for name in ("conversation_sessions", "conversation_events"):
                async for document in client[self.name][name].find():
                    digest = hashlib.blake2b(document.raw, digest_size=16).digest()
                    found[f"{name} {document['_id']}"] = digest
        return found

    async def drop_database(self) -> None:
        async with AsyncMongoClient[dict[str, Any]](self.mongodb) as client:
            await client.drop_database(self.name)

    async def ends(self, *topics: str) -> dict[TopicPartition, int]:
        """Where the partitions end, for a reader of committed records."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.kafka, isolation_level="read_committed", enable_auto_commit=False
        )
        await consumer.start()
        try:
            wanted = [ClientPartition(t, p) for t in topics for p in range(self.partitions)]
            ends = await consumer.end_offsets(wanted)
        finally:
            await consumer.stop()
        return {TopicPartition(*partition): end for partition, end in ends.items()}

    async def committed(self, group: str | None = None) -> dict[TopicPartition, int]:
        """What the group has committed, where it has."""
        async with self._admin() as admin:
            found = await admin.list_consumer_group_offsets(group or self.name)
        return {TopicPartition(*p): meta.offset for p, meta in found.items() if meta.offset >= 0}

    async def coordinator(self) -> int:
        """The number of the broker that coordinates the group."""
        async with self._admin() as admin:
            number: int = await admin.find_coordinator(self.name)
        return number

    async def lag(self, group: str | None = None) -> int:
        """How many records of both topics the group has not committed."""
        ends, committed = await self.ends(self.sessions, self.events), await self.committed(group)
        return sum(end - committed.get(partition, 0) for partition, end in ends.items())

    async def dead_letters(self) -> list[Record]:
        """Every record of the dead-letter topic, by partition and offset."""
        return await self.records(self.letters)

    async def records(self, *topics: str, within: Mapping[Any, int] | None = None) -> list[Record]:
        """Every record of the topics, by topic, partition and offset.

        ``within``: only those of these partitions, below these offsets.
        """
        found: list[Record] = []
        ends = {ClientPartition(*p): end for p, end in (await self.ends(*topics)).items()}
        if within is not None:
            ends = {p: min(end, within[p]) for p, end in ends.items() if p in within}
        if not ends:
            # A client that is stopped before its tasks have begun raises CancelledError.
            return found
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.kafka, isolation_level="read_committed", enable_auto_commit=False
        )
        await consumer.start()
        try:
            begin = await consumer.beginning_offsets(list(ends))
            ends = {partition: end for partition, end in ends.items() if begin[partition] < end}
            consumer.assign(list(ends))
            for partition in ends:
                consumer.seek(partition, begin[partition])
            while ends:
                for partition, items in (await consumer.getmany(*ends, timeout_ms=1000)).items():
                    found += [_record(item) for item in items if item.offset < ends[partition]]
                    if items[-1].offset + 1 >= ends[partition]:
                        del ends[partition]
        finally:
            await consumer.stop()
        return sorted(found, key=lambda record: record.position)


def reasons_of(letters: Sequence[Record]) -> list[tuple[Position, Reason]]:
    """Which record each letter is about, and why."""
    found = []
    for letter in letters:
        info = origin_of(letter.headers)
        assert info is not None, letter.headers
        assert info.reason is not None, letter.headers
        found.append((info.origin, info.reason))
    return found


@asynccontextmanager
async def producing(
    bootstrap_servers: str, request_timeout: float = 40.0
) -> AsyncIterator[AIOKafkaProducer]:
    """Give a producer of which nothing that is acknowledged can get lost; times in seconds."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers,
        acks="all",
        enable_idempotence=True,
        linger_ms=5,
        request_timeout_ms=int(request_timeout * 1000),
        max_batch_size=256 * 1024,
        max_request_size=8 * 1024 * 1024,
        compression_type="lz4",
    )
    try:
        await producer.start()
        yield producer
    finally:
        # It flushes first, and so may wait for brokers that are gone.
        await asyncio.wait_for(producer.stop(), request_timeout * 2)


def _record(item: Any) -> Record:
    return Record(
        item.topic,
        item.partition,
        item.offset,
        item.timestamp,
        item.key,
        item.value,
        tuple(item.headers),
    )
