"""A publisher whose brokers go away delivers everything, in order, when they are back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

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
        ranges = await reader.ranges(await reader.partitions_of([topic]))
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
