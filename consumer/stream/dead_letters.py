"""Sending dead letters, each acknowledged by all in-sync replicas before an offset may move."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from consumer.contract.dead_letter import DeadLetter
from consumer.contract.record import HEADER_NAME_ERRORS
from consumer.errors import TransientError
from consumer.settings import DeadLetterSettings, KafkaSettings
from consumer.stream.connection import connection_options

RECORD_OVERHEAD = 64 * 1024
"""Bytes a request may be larger than its largest letter: framing, never content."""


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


def producer_options(kafka: KafkaSettings, letters: DeadLetterSettings) -> dict[str, Any]:
    """Return the options of a producer that may acknowledge nothing it could lose."""
    return connection_options(kafka) | {
        "acks": "all",
        "enable_idempotence": letters.idempotent,
        "max_request_size": letters.max_request_bytes + RECORD_OVERHEAD,
    }


def open_producer(kafka: KafkaSettings, letters: DeadLetterSettings) -> LetterProducer:
    """Return a producer that is not started yet."""
    return AnyRecordProducer(**producer_options(kafka, letters))


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
        open_producer: Callable[[], LetterProducer],
        topic: str,
        shorten: Callable[[DeadLetter], DeadLetter],
        *,
        timeout: float,
    ) -> None:
        """``shorten`` cuts a letter that the broker finds too large; ``timeout`` in seconds."""
        self._open_producer = open_producer
        self._topic = topic
        self._shorten = shorten
        self._timeout = timeout
        self._producer: LetterProducer | None = None
        self._opening = asyncio.Lock()

    async def send(self, letters: Sequence[DeadLetter]) -> None:
        """See ``DeadLetters``."""
        producer: LetterProducer | None = None
        try:
            async with asyncio.timeout(self._timeout):
                producer = await self._opened()
                answers = await self._send_all(producer, letters)
                again = self._smaller(letters, answers)
                if again:
                    # A broker that has refused a letter refuses what an idempotent producer
                    # sends behind it, too.
                    await self._discard(producer)
                    producer = await self._opened()
                    answers = await self._send_all(producer, again)
            for answer in answers:
                if answer is not None:
                    raise answer
        except (KafkaError, OSError, TimeoutError) as error:
            await self._discard(producer)
            raise TransientError(type(error).__name__, "a dead letter was not acknowledged") from (
                error
            )

    async def _send_all(
        self, producer: LetterProducer, letters: Sequence[DeadLetter]
    ) -> list[Exception | None]:
        """Send and await every letter; return what went wrong with each, None: acknowledged."""
        sent: list[asyncio.Future[Any]] = []
        for letter in letters:
            try:
                future = await producer.send(
                    self._topic, letter.value, letter.key, headers=list(letter.headers)
                )
            except KafkaError as error:
                future = asyncio.get_running_loop().create_future()
                future.set_exception(error)
            # Nobody asks how it ended if the time is over first.
            future.add_done_callback(_consume)
            sent.append(future)
        return [_problem(answer) for answer in await asyncio.gather(*sent, return_exceptions=True)]

    def _smaller(
        self, letters: Sequence[DeadLetter], answers: Sequence[Exception | None]
    ) -> list[DeadLetter]:
        """Return what to send again where letters were too large: those, and what failed beside."""
        if not any(isinstance(answer, MessageSizeTooLargeError) for answer in answers):
            return []
        return [
            self._shorten(letter) if isinstance(answer, MessageSizeTooLargeError) else letter
            for letter, answer in zip(letters, answers, strict=True)
            if answer is not None
        ]

    async def _discard(self, producer: LetterProducer | None) -> None:
        """Close a producer that failed, unless another batch has replaced it already."""
        if producer is self._producer:
            await self.close(DISCARD_WAIT)

    async def _opened(self) -> LetterProducer:
        async with self._opening:
            if self._producer is None:
                producer = self._open_producer()
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


def _problem(answer: object) -> Exception | None:
    if isinstance(answer, asyncio.CancelledError):
        # The producer dropped it; nobody has cancelled us.
        dropped: Exception = KafkaError("a dead letter was dropped by its producer")
        return dropped
    return answer if isinstance(answer, Exception) else None


def _consume(task: asyncio.Future[Any]) -> None:
    """Take the exception of a producer that fails while it ends; nothing depends on it."""
    if not task.cancelled():
        task.exception()
