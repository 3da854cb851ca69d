"""What is done to the logs themselves: records deleted, topics made again, dead letters expired."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random

from aiokafka import TopicPartition as ClientPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from consumer.contract.record import TopicPartition
from tests.chaos.fault import Target, fault
from tests.chaos.faults_consumers import frozen
from tests.chaos.history import Deletion
from tests.chaos.world import World

GONE_SECONDS = 30.0
STANDSTILL = 3.0
ABSENCES = (0.0, 0.5, 4.0)


@asynccontextmanager
async def _admin(world: World) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=world.servers.bootstrap_servers)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def _delete(admin: AIOKafkaAdminClient, until: Mapping[TopicPartition, int]) -> None:
    targets = {
        ClientPartition(*partition): RecordsToDelete(end) for partition, end in until.items() if end
    }
    await admin.delete_records(targets)


def _deletion(
    world: World,
    partition: TopicPartition,
    end: int,
    committed: Mapping[TopicPartition, int],
    *,
    whole: bool = False,
) -> Deletion:
    name = f"{partition.topic}-{partition.partition}"
    services = world.fleet.services
    return Deletion(
        partition,
        committed.get(partition),
        end,
        whole,
        {one.name: len(one.lines) for one in services},
        frozenset(one.name for one in services if one.running and name in one.partitions),
    )


@fault("what the group has read is deleted", Target.BROKERS)
@asynccontextmanager
async def delete_consumed(world: World, random: Random) -> AsyncIterator[str]:
    """Nobody may miss anything."""
    committed = await world.committed() or {}
    chosen = {one: end for one, end in committed.items() if end and random.random() < 0.5}
    records = await world.environment.records(*world.topics, within=chosen)
    async with _admin(world) as admin:
        world.history.deleting(
            (_deletion(world, one, end, committed) for one, end in chosen.items()), records
        )
        await _delete(admin, chosen)
    yield f"{len(chosen)} partitions"


@fault("records are deleted that nobody has read", Target.BROKERS)
@asynccontextmanager
async def delete_unread(world: World, random: Random) -> AsyncIterator[str]:
    """While nobody reads, some of what nobody has read is deleted."""
    async with AsyncExitStack() as stack:
        for one in world.consumers.members:
            if one.running:
                await stack.enter_async_context(frozen(one, STANDSTILL))
        await asyncio.sleep(STANDSTILL / 2)
        committed = await world.committed() or {}
        ends = await world.environment.ends(*world.topics)
        chosen = {
            TopicPartition(*one): end - random.randint(0, 5)
            for one, end in ends.items()
            if end > 5 and random.random() < 0.5
        }
        records = await world.environment.records(*world.topics, within=chosen)
        async with _admin(world) as admin:
            world.history.deleting(
                (_deletion(world, one, end, committed) for one, end in chosen.items()), records
            )
            await _delete(admin, chosen)
    yield f"{len(chosen)} partitions"


@fault("a topic is deleted and made again", Target.BROKERS)
@asynccontextmanager
async def make_topic_anew(world: World, random: Random) -> AsyncIterator[str]:
    """Delete a topic and make it again, the second time with a log that grows while nobody reads.

    The producer is silent meanwhile, so that it is known what the old log had; what it sends
    after that is for the new one.
    """
    topic, times = random.choice(world.topics), random.choice((1, 2))
    for time in range(times):
        async with AsyncExitStack() as stack:
            if time:
                for one in world.consumers.members:
                    if one.running:
                        await stack.enter_async_context(frozen(one, STANDSTILL))
            await _make_anew(world, topic, random.choice(ABSENCES) if not time else 0.0)
        if time + 1 < times:
            await asyncio.sleep(2.0)
    yield f"{topic.rpartition('.')[2]}, {times} times"


async def _make_anew(world: World, topic: str, absence: float) -> None:
    async with world.producer.silent(), _admin(world) as admin:
        committed = await world.committed() or {}
        ends = await world.environment.ends(topic)
        records = await world.environment.records(topic)
        world.history.deleting(
            (
                _deletion(world, TopicPartition(*one), end, committed, whole=True)
                for one, end in ends.items()
            ),
            records,
        )
        await admin.delete_topics([topic])
        async with asyncio.timeout(GONE_SECONDS):
            while topic in await admin.list_topics():  # noqa: ASYNC110 -- brokers tell nobody
                await asyncio.sleep(0.05)
        world.producer.log.forget(topic)
        await asyncio.sleep(absence)
        await world.environment.create_topics(topic)


@fault("dead letters expire", Target.BROKERS)
@asynccontextmanager
async def expire_letters(world: World, random: Random) -> AsyncIterator[str]:
    """Delete the dead letters of some partitions, or of all."""
    ends = await world.environment.ends(world.environment.letters)
    share = random.choice((0.2, 1.0))
    chosen = {TopicPartition(*one): end for one, end in ends.items() if random.random() < share}
    letters = await world.environment.records(world.environment.letters, within=chosen)
    async with _admin(world) as admin:
        world.history.letters += letters
        await _delete(admin, chosen)
    yield f"{len(letters)} of {len(chosen)} partitions"
