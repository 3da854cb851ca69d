"""A producer of transactions, which the consumer's own client is not to be trusted with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from confluent_kafka import Producer

from consumer.contract.record import TopicPartition

SECONDS = 30.0


class Transactions:
    """One transactional producer. Use ``transactions``."""

    def __init__(self, bootstrap_servers: str, name: str) -> None:
        self._producer = Producer(
            {"bootstrap.servers": bootstrap_servers, "transactional.id": name, "log_level": 0}
        )

    async def start(self) -> None:
        await asyncio.to_thread(self._producer.init_transactions, SECONDS)

    async def send(self, partition: TopicPartition, values: Sequence[bytes]) -> None:
        """Begin a transaction and write these records; it stays open."""
        self._producer.begin_transaction()
        for value in values:
            self._producer.produce(partition.topic, value, partition=partition.partition)
        await asyncio.to_thread(self._producer.flush, SECONDS)

    async def commit(self) -> None:
        await asyncio.to_thread(self._producer.commit_transaction, SECONDS)

    async def abort(self) -> None:
        await asyncio.to_thread(self._producer.abort_transaction, SECONDS)


@asynccontextmanager
async def transactions(bootstrap_servers: str, name: str) -> AsyncIterator[Transactions]:
    """Give a producer that is ready to begin."""
    made = Transactions(bootstrap_servers, name)
    await made.start()
    yield made
