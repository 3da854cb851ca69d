"""What the producer makes of a producer's answers, over a producer made of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from aiokafka.errors import (
    InvalidTimestampError,
    KafkaConnectionError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
)

from consumer.contract.record import Position
from consumer.kafka.producer import (
    OutgoingRecord,
    Producer,
    Refused,
    Unconfirmed,
)

TIMEOUT = 0.05
NEVER = "never"
"""An answer that does not come."""

Answers = Callable[[bytes | None, int | None], BaseException | str | None]


@dataclass
class Script:
    """Opens producers that answer by value and timestamp, and notes what they were given."""

    answers: Answers = lambda _value, _timestamp: None
    opened: int = 0
    stopped: int = 0
    queued: list[bytes | None] = field(default_factory=list)

    async def open(self) -> Any:
        self.opened += 1
        return Scripted(self)

    async def send(self, *values: str, timestamp_ms: int | None = 7) -> Sequence[object]:
        producer = Producer(self.open, TIMEOUT)
        records = [record(value, timestamp_ms) for value in values]
        try:
            return await producer.send(records)
        finally:
            await producer.close()


@dataclass
class Scripted:
    """One producer. Once it has refused a record, it refuses all others, as idempotent ones do."""

    script: Script
    lost: bool = False

    async def send(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        headers: Sequence[tuple[str, bytes | None]] | None = None,
    ) -> asyncio.Future[Any]:
        self.script.queued.append(value)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        answer = self.script.answers(value, timestamp_ms)
        if isinstance(answer, KafkaConnectionError):
            raise answer
        if isinstance(answer, BaseException):
            self.lost = True
            future.set_exception(answer)
        elif self.lost:
            future.set_exception(OutOfOrderSequenceNumber())
        elif answer is None:
            offset = len(self.script.queued) - 1
            future.set_result(SimpleNamespace(topic=topic, partition=0, offset=offset))
        return future

    async def discard(self, _timeout: float) -> None:
        self.script.stopped += 1


def record(value: str, timestamp_ms: int | None = 7) -> OutgoingRecord:
    return OutgoingRecord("topic", None, timestamp_ms, b"key", value.encode(), ())


async def test_each_record_is_answered_by_where_it_lies() -> None:
    script = Script()
    assert await script.send("a", "b") == [Position("topic", 0, 0), Position("topic", 0, 1)]
    assert (script.opened, script.stopped) == (1, 1)


async def test_a_record_that_is_too_large_does_not_take_the_others_with_it() -> None:
    script = Script(lambda value, _: MessageSizeTooLargeError() if value == b"large" else None)
    answers = await script.send("a", "large", "b", "c")
    assert [type(answer) for answer in answers] == [Position, Refused, Position, Position]
    assert script.queued.count(b"a") == 1


async def test_records_that_share_a_refusal_are_sent_again_by_another_producer() -> None:
    script = Script()
    script.answers = lambda _value, _timestamp: (
        MessageSizeTooLargeError() if script.opened == 1 else None
    )
    assert [type(answer) for answer in await script.send("a", "b")] == [Position, Position]


async def test_a_timestamp_that_is_refused_is_left_to_the_clock() -> None:
    script = Script(lambda _, timestamp: InvalidTimestampError() if timestamp else None)
    (answer,) = await script.send("a")
    assert isinstance(answer, Position)


async def test_an_answer_that_does_not_come_in_time_is_none() -> None:
    script = Script(lambda value, _: NEVER if value == b"b" else None)
    answers = await script.send("a", "b")
    assert [type(answer) for answer in answers] == [Position, Unconfirmed]


async def test_once_the_brokers_are_gone_no_more_records_are_queued() -> None:
    script = Script(lambda value, _: KafkaConnectionError() if value == b"b" else None)
    answers = await script.send("a", "b", "c", "d")
    assert [type(answer) for answer in answers] == [Position, Unconfirmed, Unconfirmed, Unconfirmed]
    assert script.queued == [b"a", b"b"]
