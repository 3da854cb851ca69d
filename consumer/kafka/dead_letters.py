"""Sending dead letters, each acknowledged by all in-sync replicas before an offset may move."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from consumer.contract.dead_letter import DeadLetter, truncate
from consumer.contract.record import HEADER_NAME_ERRORS
from consumer.errors import TransientError
from consumer.kafka.connection import connection_options
from consumer.kafka.topics import open_admin
from consumer.settings import DeadLetterSettings, KafkaSettings

RECORD_OVERHEAD = 64 * 1024
"""Bytes a request may be larger than its largest letter: framing, never content."""


BATCH_BYTES = 16 * 1024
"""The client's own default of what it puts into one batch."""

BROKER_MESSAGE_BYTES = 1_048_588
"""Kafka's own default of ``max.message.bytes``."""

NO_LIMIT = 2**30
"""More than any broker takes in one request."""

DISCARD_WAIT = 1.0
"""Seconds that a retry waits for a producer that failed to disconnect."""


class LetterProducer(Protocol):
    """The few methods of a producer that are used here."""

    async def start(self) -> None:
        """Connect."""
        ...

    async def stop(self) -> None:
        """Disconnect."""
        ...

    async def send(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        *,
        headers: Sequence[tuple[str, bytes | None]] | None = None,
    ) -> asyncio.Future[Any]:
        """Queue a record; the future is done when the brokers have acknowledged it."""
        ...


def letter_limit(letters: DeadLetterSettings, told: int | None) -> int:
    """Return the largest letter to send, in bytes as brokers count them.

    ``told``: what the topic takes. Where the brokers do not tell, they are taken to have Kafka's
    own limit, unless the settings have one.
    """
    if told is None:
        return letters.max_request_bytes or BROKER_MESSAGE_BYTES
    return min(told, letters.max_request_bytes or told)


async def asked_letter_limit(kafka: KafkaSettings, letters: DeadLetterSettings) -> int:
    """Ask how large a letter may be now. Raises ``TransientError``."""
    async with open_admin(kafka) as admin:
        described = await admin.describe([letters.topic])
    topic = described.get(letters.topic)
    return letter_limit(letters, None if topic is None else topic.max_message_bytes)


def producer_options(
    kafka: KafkaSettings, letters: DeadLetterSettings, max_bytes: int
) -> dict[str, Any]:
    """Return the options of a producer that may acknowledge nothing it could lose.

    ``max_bytes``: the largest batch that is taken, be it of one record or of several.
    """
    return connection_options(kafka) | {
        "acks": "all",
        "enable_idempotence": letters.idempotent,
        "max_request_size": max_bytes + RECORD_OVERHEAD,
        "max_batch_size": min(BATCH_BYTES, max_bytes),
    }


def open_producer(
    kafka: KafkaSettings, letters: DeadLetterSettings, max_bytes: int
) -> LetterProducer:
    """Return a producer that is not started yet."""
    return AnyRecordProducer(**producer_options(kafka, letters, max_bytes))


class _Name(str):
    """The name of a header, which becomes the bytes again that it was read from."""

    __slots__ = ()

    def encode(self, *_: str) -> bytes:
        return super().encode("utf-8", HEADER_NAME_ERRORS)


def _is_utf8(name: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in name)


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
    ) -> asyncio.Future[Any]:
        """Queue a record; the future is done when the brokers have acknowledged it."""
        odd = any(not _is_utf8(name) for name, _ in headers or ())
        if not odd and (key is not None or value is not None):
            sent: asyncio.Future[Any] = await super().send(
                topic, value, key, partition, timestamp_ms, headers
            )
            return sent
        batch = self._any_names_batch() if odd else self.create_batch()
        named = [(_Name(name) if odd else name, content) for name, content in headers or ()]
        batch.append(timestamp=timestamp_ms, key=key, value=value, headers=named)
        # Known by now, or the partition could not be chosen.
        partitions = await self.partitions_for(topic)
        if partition is None:
            # Without a key any partition will do; such records are rare.
            partition = (
                min(partitions)
                if key is None
                else self._partition(topic, None, key, value, key, value)
            )
        alone: asyncio.Future[Any] = await self.send_batch(batch, topic, partition=partition)
        return alone

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


class KafkaDeadLetters:
    """``DeadLetters`` over a producer, which is replaced after any failure.

    An idempotent producer that has failed once may refuse everything after it.
    """

    def __init__(
        self,
        open_producer: Callable[[int], LetterProducer],
        topic: str,
        *,
        limit: int,
        smallest: int,
        ask_limit: Callable[[], Awaitable[int]],
        timeout: float,
    ) -> None:
        """``limit``: the largest letter to send, learnt anew by ``ask_limit`` when one is refused.

        ``smallest``: what a letter may take however much is cut. ``open_producer`` is given the
        limit. ``timeout`` in seconds for all of one ``send``.
        """
        self._open_producer = open_producer
        self._topic = topic
        self._limit = self._told = limit
        self._smallest = smallest
        self._ask_limit = ask_limit
        self._timeout = timeout
        self._producer: LetterProducer | None = None
        self._opening = asyncio.Lock()

    async def send(self, pending: list[DeadLetter]) -> None:
        """See ``DeadLetters``."""
        producer: LetterProducer | None = None
        try:
            async with asyncio.timeout(self._timeout):
                while True:
                    producer, limit = await self._opened(), self._limit
                    problems = await self._send_all(producer, pending, limit)
                    if not problems:
                        return
                    # A broker that has refused a letter refuses what an idempotent producer
                    # sends behind it, too.
                    await self._discard(producer)
                    if not any(isinstance(error, MessageSizeTooLargeError) for error in problems):
                        raise problems[0]
                    await self._learn_limit(limit)
        except (KafkaError, OSError, TimeoutError) as error:
            await self._discard(producer)
            raise TransientError(type(error).__name__, "a dead letter was not acknowledged") from (
                error
            )

    async def _send_all(
        self, producer: LetterProducer, pending: list[DeadLetter], limit: int
    ) -> list[Exception]:
        """Send every letter, cut to ``limit``; leave those that were not acknowledged, and why."""
        sent: list[asyncio.Future[Any]] = []
        try:
            for letter in pending:
                queued = await self._queued(producer, truncate(letter, limit))
                sent.append(queued)
            await asyncio.gather(*sent, return_exceptions=True)
        finally:
            # Also where the time is over: what has arrived is not sent again.
            pending[:] = [
                letter
                for index, letter in enumerate(pending)
                if index >= len(sent) or not _acknowledged(sent[index])
            ]
        return [_problem(future) for future in sent if not _acknowledged(future)]

    async def _queued(self, producer: LetterProducer, letter: DeadLetter) -> asyncio.Future[Any]:
        try:
            future = await producer.send(
                self._topic, letter.value, letter.key, headers=list(letter.headers)
            )
        except KafkaError as error:
            future = asyncio.get_running_loop().create_future()
            future.set_exception(error)
        # Nobody asks how it ended if the time is over first.
        future.add_done_callback(_consume)
        return future

    async def _learn_limit(self, refused: int) -> None:
        """Cut letters smaller than ``refused`` from now on, to what the topic says that it takes.

        Half of it where the topic says nothing new: something on the way takes less. Raises
        ``MessageSizeTooLargeError`` where no letter can be that small.
        """
        if self._limit != refused:
            return  # another batch has learnt it meanwhile
        told = await self._ask_limit()
        if self._limit != refused:
            return  # or while this one asked: to it, what was told would be nothing new
        before, self._told = self._told, told
        limit = told if told != before else refused // 2
        if limit < self._smallest:
            raise MessageSizeTooLargeError
        self._limit = limit

    async def _discard(self, producer: LetterProducer | None) -> None:
        """Close a producer that failed, unless another batch has replaced it already."""
        if producer is self._producer:
            await self.close(DISCARD_WAIT)

    async def _opened(self) -> LetterProducer:
        async with self._opening:
            if self._producer is None:
                producer = self._open_producer(self._limit)
                try:
                    await producer.start()
                except BaseException:
                    await producer.stop()
                    raise
                self._producer = producer
            return self._producer

    async def close(self, timeout: float | None = None) -> None:
        """Disconnect within ``timeout`` seconds, by default those of a request.

        The producer flushes first, and so waits for brokers that do not answer. What they have
        not acknowledged was not counted either.
        """
        producer, self._producer = self._producer, None
        if producer is not None:
            stopping = asyncio.ensure_future(producer.stop())
            stopping.add_done_callback(_consume)
            await asyncio.wait([stopping], timeout=self._timeout if timeout is None else timeout)


def _acknowledged(future: asyncio.Future[Any]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _problem(future: asyncio.Future[Any]) -> Exception:
    error = None if future.cancelled() else future.exception()
    if isinstance(error, Exception):
        return error
    # The producer dropped it; nobody has cancelled us.
    dropped: Exception = KafkaError("a dead letter was dropped by its producer")
    return dropped


def _consume(task: asyncio.Future[Any]) -> None:
    """Take the exception of a producer that fails while it ends; nothing depends on it."""
    if not task.cancelled():
        task.exception()
