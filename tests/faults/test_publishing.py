"""A publisher whose brokers go away delivers everything, in order, when they are back."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from functools import partial

import pytest

from consumer.contract.record import Position
from consumer.kafka.connection import BrokersError
from consumer.kafka.producer import OutgoingRecord, producer_options, start_producer
from consumer.kafka.range_reader import open_range_reader
from consumer.kafka.retrying_producer import RetryingProducer
from consumer.settings.model import KafkaSettings
from producer_tools import Publisher, Topics
from tests.builders import event
from tests.faults.kafka.frames import Frames
from tests.faults.proxy import Proxy
from tests.servers.topics import create_topics

pytestmark = pytest.mark.real_kafka

MESSAGES = 2000
SESSIONS = 20
LENGTH = 2000
"""Characters of each: what is sent while no broker is there fills the client, which then fails."""


async def event_ids(kafka: KafkaSettings, topic: str) -> dict[bytes, list[str]]:
    """Return the ids of each session's events in the order in which each came first."""
    found: dict[bytes, dict[str, None]] = {}
    async with open_range_reader(kafka) as reader:
        ranges = await reader.ranges([topic])
        async for _, records in reader.read(ranges):
            for record in records:
                said = json.loads(record.value or b"")
                found.setdefault(record.key or b"", {})[said["eventId"]] = None
    return {key: list(ids) for key, ids in found.items()}


@pytest.mark.parametrize("leave", [Proxy.refuse, Proxy.fall_silent])
@pytest.mark.reliability("F98")
async def test_after_an_outage_everything_is_there_in_order_under_the_same_ids(
    kafka_bootstrap_servers: str, kafka: Frames, unique_name: str, leave: Callable[[Proxy], None]
) -> None:
    topics = Topics(f"{unique_name}.sessions", f"{unique_name}.events")
    await create_topics(kafka_bootstrap_servers, *topics.names)
    (broker,) = kafka.proxies
    distant = KafkaSettings(bootstrap_servers=(kafka.bootstrap_servers,), request_timeout=1.0)
    expected: dict[bytes, list[str]] = {}

    async def send(publisher: Publisher, numbers: range) -> None:
        for number in numbers:
            session, event_id = f"s-{number % SESSIONS}", f"e-{number}"
            expected.setdefault(session.encode(), []).append(event_id)
            await publisher.send(event(session, event_id, payload={"text": "x" * LENGTH}))

    async with Publisher(distant, topics=topics) as publisher:
        await send(publisher, range(MESSAGES // 2))
        leave(broker)
        sending = asyncio.ensure_future(send(publisher, range(MESSAGES // 2, MESSAGES)))
        producer = publisher._producer
        assert isinstance(producer, RetryingProducer)
        async with asyncio.timeout(60):
            while producer._attempts < 2:  # noqa: ASYNC110 -- it tells nobody
                await asyncio.sleep(0.05)
        broker.heal()
        await sending
    assert (publisher.acknowledged, publisher.unconfirmed) == (MESSAGES, 0)
    near = KafkaSettings(bootstrap_servers=(kafka_bootstrap_servers,))
    assert await event_ids(near, topics.events) == expected


@pytest.mark.reliability("F98")
async def test_a_broker_that_reads_no_more_keeps_nobody_from_closing(
    kafka_bootstrap_servers: str, kafka: Frames, unique_name: str
) -> None:
    await create_topics(kafka_bootstrap_servers, unique_name, partitions=24)
    distant = KafkaSettings(bootstrap_servers=(kafka.bootstrap_servers,))
    client = await start_producer(producer_options(distant, 900_000, idempotent=True))
    await client.partitions_for(unique_name)
    await client.send_and_wait(unique_name, b"first", partition=0)
    for connection in kafka.proxies[0]._connections:
        transport = connection.client.transport
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()
    for partition in range(24):
        await client.send(unique_name, random.randbytes(800_000), partition=partition)
    (used,) = client.client._conns.values()
    async with asyncio.timeout(10):
        while not used._writer.transport.get_write_buffer_size():  # noqa: ASYNC110 -- it tells nobody
            await asyncio.sleep(0.01)
    async with asyncio.timeout(5):
        await client.discard(0.1)
    assert used._closed_fut.done()
    _, unfinished = await asyncio.wait([client._sender.sender_task], timeout=5)
    assert not unfinished


@pytest.mark.reliability("F98")
async def test_of_a_refused_batch_only_what_is_too_large_by_itself_is_not_delivered(
    kafka_bootstrap_servers: str, unique_name: str
) -> None:
    limit = {"max.message.bytes": "4096"}
    await create_topics(kafka_bootstrap_servers, unique_name, configs=limit)
    near = KafkaSettings(bootstrap_servers=(kafka_bootstrap_servers,))
    options = producer_options(near, 1_000_000, idempotent=True) | {"linger_ms": 50}
    producer = RetryingProducer(partial(start_producer, options))
    await producer.connect()
    sizes = (1000, 1000, 1000, 1000, 6000, 1000, 1000)
    sent = [
        await producer.send(
            OutgoingRecord(unique_name, 0, None, b"k", random.randbytes(size), ()), watched=True
        )
        for size in sizes
    ]
    results = await asyncio.gather(*sent, return_exceptions=True)
    await producer.close()
    refused = results.pop(4)
    assert isinstance(refused, BrokersError)
    assert "MessageSizeTooLargeError" in str(refused)
    assert results == [Position(unique_name, 0, offset) for offset in range(6)]
