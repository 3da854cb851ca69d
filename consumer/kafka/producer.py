"""The one producer: how it is started, what it sends, and what the brokers answer.

The consumer's dead letters, the tools that send them back, and the tools that publish use it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import chain
from typing import Any, Final

from aiokafka import AIOKafkaProducer, errors
from aiokafka.partitioner import murmur2
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from consumer.aio import ignore_result, stop_quietly
from consumer.contract.record import HEADER_NAME_ERRORS, Headers, Position, size_of
from consumer.errors import drop_tracebacks
from consumer.kafka.connection import broker_errors, connection_options
from consumer.settings.model import KafkaSettings

RECORD_OVERHEAD: Final = 64 * 1024
"""Bytes a request may be larger than its largest record: framing, never content."""

BATCH_BYTES: Final = 16 * 1024
"""The client's own default of what it puts into one batch."""

NO_LIMIT: Final = 2**30
"""More bytes than any broker takes in one request."""

BULK_OPTIONS: Final = {"linger_ms": 5, "compression_type": "lz4"}
"""For whoever sends many records at once."""

DISCARD_WAIT: Final = 1.0
"""Seconds that a retry waits for a producer that failed to disconnect."""

FAILURES: Final = (errors.KafkaError, OSError)
"""What sending may end with."""

TOO_LARGE: Final = (errors.MessageSizeTooLargeError, errors.RecordListTooLargeError)

ABOUT_ONE_RECORD: Final = (*TOO_LARGE, errors.InvalidTimestampError)
"""What is against one record; all others of its batch may be refused with it."""

_WITHOUT_PRODUCER_IDS: Final = (
    errors.UnknownError,
    errors.UnsupportedVersionError,
    errors.ClusterAuthorizationFailedError,
)
"""What a start fails with where the brokers serve no idempotent producer."""

NOT_IDEMPOTENT: Final = (
    "the brokers serve no idempotent producer: a retry may send a message twice, "
    "which the consumer recognises as a duplicate"
)

Warn = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class OutgoingRecord:
    """A record to send. ``partition`` None: by its key; ``timestamp_ms`` None: the clock's."""

    topic: str
    partition: int | None
    timestamp_ms: int | None
    key: bytes | None
    value: bytes | None
    headers: Headers

    @property
    def arguments(self) -> tuple[Any, ...]:
        """What a client's ``send`` takes, in its order."""
        headers = list(self.headers)
        return self.topic, self.value, self.key, self.partition, self.timestamp_ms, headers

    @property
    def bytes(self) -> int:
        """About how much memory it takes while it is on its way."""
        return size_of(self.key, self.value, self.headers)


@dataclass(frozen=True, slots=True)
class Refused:
    """The brokers will not take this record, whenever it is sent."""

    detail: str


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """Whether the brokers have the record is not known; the connection is of no use any more."""

    error: Exception


Delivery = Position | Refused | Unconfirmed
"""What became of a record: where it lies, or why it does not."""


class _HeaderName(str):
    """The name of a header, which becomes the bytes again that it was read from."""

    __slots__ = ()

    def encode(self, *_: str) -> bytes:
        return super().encode("utf-8", HEADER_NAME_ERRORS)


class AnyRecordProducer(AIOKafkaProducer):  # type: ignore[misc]  # aiokafka ships no types
    """Sends what aiokafka refuses.

    That is a record with neither key nor value, and one with a header whose name is no UTF-8.
    """

    async def send(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        headers: Sequence[tuple[str, bytes | None]] | None = None,
        *,
        alone: bool = False,
    ) -> asyncio.Future[Any]:
        """Queue a record; the future is done when the brokers have acknowledged it.

        ``alone``: in a batch of its own, so that a refusal is about no other record.
        """
        odd = any("\ud800" <= char <= "\udfff" for name, _ in headers or () for char in name)
        if not (odd or alone) and (key is not None or value is not None):
            sent: asyncio.Future[Any] = await super().send(
                topic, value, key, partition, timestamp_ms, headers
            )
            return sent
        batch = self._any_names_batch() if odd else self.create_batch()
        named = [(_HeaderName(name) if odd else name, content) for name, content in headers or ()]
        batch.append(timestamp=timestamp_ms, key=key, value=value, headers=named)
        if alone:
            batch.close()
        if partition is None:
            # They have to be known, or none could be chosen.
            await self.partitions_for(topic)
            partition = self._partition(topic, None, key, value, key, value)
        queued: asyncio.Future[Any] = await self.send_batch(batch, topic, partition=partition)
        return queued

    def stop_sending(self) -> None:
        """Send nothing more of what is queued; what the brokers have may still be answered."""
        if self._sender.sender_task is not None:
            self._sender.sender_task.cancel()

    async def discard(self, timeout: float) -> None:
        """Disconnect; what is on its way is waited for at most ``timeout`` seconds.

        Unlike ``stop`` it needs no broker that reads what is written to it.
        """
        self._closed = True  # as stop does
        flushing, sending = asyncio.ensure_future(self.flush()), self._sender.sender_task
        ends = [flushing] if sending is None else [flushing, sending]
        try:
            await asyncio.wait(ends, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            flushing.cancel()
            self.stop_sending()
            for connection in self.client._conns.values():  # noqa: SLF001 -- it only closes in order
                if (transport := connection._protocol._transport) is not None:  # noqa: SLF001
                    transport.abort()
            await stop_quietly(self.client.close(), timeout)
            if (update := self.client._md_update_fut) and not update.done():  # noqa: SLF001 -- pending
                update.set_result(False)  # cancelled, the sender would end in a circle
            self._drop_queued()

    def _drop_queued(self) -> None:
        """Let go of what was not sent. What failed before takes itself off ``sent`` once more."""
        accumulator = self._message_accumulator
        waiting, sent = accumulator._batches, accumulator._pending_batches  # noqa: SLF001 -- as above
        accumulator.reenqueue = lambda _: None  # of what the brokers have not answered
        sent.update(batch for batch in chain(*waiting.values()) if batch.retry_count)
        accumulator.fail_all(errors.KafkaError("dropped by its producer"))
        for batch in chain(sent, *waiting.values()):
            ignore_result(batch._drain_waiter)  # noqa: SLF001 -- nobody need ask
        waiting.clear()

    def _any_names_batch(self) -> BatchBuilder:
        """Return a batch whose builder is the client's one in Python: that in C takes text only."""
        batch = self.create_batch()
        accumulator = self._message_accumulator
        builder = _DefaultRecordBatchBuilderPy(
            magic=2,
            compression_type=accumulator._compression_type,  # noqa: SLF001 -- as the client does
            is_transactional=0,
            producer_id=-1,
            producer_epoch=-1,
            base_sequence=0,
            batch_size=accumulator._batch_size,  # noqa: SLF001 -- as above
        )
        batch._builder = builder  # noqa: SLF001 -- as above
        batch._set_producer_state = builder.set_producer_state  # noqa: SLF001 -- as above
        return batch


_murmur2 = lru_cache(maxsize=65_536)(murmur2)
"""Hashing in Python takes as long as sending; a session's key comes again and again."""


def partition_for(key: bytes, partitions: int) -> int:
    """Return the partition that Kafka's own default chooses for ``key``."""
    hashed: int = _murmur2(key)
    return (hashed & 0x7FFFFFFF) % partitions


def producer_options(kafka: KafkaSettings, max_bytes: int, *, idempotent: bool) -> dict[str, Any]:
    """Return the options of a producer that may acknowledge nothing it could lose.

    ``max_bytes``: the largest batch that is taken, be it of one record or of several.
    """
    return connection_options(kafka) | {
        "acks": "all",
        "enable_idempotence": idempotent,
        "max_request_size": max_bytes + RECORD_OVERHEAD,
        "max_batch_size": min(BATCH_BYTES, max_bytes),
    }


async def start_producer(options: dict[str, Any], warn: Warn | None = None) -> AnyRecordProducer:
    """Return a started producer. Raises what the client raises.

    With ``warn``, which is told so, brokers that serve no idempotent producer are written to
    without; ``options`` then say so, and whoever starts another with them need not find out.
    """
    client = AnyRecordProducer(**options)
    try:
        await client.start()
    except BaseException as error:
        await client.discard(DISCARD_WAIT)
        serves_none = options["enable_idempotence"] and isinstance(error, _WITHOUT_PRODUCER_IDS)
        if warn is None or not serves_none:
            raise
    else:
        return client
    warn(NOT_IDEMPOTENT)
    options["enable_idempotence"] = False
    return await start_producer(options)


class Producer:
    """Sends records over a client that is started when it is needed, and replaced if it fails.

    An idempotent producer that has failed once may refuse everything after it.
    """

    def __init__(self, start: Callable[[], Awaitable[AnyRecordProducer]], timeout: float) -> None:
        """``start`` returns a started client. ``timeout``: seconds for all of a ``deliver``."""
        self._start = start
        self._timeout = timeout
        self._client: AnyRecordProducer | None = None
        self._starting = asyncio.Lock()

    async def connect(self) -> AnyRecordProducer:
        """Connect now and not with the first record. Raises what the client raises."""
        async with self._starting:
            if self._client is None:
                self._client = await self._start()
            return self._client

    async def send(self, records: Sequence[OutgoingRecord]) -> list[Delivery]:
        """Send the records at once, in order; after a refusal of one of them the rest one by one.

        Then those may come behind others. Nothing is raised for a record.
        """
        results = await self.deliver(records)
        if any(isinstance(result, ABOUT_ONE_RECORD) for result in results):
            # The batches share the refusal.
            for index, record in enumerate(records):
                if not isinstance(results[index], Position):
                    results[index] = await self._deliver_alone(record)
        return [_delivery(record, result) for record, result in zip(records, results, strict=True)]

    async def _deliver_alone(self, record: OutgoingRecord) -> Position | Exception:
        (result,) = await self.deliver([record])
        if isinstance(result, errors.InvalidTimestampError) and record.timestamp_ms is not None:
            # Whoever sends it has said in a header what the record's own timestamp may not.
            (result,) = await self.deliver([replace(record, timestamp_ms=None)])
        return result

    async def deliver(
        self, records: Sequence[OutgoingRecord], timeout: float | None = None
    ) -> list[Position | Exception]:
        """Send the records in order and wait for all answers, at most ``timeout`` seconds.

        Return for each where it lies, or what went wrong. Behind a failure that is not about one
        record no more are queued. Where anything fails, the client is discarded.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + (self._timeout if timeout is None else timeout)
        client: AnyRecordProducer | None = None
        queued: list[asyncio.Future[Any] | Exception] = []
        failure: Exception | None = None
        try:
            async with asyncio.timeout_at(deadline):
                client = await self.connect()
                while len(queued) < len(records):
                    queued.append(await _queue(client, records[len(queued)]))
        except FAILURES as error:
            drop_tracebacks(error)
            failure = error
        futures = [entry for entry in queued if isinstance(entry, asyncio.Future)]
        if futures:
            await asyncio.wait(futures, timeout=max(deadline - clock(), 0.0))
        results = [answer_to(entry) for entry in queued]
        if failure is not None:
            results += [failure] * (len(records) - len(queued))
        if any(isinstance(result, Exception) for result in results):
            await self._discard(client)
        return results

    async def _discard(self, client: AIOKafkaProducer | None) -> None:
        """Close a client that failed, unless another delivery has replaced it already."""
        if client is self._client:
            await self.close(DISCARD_WAIT)

    async def close(self, timeout: float | None = None) -> None:
        """Disconnect, in ``timeout`` seconds; by default those of a delivery."""
        client, self._client = self._client, None
        if client is not None:
            await client.discard(self._timeout if timeout is None else timeout)


@asynccontextmanager
async def open_producer(
    kafka: KafkaSettings, max_bytes: int, warn: Warn, *, idempotent: bool = True
) -> AsyncIterator[Producer]:
    """Connect a producer for a command that sends much; it is disconnected at the end.

    ``max_bytes`` as of ``producer_options``. ``warn`` is told where the brokers serve no
    idempotent one. Raises ``BrokersError`` where they cannot be reached.
    """
    options = producer_options(kafka, max_bytes, idempotent=idempotent) | BULK_OPTIONS
    producer = Producer(partial(start_producer, options, warn), kafka.request_timeout)
    with broker_errors(kafka):
        await producer.connect()
    try:
        yield producer
    finally:
        await producer.close()


async def _queue(
    client: AIOKafkaProducer, record: OutgoingRecord
) -> asyncio.Future[Any] | Exception:
    """Queue a record; return the future answer, or what is against this record alone."""
    try:
        future: asyncio.Future[Any] = await client.send(*record.arguments)
    except ABOUT_ONE_RECORD as error:
        refused: Exception = error
        return refused
    # Nobody asks how it ended if the time is over first.
    future.add_done_callback(ignore_result)
    return future


def answer_to(entry: asyncio.Future[Any] | Exception) -> Position | Exception:
    """Return where a record lies that was sent, or what went wrong."""
    if isinstance(entry, Exception):
        return entry
    if not entry.done():
        return TimeoutError("no answer in time")
    if entry.cancelled():
        dropped: Exception = errors.KafkaError("dropped by its producer")
        return dropped
    if isinstance(error := entry.exception(), Exception):
        return error
    metadata = entry.result()
    return Position(metadata.topic, metadata.partition, metadata.offset)


def _delivery(record: OutgoingRecord, result: Position | Exception) -> Delivery:
    match result:
        case Position():
            return result
        case errors.MessageSizeTooLargeError() | errors.RecordListTooLargeError():
            return Refused(
                f"larger than topic {record.topic} (max.message.bytes) or this command "
                "(dead_letters.max_request_bytes) takes"
            )
        case errors.InvalidTimestampError():
            return Refused("its timestamp is refused")
        case _:
            return Unconfirmed(result)
