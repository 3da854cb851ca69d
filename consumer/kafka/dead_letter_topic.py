"""Sending dead letters, each acknowledged by all in-sync replicas before an offset may move."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import KW_ONLY, dataclass

from aiokafka.errors import MessageSizeTooLargeError

from consumer import __version__
from consumer.contract.dead_letter import DeadLetter, min_dead_letter_bytes, truncate
from consumer.contract.record import Position
from consumer.errors import TransientError, drop_tracebacks
from consumer.kafka.admin import TopicDescription, open_admin
from consumer.kafka.producer import (
    FAILURES,
    AnyRecordProducer,
    OutgoingRecord,
    Producer,
    producer_options,
    start_producer,
)
from consumer.settings.model import DeadLetterSettings, KafkaSettings

BROKER_MESSAGE_BYTES = 1_048_588
"""Kafka's own default of ``max.message.bytes``."""


def max_dead_letter_bytes(letters: DeadLetterSettings, told: int | None) -> int:
    """Return the largest dead letter to send, in bytes as brokers count them.

    ``told``: what the topic takes. Where the brokers do not tell, they are taken to have Kafka's
    own limit, unless the settings have one.
    """
    if told is None:
        return letters.max_request_bytes or BROKER_MESSAGE_BYTES
    return min(told, letters.max_request_bytes or told)


@dataclass
class KafkaDeadLetters:
    """``DeadLetters`` over a producer, in letters no larger than the topic takes them.

    ``start`` is given the limit, and returns a started producer. ``limit``: the largest letter to
    send, learnt anew by ``ask_limit`` when one is refused. ``smallest``: what a letter may take
    however much is cut. ``timeout`` in seconds for all of one ``send``.
    """

    start: Callable[[int], Awaitable[AnyRecordProducer]]
    topic: str
    _: KW_ONLY
    limit: int
    smallest: int
    ask_limit: Callable[[], Awaitable[int]]
    timeout: float

    def __post_init__(self) -> None:
        """Begin with what is told so far."""
        self._told = self.limit
        self._producer = Producer(lambda: self.start(self.limit), self.timeout)

    async def send(self, pending: list[DeadLetter]) -> None:
        """See ``DeadLetters``."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + self.timeout
        try:
            while pending:
                limit = self.limit
                errors = await self._send_all(pending, limit, deadline - clock())
                if not errors:
                    return
                if not any(isinstance(error, MessageSizeTooLargeError) for error in errors):
                    raise errors[0]
                async with asyncio.timeout_at(deadline):
                    await self._learn_limit(limit)
        except FAILURES as error:
            drop_tracebacks(error)
            raise TransientError(type(error).__name__, "a dead letter was not acknowledged") from (
                error
            )

    async def _send_all(
        self, pending: list[DeadLetter], limit: int, timeout: float
    ) -> list[Exception]:
        """Send every letter, cut to ``limit``; leave those that were not acknowledged, and why."""
        cut = [truncate(letter, limit) for letter in pending]
        results = await self._producer.deliver(
            [
                OutgoingRecord(self.topic, None, None, one.key, one.value, one.headers)
                for one in cut
            ],
            timeout,
        )
        # Also where the time is over: what has arrived is not sent again.
        pending[:] = [
            letter
            for letter, result in zip(pending, results, strict=True)
            if not isinstance(result, Position)
        ]
        return [result for result in results if isinstance(result, Exception)]

    async def _learn_limit(self, refused: int) -> None:
        """Cut letters smaller than ``refused`` from now on, to what the topic says that it takes.

        Half of it where the topic says nothing new: something on the way takes less. Raises
        ``MessageSizeTooLargeError`` where no letter can be that small.
        """
        if self.limit != refused:
            return  # another batch has learnt it meanwhile
        told = await self.ask_limit()
        if self.limit != refused:
            return  # or while this one asked: to it, what was told would be nothing new
        before, self._told = self._told, told
        limit = told if told != before else refused // 2
        if limit < self.smallest:
            raise MessageSizeTooLargeError
        self.limit = limit

    async def close(self, timeout: float | None = None) -> None:
        """Disconnect within ``timeout`` seconds, by default those of a ``send``."""
        await self._producer.close(timeout)


def dead_letters_to(
    kafka: KafkaSettings, letters: DeadLetterSettings, topic: TopicDescription | None = None
) -> KafkaDeadLetters:
    """Return what sends dead letters to the topic of the settings, of which this much is known."""

    async def start(max_bytes: int) -> AnyRecordProducer:
        options = producer_options(kafka, max_bytes, idempotent=letters.idempotent)
        return await start_producer(options)

    def limit(found: TopicDescription | None) -> int:
        return max_dead_letter_bytes(letters, None if found is None else found.max_message_bytes)

    async def ask_limit() -> int:
        async with open_admin(kafka) as admin:
            described = await admin.describe([letters.topic])
        return limit(described.get(letters.topic))

    return KafkaDeadLetters(
        start,
        letters.topic,
        limit=limit(topic),
        smallest=min_dead_letter_bytes(kafka.topics, kafka.group_id, __version__),
        ask_limit=ask_limit,
        timeout=kafka.request_timeout,
    )
