"""A producer in memory, with faults on demand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from aiokafka.errors import KafkaError

from consumer.contract.record import Headers


@dataclass(frozen=True, slots=True)
class SentRecord:
    """A record as a broker would have it."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers


Transmit = Callable[[SentRecord], asyncio.Future[Any]]
"""Hands a record over to the brokers; the future is their answer."""


ACKNOWLEDGED = SimpleNamespace(topic="", partition=0, offset=0)
"""What a broker answers for a record that it has; where it lies is of no matter here."""


class MemoryProducer:
    """Has the few methods of aiokafka's producer that are used.

    ``connect`` is awaited by ``start`` and may raise. After a failure nothing more is taken,
    as an idempotent producer that has lost its sequence behaves.
    """

    def __init__(self, transmit: Transmit, connect: Callable[[], Awaitable[None]]) -> None:
        self._transmit = transmit
        self._connect = connect
        self.started = False
        self.stopped = False
        self.failed = False

    async def start(self) -> None:
        await self._connect()
        self.started = True

    async def discard(self, _timeout: float) -> None:
        self.stopped = True

    async def send(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        _partition: int | None = None,
        _timestamp_ms: int | None = None,
        headers: Sequence[tuple[str, bytes | None]] | None = None,
    ) -> asyncio.Future[Any]:
        if self.failed or self.stopped or not self.started:
            raise KafkaError("the producer does not work any more")
        sent = self._transmit(SentRecord(topic, key, value, tuple(headers or ())))
        sent.add_done_callback(self._notice)
        return sent

    def _notice(self, sent: asyncio.Future[Any]) -> None:
        if not sent.cancelled() and sent.exception() is not None:
            self.failed = True
