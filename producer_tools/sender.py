"""Sends records to Kafka, many at once, and counts what the brokers acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka.errors import KafkaError, KafkaTimeoutError

from consumer.kafka.admin import describe_topics, require_topics
from consumer.kafka.connection import BrokersError, broker_errors, describe_error
from consumer.kafka.producer import (
    BULK_OPTIONS,
    AnyRecordProducer,
    Warn,
    partition_for,
    producer_options,
    start_producer,
)
from consumer.kafka.topic_ids import Operation
from producer_tools.outgoing import Outgoing, Topics
from producer_tools.target import Target

CLIENT_ID: Final = "producer-tools"

_BATCH_BYTES: Final = 256 * 1024
"""The client holds one batch a partition and one in flight; that bounds its memory."""

_STOP_SECONDS: Final = 5.0


def default_partitioner(key: bytes, all_partitions: Sequence[int], _: Sequence[int]) -> int:
    """Return the partition that Kafka's own default chooses for ``key``."""
    return partition_for(key, len(all_partitions))


class Sender:
    """One producer and where its records go. Made by ``open_sender``."""

    def __init__(self, producer: AnyRecordProducer, topics: Topics) -> None:
        """Use a producer that has been started; it stays its owner's to stop."""
        self._producer = producer
        self._topics = topics
        self._failure: BaseException | None = None
        self._queued = 0
        self.acknowledged = 0

    @property
    def unanswered(self) -> int:
        """How many records were sent that the brokers have not acknowledged; they may be there."""
        return self._queued - self.acknowledged

    async def send(self, outgoing: Outgoing) -> None:
        """Hand the record to the client, waiting while the brokers are behind.

        Raises ``BrokersError`` when a record, this one or an earlier one, was not acknowledged.
        """
        if self._failure is not None:
            raise self._undelivered(self._failure)
        try:
            future = await self._producer.send(
                self._topics.of(outgoing.stream), outgoing.value, outgoing.key
            )
        except KafkaError as error:
            raise self._undelivered(error) from error
        self._queued += 1
        future.add_done_callback(self._settled)

    async def drain(self) -> None:
        """Return when the brokers have acknowledged every record. Raises ``BrokersError``."""
        await self._producer.flush()
        # The futures' callbacks run in the next turn of the loop.
        await asyncio.sleep(0)
        if self._failure is not None:
            raise self._undelivered(self._failure)

    def _settled(self, future: asyncio.Future[Any]) -> None:
        if future.cancelled():
            return
        error = future.exception()
        if error is None:
            self.acknowledged += 1
        elif self._failure is None:
            self._failure = error

    def _undelivered(self, error: BaseException) -> BrokersError:
        return BrokersError(
            f"not everything was delivered: {describe_error(error)}. "
            "Sending all of it again is safe: what is stored already is recognised"
        )


@asynccontextmanager
async def open_sender(target: Target, warn: Warn) -> AsyncIterator[Sender]:
    """Open a sender; at the end everything is acknowledged, unless the body raised.

    Then what is on its way is waited for, too, and ``acknowledged`` counts it.

    ``warn`` gets one line where the brokers cannot serve an idempotent producer.
    Raises ``BrokersError``, also for a topic that does not exist.
    """
    kafka, topics = target.kafka, target.topics.names
    require_topics(kafka, await describe_topics(kafka, topics, Operation.WRITE), topics)
    options = producer_options(kafka, target.max_message_bytes, idempotent=target.idempotent)
    options |= BULK_OPTIONS | {
        "client_id": CLIENT_ID,
        "max_batch_size": _BATCH_BYTES,
        "partitioner": default_partitioner,
    }
    with broker_errors(kafka):
        producer = await start_producer(options, warn)
    sender = Sender(producer, target.topics)
    try:
        yield sender
        await sender.drain()
    finally:
        await _stopped(producer)


async def _stopped(producer: AnyRecordProducer) -> None:
    """Stop the producer, which flushes first and so waits for brokers that may be gone."""
    try:
        await asyncio.wait_for(producer.stop(), _STOP_SECONDS)
    except (TimeoutError, KafkaTimeoutError):
        # What was not acknowledged has been reported, or the user has interrupted.
        await producer.client.close()
    # The futures' callbacks run in the next turn of the loop.
    await asyncio.sleep(0)
