"""Parts of topics are read from a real broker without a group."""

from __future__ import annotations

import asyncio
import time

import pytest
from aiokafka import AIOKafkaProducer

from consumer.contract.record import TopicPartition
from consumer.errors import PreconditionError
from consumer.kafka.range_reader import open_range_reader
from consumer.kafka.ranges import Bounds
from consumer.settings.model import KafkaSettings
from tests.servers.topics import create_topics

pytestmark = pytest.mark.real_kafka

STAMPED_MS = 1_772_618_400_000


@pytest.fixture
def kafka(kafka_bootstrap_servers: str) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=tuple(kafka_bootstrap_servers.split(",")))


async def produce(kafka: KafkaSettings, topic: str, count: int, **options: str) -> None:
    """Send records stamped a second apart, keyed by their number."""
    producer = AIOKafkaProducer(
        bootstrap_servers=list(kafka.bootstrap_servers), acks="all", **options
    )
    await producer.start()
    try:
        sent = [
            await producer.send(
                topic, b"v", key=f"{n}".encode(), timestamp_ms=STAMPED_MS + 1_000 * n
            )
            for n in range(count)
        ]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


async def test_every_record_is_read_once_and_where_its_key_leads_to(
    kafka: KafkaSettings, unique_name: str
) -> None:
    await create_topics(kafka.bootstrap_servers[0], unique_name, partitions=3)
    await produce(kafka, unique_name, 500)
    found: dict[bytes, TopicPartition] = {}
    async with open_range_reader(kafka) as reader:
        partitions = await reader.partitions_of([unique_name])
        assert partitions == [TopicPartition(unique_name, number) for number in range(3)]
        ranges = await reader.ranges([unique_name])
        async for partition, records in reader.read(ranges, max_records=50):
            assert len(records) <= 50
            found |= {record.key or b"": partition for record in records}
        assert len(found) == sum(part.offsets for part in ranges) == 500
        for key in (b"1", b"27", b"499"):
            assert await reader.partition_of(unique_name, key) == found[key]


async def test_times_become_offsets(kafka: KafkaSettings, unique_name: str) -> None:
    await create_topics(kafka.bootstrap_servers[0], unique_name, partitions=1)
    await produce(kafka, unique_name, 10)
    async with open_range_reader(kafka) as reader:
        bounds = Bounds(from_ms=STAMPED_MS + 2_500, to_ms=STAMPED_MS + 6_000)
        (part,) = await reader.ranges([unique_name], bounds)
        # Up to the end: any record may be stamped so, and its own time decides.
        assert (part.first, part.end) == (3, 10)
        (part,) = await reader.ranges([unique_name], Bounds(from_ms=-5))
        assert (part.first, part.end) == (0, 10)
        later = int(time.time() * 1_000) + 10**15
        (part,) = await reader.ranges([unique_name], Bounds(from_ms=later))
        assert part.offsets == 0


async def test_a_range_that_ends_in_a_transaction_s_marker_is_read_to_its_end(
    kafka: KafkaSettings, unique_name: str
) -> None:
    await create_topics(kafka.bootstrap_servers[0], unique_name, partitions=1)
    producer = AIOKafkaProducer(
        bootstrap_servers=list(kafka.bootstrap_servers), transactional_id=unique_name
    )
    await producer.start()
    try:
        async with producer.transaction():
            await producer.send_and_wait(unique_name, b"kept")
        await producer.begin_transaction()
        await producer.send_and_wait(unique_name, b"dropped")
        await producer.abort_transaction()
    finally:
        await producer.stop()
    async with open_range_reader(kafka) as reader:
        (part,) = await reader.ranges([unique_name])
        assert part.offsets == 4
        async with asyncio.timeout(20):
            read = [r async for _, records in reader.read([part]) for r in records]
        assert [record.value for record in read] == [b"kept"]


async def test_a_missing_topic_is_named_and_not_made(
    kafka: KafkaSettings, unique_name: str
) -> None:
    async with open_range_reader(kafka) as reader:
        for _ in range(2):
            with pytest.raises(PreconditionError, match=unique_name):
                await reader.partitions_of([unique_name])
