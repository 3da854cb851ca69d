"""Everything of one run: servers, proxies before them, consumers, and the producer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from aiokafka.errors import KafkaError

from consumer.contract.record import TopicPartition
from producer_tools.outgoing_message import Stream
from tests.chaos.consumers import Consumers
from tests.chaos.history import History
from tests.chaos.producer import Producer
from tests.chaos.servers import Servers
from tests.chaos.workload import workload
from tests.e2e.environment import Environment
from tests.e2e.processes import Fleet, running_fleet
from tests.faults.kafka.frames import Frames, framed
from tests.faults.mongodb_proxy import mongodb_proxied
from tests.faults.proxy import Proxy

T = TypeVar("T")

LOOK_EVERY = 0.5
PATIENCE = 3.0

SETTINGS: Mapping[str, object] = {
    "mongo.timeout": 5.0,
    "engine.max_poll_records": 500,
    "engine.drain_deadline": 8.0,
}
"""Little patience, so that faults of seconds are felt as those of minutes are in production."""


@dataclass(frozen=True, slots=True)
class World:
    """``environment`` reads past the proxies, the consumers see nothing but them."""

    servers: Servers
    environment: Environment
    kafka: Frames
    mongodb: Proxy
    fleet: Fleet
    consumers: Consumers
    producer: Producer
    history: History = field(default_factory=History)

    @property
    def topics(self) -> tuple[str, str]:
        """The topics that the consumers read."""
        return self.environment.sessions, self.environment.events

    async def committed(self) -> Mapping[TopicPartition, int] | None:
        """What the group has committed; None while no broker can say."""
        return await _told(self.environment.committed())

    async def coordinator(self) -> int | None:
        """Which broker coordinates the group, by its number; None while none says."""
        return await _told(self.environment.coordinator())

    async def behind(self, ends: Mapping[TopicPartition, int]) -> int | None:
        """How many records before ``ends`` are not committed; None while no broker can say."""
        committed = await self.committed()
        if committed is None:
            return None
        return sum(max(0, end - committed.get(one, 0)) for one, end in ends.items())

    async def caught_up(self, ends: Mapping[TopicPartition, int], seconds: float) -> float | None:
        """Return after how many seconds the group has committed ``ends``; None if not in time."""
        clock = asyncio.get_running_loop().time
        begun = clock()
        while clock() - begun < seconds:
            await self.consumers.fill()
            if await self.behind(ends) == 0:
                return clock() - begun
            await asyncio.sleep(LOOK_EVERY)
        return None


async def _told(question: Awaitable[T]) -> T | None:
    try:
        async with asyncio.timeout(10.0):
            return await question
    except (KafkaError, OSError, TimeoutError):
        return None


@asynccontextmanager
async def open_world(
    servers: Servers, seed: int, rate: float, directory: Path
) -> AsyncIterator[World]:
    """Build it all on these servers; nobody works yet."""
    addresses = servers.bootstrap_servers, servers.mongodb_uri
    environment = Environment(*addresses, f"chaos-{seed}", patience=PATIENCE)
    await environment.create_topics()
    async with AsyncExitStack() as stack:
        kafka = await stack.enter_async_context(framed(environment.kafka))
        mongodb = await stack.enter_async_context(mongodb_proxied(environment.mongodb))
        seen = environment.seen_from(kafka=kafka.bootstrap_servers, mongodb=mongodb.uri)
        settings = {**seen.settings, **SETTINGS}
        fleet = await stack.enter_async_context(running_fleet(settings, directory))
        topics = {Stream.SESSIONS: environment.sessions, Stream.EVENTS: environment.events}
        producer = Producer(environment.kafka, topics, workload(seed), rate)
        yield World(servers, environment, kafka, mongodb.proxy, fleet, Consumers(fleet), producer)
