"""Publishes messages to Kafka from an asyncio program, each validated before it is sent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

from consumer.contract.encode import CloudEventsFormat
from consumer.contract.messages import Message
from consumer.contract.record import Position
from consumer.kafka.admin import describe_topics, require_topics
from consumer.kafka.connection import broker_errors
from consumer.kafka.producer import (
    BULK_OPTIONS,
    OutgoingRecord,
    Warn,
    partition_for,
    producer_options,
    start_producer,
)
from consumer.kafka.retrying_producer import DELIVERY_TIMEOUT, RetryingProducer
from consumer.kafka.topic_ids import Operation
from consumer.settings.model import KafkaSettings, MongoSettings
from consumer.settings.own_kinds import load_own_kinds
from consumer.settings.sources import load_settings
from producer_tools.outgoing_message import (
    MEBIBYTE,
    Outgoing,
    Stream,
    Topics,
    check_size,
    prepare_message,
)

CLIENT_ID: Final = "producer-tools"

CLIENT_HEADER: Final = "client-id"
"""The header that names the program that published a record, where it has given a name."""

_BATCH_BYTES: Final = 256 * 1024
"""The client holds one batch a partition and one in flight."""


def default_partitioner(key: bytes, all_partitions: Sequence[int], _: Sequence[int]) -> int:
    """Return the partition that Kafka's own default chooses for ``key``."""
    return partition_for(key, len(all_partitions))


class Publisher:
    """Publishes session and event messages; an asynchronous context manager.

    A message is one of the contract's classes or its JSON object. It is read as the consumer
    will read it before anything is sent. The key is its sessionId, its kind decides the topic.
    Delivery is acknowledged by all in-sync replicas. While the brokers are behind, sending waits;
    while they are away, it goes on over a new connection with the same bytes, and so the same ids.

    The counts hold also after it has been closed.
    """

    def __init__(  # noqa: PLR0913 -- one for each thing to choose
        self,
        brokers: str | KafkaSettings = "localhost:9092",
        *,
        client_id: str | None = None,
        topics: Topics = Topics(),  # noqa: B008 -- frozen
        max_message_bytes: int = MEBIBYTE,
        cloud_events: CloudEventsFormat | None = None,
        delivery_timeout: float = DELIVERY_TIMEOUT,
        idempotent: bool = True,
        warn: Warn | None = None,
    ) -> None:
        """``brokers``: host:port, separated by commas, or settings with credentials.

        ``client_id`` names this program to the brokers, and to readers by the header
        ``client-id``. ``max_message_bytes``: what is larger is refused, and so is what is larger
        than its topic takes. ``cloud_events``: wrap messages so. ``delivery_timeout``: seconds,
        about, after which a message that no broker has acknowledged is given up.
        ``idempotent`` is a wish: brokers that cannot serve it are written to without, and
        ``warn``, by default the log, gets one line. Raises ``SettingsError`` where ``brokers``
        are none.
        """
        if isinstance(brokers, str):
            # None of the environment's: a program that publishes need not be the consumer's.
            brokers = load_settings({"kafka.bootstrap_servers": brokers}, variables={}).kafka
        else:
            load_own_kinds(MongoSettings())
        self._kafka = brokers
        self._client_id = client_id
        self._topics = topics
        self._limits = dict.fromkeys(topics.names, max_message_bytes)
        self._form = cloud_events
        self._delivery_timeout = delivery_timeout
        self._idempotent = idempotent
        self._warn = warn or logging.getLogger(__package__).warning
        self._producer: RetryingProducer | None = None
        self._open = False

    def limit(self, stream: Stream) -> int:
        """Return the bytes of the largest message; once connected, no more than its topic takes."""
        return self._limits[self._topics.of(stream)]

    @property
    def acknowledged(self) -> int:
        """How many messages the brokers have acknowledged."""
        return 0 if self._producer is None else self._producer.acknowledged

    @property
    def unconfirmed(self) -> int:
        """How many were sent that the brokers have not acknowledged; they may be there."""
        return 0 if self._producer is None else self._producer.sent - self._producer.acknowledged

    async def __aenter__(self) -> Self:
        """Connect.

        Raises ``BrokersError``, also for a topic that does not exist or may not be written to;
        ``SettingsError`` where a file of the settings cannot be used; and ``RuntimeError`` where
        it is open: its end would not wait for what was sent before.
        """
        if self._open:
            raise RuntimeError("this publisher is open already: send by it, or make another")
        self._open = True
        try:
            self._producer = await self._connected()
        except BaseException:
            self._open = False
            raise
        return self

    async def _connected(self) -> RetryingProducer:
        described = await describe_topics(self._kafka, self._topics.names, Operation.WRITE)
        require_topics(self._kafka, described, self._topics.names)
        for name, topic in described.items():
            if topic.max_message_bytes is not None:
                self._limits[name] = min(self._limits[name], topic.max_message_bytes)
        most = max(self._limits.values())
        options = producer_options(self._kafka, most, idempotent=self._idempotent) | BULK_OPTIONS
        options["client_id"] = self._client_id or CLIENT_ID
        options["max_batch_size"] = min(_BATCH_BYTES, *self._limits.values())
        options["partitioner"] = default_partitioner
        producer = RetryingProducer(
            partial(start_producer, options, self._warn), delivery_timeout=self._delivery_timeout
        )
        with broker_errors(self._kafka):
            await producer.connect()
        return producer

    async def __aexit__(
        self, error: type[BaseException] | None, _: object, __: TracebackType | None
    ) -> None:
        """Disconnect; unless the body raised, everything is acknowledged then.

        Else what is on its way is waited for, too, and counts. Raises ``BrokersError``.
        """
        try:
            if error is None:
                await self.flush()
        finally:
            try:
                await self._started.close()
            finally:
                self._open = False
        if error is None:
            self._started.raise_undelivered()

    async def send(
        self,
        message: Message | Mapping[str, Any],
        *,
        headers: Mapping[str, str | bytes] | None = None,
        traceparent: str | None = None,
    ) -> asyncio.Future[Position]:
        """Send a message, waiting while the brokers are behind; the future tells where it lies.

        Nobody need await the future: what was not delivered is raised by the next ``send`` or
        ``flush``, and by the end of the context. ``traceparent`` is that of W3C Trace Context.

        Raises ``InvalidMessageError``, with nothing sent, and ``BrokersError`` where an earlier
        message was not delivered, or where this one could not be sent in time; it is not sent then.
        """
        self._started.raise_undelivered()
        return await self._started.send(self._prepared(message, headers, traceparent))

    async def send_and_wait(
        self,
        message: Message | Mapping[str, Any],
        *,
        headers: Mapping[str, str | bytes] | None = None,
        traceparent: str | None = None,
    ) -> Position:
        """Send a message and return its topic, partition and offset.

        Raises ``InvalidMessageError``, with nothing sent, and ``BrokersError`` where this message
        was not delivered in time. It may be there all the same: sending it again is safe.
        """
        record = self._prepared(message, headers, traceparent)
        return await (await self._started.send(record, watched=True))

    async def send_unchecked(self, outgoing: Outgoing) -> None:
        """Send a record as it is, be it what no consumer would apply. Raises as ``send`` does."""
        self._started.raise_undelivered()
        await self._started.send(self._record(outgoing))

    async def flush(self) -> None:
        """Return when the brokers have acknowledged everything.

        Raises ``BrokersError`` where a message was not delivered that nobody has been told of.
        """
        await self._started.flush()
        self._started.raise_undelivered()

    def _prepared(
        self,
        message: Message | Mapping[str, Any],
        headers: Mapping[str, str | bytes] | None,
        traceparent: str | None,
    ) -> OutgoingRecord:
        if self._client_id is not None:
            headers = {CLIENT_HEADER: self._client_id, **(headers or {})}
        outgoing = prepare_message(
            message, form=self._form, headers=headers, traceparent=traceparent
        )
        check_size(outgoing, self.limit(outgoing.stream))
        return self._record(outgoing)

    def _record(self, outgoing: Outgoing) -> OutgoingRecord:
        topic = self._topics.of(outgoing.stream)
        return OutgoingRecord(topic, None, None, outgoing.key, outgoing.value, outgoing.headers)

    @property
    def _started(self) -> RetryingProducer:
        if self._producer is None:
            raise RuntimeError("a publisher is used within its context only")
        return self._producer
