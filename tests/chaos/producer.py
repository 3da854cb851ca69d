"""The producer, which keeps a log of everything it sent and of all that was acknowledged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from consumer.contract.record import Position, TopicPartition
from producer_tools.outgoing_message import Stream
from tests.chaos.workload import Said
from tests.e2e.environment import producing

NUMBER = "chaos-number"
"""The header that tells which send a record comes from."""

TICK = 0.05
PAUSE = 0.5


@dataclass(slots=True)
class SendLog:
    """Sends by their number. One that is not acknowledged may be in the topic all the same."""

    sent: list[Said] = field(default_factory=list)
    acknowledged: dict[int, Position] = field(default_factory=dict)
    failed: int = 0
    _forgotten: set[int] = field(default_factory=set)

    def forget(self, topic: str) -> None:
        """What was acknowledged so far lay in a topic that is no more."""
        self._forgotten.update(n for n, at in self.acknowledged.items() if at.topic == topic)

    def ends(self) -> dict[TopicPartition, int]:
        """Up to where each partition is known to be filled."""
        ends: dict[TopicPartition, int] = {}
        for number, position in self.acknowledged.items():
            if number in self._forgotten:
                continue
            partition = TopicPartition(position.topic, position.partition)
            ends[partition] = max(ends.get(partition, 0), position.offset + 1)
        return ends


class Producer:
    """Sends at a rate until it is stopped, whatever the brokers do."""

    def __init__(
        self,
        bootstrap_servers: str,
        topics: dict[Stream, str],
        messages: Iterator[Said],
        rate: float,
    ) -> None:
        """``rate``: messages a second."""
        self._bootstrap_servers = bootstrap_servers
        self._topics = topics
        self._messages = messages
        self._rate = rate
        self._stopping = False
        self._may_send = asyncio.Event()
        self._may_send.set()
        self._sending = asyncio.Lock()
        self.log = SendLog()

    async def run(self) -> None:
        """Send until ``stop``; then wait for the last acknowledgements."""
        while not self._stopping:
            await self._may_send.wait()
            # After some errors an idempotent producer refuses everything: it is replaced.
            with suppress(KafkaError, OSError, TimeoutError):
                async with self._sending, producing(self._bootstrap_servers, 10.0) as producer:
                    await self._send_with(producer)
            await asyncio.sleep(PAUSE)

    @asynccontextmanager
    async def silent(self) -> AsyncIterator[None]:
        """Send nothing for as long as the context lasts; whatever was sent has ended before it."""
        self._may_send.clear()
        try:
            async with self._sending:
                yield
        finally:
            self._may_send.set()

    def stop(self) -> None:
        self._stopping = True

    async def _send_with(self, producer: AIOKafkaProducer) -> None:
        clock = asyncio.get_running_loop().time
        due = clock()
        failures = self.log.failed
        while not self._stopping and self._may_send.is_set() and self.log.failed == failures:
            due = max(due + TICK, clock() - 1.0)  # what could not be sent for long is not made up
            for _ in range(max(1, round(self._rate * TICK))):
                await self._send(producer)
            await asyncio.sleep(max(0.0, due - clock()))

    async def _send(self, producer: AIOKafkaProducer) -> None:
        said = next(self._messages)
        number = len(self.log.sent)
        self.log.sent.append(said)
        outgoing = said.outgoing
        future = await producer.send(
            self._topics[outgoing.stream],
            outgoing.value,
            outgoing.key,
            timestamp_ms=time.time_ns() // 1_000_000,
            headers=[(NUMBER, str(number).encode())],
        )
        future.add_done_callback(partial(self._answered, number))

    def _answered(self, number: int, future: asyncio.Future[Any]) -> None:
        if future.cancelled() or future.exception() is not None:
            self.log.failed += 1
        else:
            answer = future.result()
            self.log.acknowledged[number] = Position(answer.topic, answer.partition, answer.offset)
