"""``Outbox`` over aiokafka's producer, which is replaced after it has been refused something."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final, Protocol

from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    InvalidTimestampError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    UnknownError,
    UnsupportedVersionError,
)

from consumer.commands.dead_letters.outbox import Answer, Refused, Unconfirmed
from consumer.commands.dead_letters.redriven_record import OutgoingRecord
from consumer.contract.record import Position
from consumer.kafka.dead_letters import NO_LIMIT, AnyRecordProducer, producer_options
from consumer.settings import DeadLetterSettings, KafkaSettings
from producer_tools.brokers import CLIENT_ID, explained
from producer_tools.sender import NOT_IDEMPOTENT

Warn = Callable[[str], None]

_LINGER_MS: Final = 5
_TOO_LARGE: Final = (MessageSizeTooLargeError, RecordListTooLargeError)
_FAILURES: Final = (KafkaError, OSError, TimeoutError)
_WITHOUT_PRODUCER_IDS: Final = (
    UnknownError,
    UnsupportedVersionError,
    ClusterAuthorizationFailedError,
)
"""What a start fails with where the brokers serve no idempotent producer."""


_ABOUT_ONE_RECORD: Final = (*_TOO_LARGE, InvalidTimestampError)
"""What is against one record; all others of its batch may be refused with it."""


class Producer(Protocol):
    """The few methods of a producer that are used here."""

    async def send(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        headers: Sequence[tuple[str, bytes | None]] | None = None,
    ) -> asyncio.Future[Any]:
        """Queue a record; the future is done when the brokers have acknowledged it."""
        ...

    async def stop(self) -> None:
        """Send what is queued, and disconnect."""
        ...


class KafkaOutbox:
    """Sends a window at once, in order; after a refusal of one record, the rest one by one.

    Then those may come behind others of the window. Nothing rests on their order.
    """

    def __init__(self, open_producer: Callable[[], Awaitable[Producer]], timeout: float) -> None:
        """``open_producer`` returns a started one; ``timeout``: seconds for an answer."""
        self._open_producer = open_producer
        self._timeout = timeout
        self._producer: Producer | None = None

    async def connect(self) -> None:
        """Connect now and not with the first record. Raises what the client raises."""
        self._producer = await self._open_producer()

    async def send(self, records: Sequence[OutgoingRecord]) -> Sequence[Answer]:
        """See ``Outbox``."""
        results = await self._send_together(records)
        if any(isinstance(result, _ABOUT_ONE_RECORD) for result in results):
            # The batches share the refusal, and an idempotent producer is lost after it.
            await self.close()
            for index, record in enumerate(records):
                if not isinstance(results[index], Position):
                    results[index] = await self._send_alone(record)
        return [_answer(record, result) for record, result in zip(records, results, strict=True)]

    async def _send_alone(self, record: OutgoingRecord) -> Position | BaseException:
        (result,) = await self._send_together([record])
        if isinstance(result, InvalidTimestampError) and record.timestamp_ms is not None:
            # redrive-timestamp-ms says what the record's own timestamp may not.
            await self.close()
            (result,) = await self._send_together([replace(record, timestamp_ms=None)])
        if isinstance(result, BaseException):
            await self.close()
        return result

    async def _send_together(
        self, records: Sequence[OutgoingRecord]
    ) -> list[Position | BaseException]:
        """Queue the records and wait for all answers; behind a failure no more are queued."""
        queued: list[asyncio.Future[Any] | BaseException] = []
        failure: BaseException | None = None
        for record in records:
            if failure is not None:
                queued.append(failure)
                continue
            try:
                async with asyncio.timeout(self._timeout):
                    future = await self._queue(record)
            except _FAILURES as error:
                queued.append(error)
                failure = None if isinstance(error, _ABOUT_ONE_RECORD) else error
            else:
                future.add_done_callback(_consume)
                queued.append(future)
        futures = [entry for entry in queued if isinstance(entry, asyncio.Future)]
        if futures:
            await asyncio.wait(futures, timeout=self._timeout)
        return [_result(entry) for entry in queued]

    async def _queue(self, record: OutgoingRecord) -> asyncio.Future[Any]:
        if self._producer is None:
            self._producer = await self._open_producer()
        return await self._producer.send(
            record.topic,
            record.value,
            record.key,
            record.partition,
            record.timestamp_ms,
            list(record.headers),
        )

    async def close(self) -> None:
        """Disconnect. What has not been acknowledged by now counts as not sent."""
        producer, self._producer = self._producer, None
        if producer is not None:
            stopping = asyncio.ensure_future(producer.stop())
            stopping.add_done_callback(_consume)
            await asyncio.wait([stopping], timeout=self._timeout)


def _result(entry: asyncio.Future[Any] | BaseException) -> Position | BaseException:
    if isinstance(entry, BaseException):
        return entry
    if not entry.done():
        return TimeoutError("no answer in time")
    if entry.cancelled():
        return TimeoutError("given up")
    error = entry.exception()
    if error is not None:
        return error
    metadata = entry.result()
    return Position(metadata.topic, metadata.partition, metadata.offset)


def _answer(record: OutgoingRecord, result: Position | BaseException) -> Answer:
    match result:
        case Position():
            return result
        case MessageSizeTooLargeError() | RecordListTooLargeError():
            return Refused(
                f"larger than topic {record.topic} (max.message.bytes) or this command "
                "(dead_letters.max_request_bytes) takes"
            )
        case InvalidTimestampError():
            return Refused("its timestamp is refused")
        case _:
            return Unconfirmed(result)


def _consume(future: asyncio.Future[Any]) -> None:
    """Take a late exception, so that it is not reported as never retrieved."""
    if not future.cancelled():
        future.exception()


@asynccontextmanager
async def open_outbox(
    kafka: KafkaSettings, letters: DeadLetterSettings, warn: Warn
) -> AsyncIterator[KafkaOutbox]:
    """Open an outbox, disconnected at the end. ``warn`` is told of a guarantee that is missing.

    Raises ``BrokersError`` where the brokers cannot be reached.
    """
    options = producer_options(kafka, letters, letters.max_request_bytes or NO_LIMIT) | {
        "client_id": CLIENT_ID,
        "linger_ms": _LINGER_MS,
        "compression_type": "lz4",
    }
    idempotent = letters.idempotent

    async def started() -> Producer:
        nonlocal idempotent
        try:
            return await _started(options | {"enable_idempotence": idempotent})
        except _WITHOUT_PRODUCER_IDS:
            if not idempotent:
                raise
            idempotent = False
            warn(NOT_IDEMPOTENT)
            return await _started(options | {"enable_idempotence": False})

    outbox = KafkaOutbox(started, kafka.request_timeout)
    with explained(kafka):
        await outbox.connect()
    try:
        yield outbox
    finally:
        await outbox.close()


async def _started(options: dict[str, Any]) -> Producer:
    producer = AnyRecordProducer(**options)
    try:
        await producer.start()
    except BaseException:
        await producer.stop()
        raise
    started: Producer = producer
    return started
