"""Topics for one test, the command line as a user has it, and a look at what was published."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from consumer.contract.record import Record
from tests.servers.topics import create_topics

PARTITIONS = 3


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def result(self) -> dict[str, Any]:
        """The JSON object on standard output."""
        read = json.loads(self.out)
        assert isinstance(read, dict)
        return read


@dataclass(frozen=True)
class Published:
    """One record, as it lies in its topic."""

    partition: int
    key: bytes
    value: bytes
    timestamp_ms: int


class Topics:
    """A pair of topics for session messages and events, both new."""

    def __init__(self, bootstrap_servers: str, prefix: str) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.sessions = f"{prefix}.sessions"
        self.events = f"{prefix}.events"

    @property
    def options(self) -> list[str]:
        return [
            f"--bootstrap-servers={self.bootstrap_servers}",
            f"--sessions-topic={self.sessions}",
            f"--events-topic={self.events}",
        ]

    def run(self, *arguments: str, stdin: bytes = b"") -> Ran:
        """Run a command on these topics."""
        command = [sys.executable, "-m", "producer_tools", *arguments, *self.options]
        ran = subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=60)
        return Ran(ran.returncode, ran.stdout.decode(), ran.stderr.decode())

    def read(self, topic: str, count: int) -> Sequence[Published]:
        """Return the first ``count`` records, and any that are fetched along with them."""
        return asyncio.run(self._read(topic, count))

    def count(self, expected: int) -> int:
        """Return how many records both topics have, waiting for those that are expected."""
        return asyncio.run(self._count(expected))

    async def _count(self, expected: int) -> int:
        client = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap_servers, auto_offset_reset="earliest"
        )
        await client.start()
        try:
            names = (self.sessions, self.events)
            client.assign(
                [TopicPartition(n, number) for n in names for number in range(PARTITIONS)]
            )
            found, more = 0, 1
            async with asyncio.timeout(20):
                while found < expected or more:
                    fetched = await client.getmany(timeout_ms=500)
                    more = sum(map(len, fetched.values()))
                    found += more
            return found
        finally:
            await client.stop()

    async def _read(self, topic: str, count: int) -> Sequence[Published]:
        client = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap_servers, auto_offset_reset="earliest"
        )
        await client.start()
        try:
            client.assign([TopicPartition(topic, number) for number in range(PARTITIONS)])
            found: list[Published] = []
            async with asyncio.timeout(20):
                while len(found) < count:
                    for records in (await client.getmany(timeout_ms=200)).values():
                        found += [
                            Published(r.partition, r.key, r.value, timestamp_of(r)) for r in records
                        ]
            return found
        finally:
            await client.stop()


def timestamp_of(record: Any) -> int:
    """The client's consumers of a process make our own records once one of ours has been open."""
    stamp: int = record.timestamp_ms if isinstance(record, Record) else record.timestamp
    return stamp


@pytest.fixture
def topics(kafka_bootstrap_servers: str, unique_name: str) -> Topics:
    made = Topics(kafka_bootstrap_servers, unique_name)
    names = (made.sessions, made.events)
    asyncio.run(create_topics(kafka_bootstrap_servers, *names, partitions=PARTITIONS))
    return made


@pytest.fixture
def small_topics(kafka_bootstrap_servers: str, unique_name: str) -> Topics:
    """Topics that take messages of 2 KiB."""
    made = Topics(kafka_bootstrap_servers, unique_name)
    names, limit = (made.sessions, made.events), {"max.message.bytes": "2048"}
    asyncio.run(create_topics(kafka_bootstrap_servers, *names, configs=limit))
    return made


@pytest.fixture
def no_topics(kafka_bootstrap_servers: str, unique_name: str) -> Topics:
    """Names of topics that do not exist."""
    return Topics(kafka_bootstrap_servers, unique_name)


@pytest.fixture
def topic_names(kafka_bootstrap_servers: str) -> Callable[[], set[str]]:
    """Ask which topics there are."""

    async def ask() -> set[str]:
        client = AIOKafkaConsumer(bootstrap_servers=kafka_bootstrap_servers)
        await client.start()
        try:
            return set(await client.topics())
        finally:
            await client.stop()

    return lambda: asyncio.run(ask())
