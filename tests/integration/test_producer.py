"""Sending what brokers may refuse."""

from __future__ import annotations

import asyncio
import time

import pytest

from consumer.contract.record import Headers, Position
from consumer.kafka.producer import NO_LIMIT, OutgoingRecord, Refused, open_producer
from consumer.settings.model import KafkaSettings
from tests.integration.commands.dead_letter_topics import DeadLetterTopics
from tests.servers.topics import create_topics

pytestmark = pytest.mark.real_kafka  # the embedded broker refuses nothing

HEADERS: Headers = (("b", None), ("a", b""), ("b", b"\xff"))


@pytest.fixture
def topic(kafka_bootstrap_servers: str, unique_name: str) -> str:
    configs = {"max.message.bytes": "20000"}
    asyncio.run(create_topics(kafka_bootstrap_servers, unique_name, partitions=1, configs=configs))
    return unique_name


async def test_one_record_in_a_batch_may_be_refused_and_the_others_arrive(
    kafka_bootstrap_servers: str, topic: str
) -> None:
    ahead = int(time.time() * 1000) + 30 * 24 * 3_600_000
    # What cannot be compressed: a batch counts as large as it is sent.
    noise = bytes(hash(str(number)) & 0xFF for number in range(60_000))
    records = [
        OutgoingRecord(topic, None, 1, b"k", b"old", HEADERS),
        OutgoingRecord(topic, None, ahead, b"k", b"from the future", HEADERS),
        OutgoingRecord(topic, None, 2, b"k", noise, HEADERS),
        OutgoingRecord(topic, None, -1, None, b"without time and key", HEADERS),
        OutgoingRecord(topic, 0, 3, None, None, HEADERS),
    ]
    kafka = KafkaSettings(bootstrap_servers=(kafka_bootstrap_servers,))
    async with open_producer(kafka, NO_LIMIT, lambda _: None) as producer:
        answers = await producer.send(records)
    assert [type(answer) for answer in answers] == [
        *[Position, Position, Refused, Position, Position]
    ]
    arrived = await asyncio.to_thread(DeadLetterTopics(kafka_bootstrap_servers, topic).read, topic)
    times = {record.value: record.timestamp_ms for record in arrived}
    assert set(times) == {b"old", b"from the future", b"without time and key", None}
    assert [record.headers for record in arrived] == [HEADERS] * 4
    assert (times[b"old"], times[b"without time and key"]) == (1, -1)
    assert times[None] == 3
    assert abs(times[b"from the future"] - time.time() * 1000) < 3_600_000
