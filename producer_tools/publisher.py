"""Publishes messages to Kafka, many at once, and counts what the brokers acknowledged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

from consumer.aio import RateLimiter
from consumer.kafka.admin import describe_topics, require_topics
from consumer.kafka.connection import BrokersError, broker_errors, describe_error
from consumer.kafka.producer import (
    BULK_OPTIONS,
    FAILURES,
    AnyRecordProducer,
    Warn,
    partition_for,
    producer_options,
    start_producer,
)
from consumer.kafka.topic_ids import Operation
from consumer.terminal import Advance
from producer_tools.outgoing_message import Outgoing, PublishTarget

CLIENT_ID: Final = "producer-tools"

_BATCH_BYTES: Final = 256 * 1024
"""The client holds one batch a partition and one in flight; that bounds its memory."""

_STOP_SECONDS: Final = 5.0
_PROGRESS_EVERY: Final = 500


def default_partitioner(key: bytes, all_partitions: Sequence[int], _: Sequence[int]) -> int:
    """Return the partition that Kafka's own default chooses for ``key``."""
    return partition_for(key, len(all_partitions))


class Publisher:
    """A producer and where its messages go. Its counts hold also after it has been closed."""

    def __init__(self, target: PublishTarget, warn: Warn) -> None:
        """``warn`` gets one line where the brokers cannot serve an idempotent producer."""
        self._target = target
        self._warn = warn
        self._producer: AnyRecordProducer | None = None
        self._failure: BaseException | None = None
        self._queued = 0
        self.acknowledged = 0

    @property
    def unconfirmed(self) -> int:
        """How many were sent that the brokers have not acknowledged; they may be there."""
        return self._queued - self.acknowledged

    async def __aenter__(self) -> Self:
        """Connect. Raises ``BrokersError``, also for a topic that does not exist."""
        kafka, topics = self._target.kafka, self._target.topics.names
        require_topics(kafka, await describe_topics(kafka, topics, Operation.WRITE), topics)
        max_bytes, idempotent = self._target.max_message_bytes, self._target.idempotent
        options = producer_options(kafka, max_bytes, idempotent=idempotent) | BULK_OPTIONS
        options["client_id"] = CLIENT_ID
        options["max_batch_size"] = _BATCH_BYTES
        options["partitioner"] = default_partitioner
        with broker_errors(kafka):
            self._producer = await start_producer(options, self._warn)
        return self

    async def __aexit__(
        self, error: type[BaseException] | None, _: object, __: TracebackType | None
    ) -> None:
        """Disconnect; unless the body raised, everything is acknowledged then.

        Else what is on its way is waited for, too, and counts. Raises ``BrokersError``.
        """
        try:
            if error is None:
                await self.drain()
        finally:
            await self._stop()

    async def send(self, outgoing: Outgoing) -> None:
        """Hand the message to the client, waiting while the brokers are behind.

        Raises ``BrokersError`` when a message, this one or an earlier one, was not acknowledged.
        """
        topic = self._target.topics.of(outgoing.stream)
        self._raise_if_failed()
        try:
            future = await self._started.send(topic, outgoing.value, outgoing.key)
        except FAILURES as error:
            raise _undelivered(error) from error
        self._queued += 1
        future.add_done_callback(self._settled)

    async def drain(self) -> None:
        """Return when the brokers have acknowledged everything. Raises ``BrokersError``."""
        await self._started.flush()
        # The futures' callbacks run in the next turn of the loop.
        await asyncio.sleep(0)
        self._raise_if_failed()

    @property
    def _started(self) -> AnyRecordProducer:
        if self._producer is None:
            raise RuntimeError("a publisher is used within its context only")
        return self._producer

    def _settled(self, future: asyncio.Future[Any]) -> None:
        if future.cancelled():
            return
        error = future.exception()
        if error is None:
            self.acknowledged += 1
        elif self._failure is None:
            self._failure = error

    def _raise_if_failed(self) -> None:
        if self._failure is not None:
            raise _undelivered(self._failure)

    async def _stop(self) -> None:
        """Stop the producer, which flushes first and so waits for brokers that may be gone."""
        try:
            await asyncio.wait_for(self._started.stop(), _STOP_SECONDS)
        except FAILURES:
            # What was not acknowledged has been reported, or the user has interrupted.
            await self._started.client.close()
        # The futures' callbacks run in the next turn of the loop.
        await asyncio.sleep(0)


def _undelivered(error: BaseException) -> BrokersError:
    return BrokersError(
        f"not everything was delivered: {describe_error(error)}. "
        "Sending all of it again is safe: what is stored already is recognised"
    )


class LineWriter:
    """Writes one value a line."""

    def __init__(self, stream: BinaryIO, *, flush_each: bool) -> None:
        """``flush_each``: whoever reads the stream sees each line at once."""
        self._stream = stream
        self._flush_each = flush_each
        self.written = 0

    async def send(self, outgoing: Outgoing) -> None:
        """Write the line. Raises ``BrokenPipeError`` when nobody reads any more."""
        self._stream.write(outgoing.value + b"\n")
        self.written += 1
        if self._flush_each:
            self._stream.flush()


async def deliver(
    messages: Iterable[Outgoing],
    send: Callable[[Outgoing], Awaitable[None]],
    *,
    rate: float | None = None,
    advance: Advance = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Send everything, at most ``rate`` messages a second.

    ``advance`` is told every now and then how many more have been handed over. ``clock`` tells
    seconds, and ``sleep`` waits so many.
    """
    untold, limiter = 0, RateLimiter(rate)
    for outgoing in messages:
        delay = limiter.delay(clock())
        if delay > 0 or untold >= _PROGRESS_EVERY:
            advance(untold)
            untold = 0
        if delay > 0:
            await sleep(delay)
        limiter.take(1, clock())
        await send(outgoing)
        untold += 1
    advance(untold)
