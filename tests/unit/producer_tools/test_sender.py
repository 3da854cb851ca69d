"""What counts as sent is what the brokers acknowledged."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError
from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from consumer.kafka.connection import BrokersError
from producer_tools.outgoing import Outgoing, Stream, Topics
from producer_tools.sender import Sender, default_partitioner

MESSAGE = Outgoing(Stream.EVENTS, b"key", b"value")


class Producer:
    """Takes everything and acknowledges nothing by itself."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes, bytes]] = []
        self.waiting: list[asyncio.Future[None]] = []

    async def send(self, topic: str, value: bytes, key: bytes) -> asyncio.Future[None]:
        self.sent.append((topic, value, key))
        self.waiting.append(asyncio.get_running_loop().create_future())
        return self.waiting[-1]

    async def flush(self) -> None:
        await asyncio.wait(self.waiting)


def sender(producer: Any) -> Sender:
    return Sender(producer, Topics("sessions", "events"))


async def test_each_stream_goes_to_its_topic() -> None:
    producer = Producer()
    sending = sender(producer)
    await sending.send(MESSAGE)
    await sending.send(MESSAGE._replace(stream=Stream.SESSIONS))
    assert producer.sent == [("events", b"value", b"key"), ("sessions", b"value", b"key")]


async def test_only_what_was_acknowledged_counts() -> None:
    producer = Producer()
    sending = sender(producer)
    await sending.send(MESSAGE)
    await sending.send(MESSAGE)
    producer.waiting[0].set_result(None)
    await asyncio.sleep(0)
    assert sending.acknowledged == 1


async def test_draining_waits_for_all_acknowledgements() -> None:
    producer = Producer()
    sending = sender(producer)
    await sending.send(MESSAGE)
    draining = asyncio.ensure_future(sending.drain())
    await asyncio.sleep(0)
    assert not draining.done()
    producer.waiting[0].set_result(None)
    await draining
    assert sending.acknowledged == 1


async def test_one_refusal_stops_the_sending_and_says_how_far_it_came() -> None:
    producer = Producer()
    sending = sender(producer)
    await sending.send(MESSAGE)
    await sending.send(MESSAGE)
    producer.waiting[0].set_result(None)
    producer.waiting[1].set_exception(KafkaTimeoutError())
    await asyncio.sleep(0)
    with pytest.raises(BrokersError, match="not everything was delivered: KafkaTimeoutError"):
        await sending.send(MESSAGE)
    with pytest.raises(BrokersError):
        await sending.drain()
    assert (sending.acknowledged, sending.unanswered) == (1, 1)


@given(st.binary(max_size=60), st.integers(min_value=1, max_value=200))
def test_a_key_lies_where_the_default_partitioner_puts_it(key: bytes, partitions: int) -> None:
    everyone = list(range(partitions))
    assert default_partitioner(key, everyone, everyone) == DefaultPartitioner()(
        key, everyone, everyone
    )
