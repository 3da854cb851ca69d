"""Sending dead letters, each acknowledged by all in-sync replicas before an offset may move."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from consumer.contract.dead_letter import DeadLetter
from consumer.errors import TransientError
from consumer.settings import DeadLetterSettings, KafkaSettings
from consumer.stream.connection import connection_options

RECORD_OVERHEAD = 64 * 1024
"""Bytes a request may be larger than its largest letter: framing, never content."""


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
    return _AnyRecordProducer(**producer_options(kafka, letters))


class _AnyRecordProducer(AIOKafkaProducer):  # type: ignore[misc]  # aiokafka ships no types
    """Sends what aiokafka refuses with an assertion: a record with neither key nor value."""

    async def send(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        *,
        headers: Sequence[tuple[str, bytes | None]] | None = None,
    ) -> asyncio.Future[Any]:
        """See ``LetterProducer``."""
        if key is None and value is None:
            return await self._send_empty(topic, list(headers or ()))
        sent: asyncio.Future[Any] = await super().send(topic, value, key, headers=headers)
        return sent

    async def _send_empty(
        self, topic: str, headers: Sequence[tuple[str, bytes | None]]
    ) -> asyncio.Future[Any]:
        batch = self.create_batch()
        batch.append(timestamp=None, key=None, value=None, headers=headers)
        partitions = sorted(await self.partitions_for(topic))
        # Without a key any partition will do; letters are rare, and these the rarest of them.
        sent: asyncio.Future[Any] = await self.send_batch(batch, topic, partition=partitions[0])
        return sent


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
        try:
            async with asyncio.timeout(self._timeout):
                producer = await self._opened()
                too_large = await self._send_all(producer, letters)
                if too_large:
                    await self._send_all(
                        producer, [self._shorten(letter) for letter in too_large], last_try=True
                    )
        except (KafkaError, OSError, TimeoutError) as error:
            await self.close()
            raise TransientError(type(error).__name__, "a dead letter was not acknowledged") from (
                error
            )

    async def _send_all(
        self, producer: LetterProducer, letters: Sequence[DeadLetter], *, last_try: bool = False
    ) -> list[DeadLetter]:
        """Send and await every letter; return those that the broker finds too large."""
        sent: list[asyncio.Future[Any]] = []
        too_large: list[DeadLetter] = []
        waiting: list[DeadLetter] = []
        for letter in letters:
            try:
                future = await producer.send(
                    self._topic, letter.value, letter.key, headers=list(letter.headers)
                )
            except MessageSizeTooLargeError:
                if last_try:
                    raise
                too_large.append(letter)
            else:
                sent.append(future)
                waiting.append(letter)
        answers = await asyncio.gather(*sent, return_exceptions=True)
        for letter, answer in zip(waiting, answers, strict=True):
            if isinstance(answer, MessageSizeTooLargeError) and not last_try:
                too_large.append(letter)
            elif isinstance(answer, BaseException):
                raise answer
        return too_large

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

    async def close(self) -> None:
        """Disconnect within the timeout; what was not acknowledged was not counted either."""
        producer, self._producer = self._producer, None
        if producer is not None:
            stopping = asyncio.ensure_future(producer.stop())
            stopping.add_done_callback(_consume)
            await asyncio.wait([stopping], timeout=self._timeout)


def _consume(task: asyncio.Future[None]) -> None:
    """Take the exception of a producer that fails while it ends; nothing depends on it."""
    if not task.cancelled():
        task.exception()
