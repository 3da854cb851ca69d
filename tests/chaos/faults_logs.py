"""What is done to the logs themselves: records deleted, topics made again, dead letters expired."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random

from consumer.contract.record import TopicPartition
from tests.chaos.fault import Target, fault
from tests.chaos.faults_consumers import frozen
from tests.chaos.history import Deletion
from tests.chaos.world import World
from tests.servers.topics import delete_records, delete_topic

STANDSTILL = 3.0
ABSENCES = (0.0, 0.5, 4.0)


async def _keep(
    world: World,
    ends: Mapping[TopicPartition, int],
    committed: Mapping[TopicPartition, int],
    *,
    whole: bool = False,
) -> None:
    """Keep what lies before these ends in the history: it is about to be deleted."""
    records = await world.environment.records(*world.topics, within=ends)
    services = world.fleet.services
    lines = {one.name: len(one.lines) for one in services}
    deletions = []
    for partition, end in ends.items():
        holders = (one.name for one in services if one.running and partition.name in one.partitions)
        unread = committed.get(partition)
        deletions.append(Deletion(partition, unread, end, whole, lines, frozenset(holders)))
    world.history.deleting(deletions, records)


@asynccontextmanager
async def _standstill(world: World) -> AsyncIterator[None]:
    """Let every consumer stand still."""
    async with AsyncExitStack() as stack:
        for one in world.consumers.members:
            if one.running:
                await stack.enter_async_context(frozen(one, STANDSTILL))
        yield


@fault("what the group has read is deleted", Target.BROKERS)
async def delete_consumed(world: World, random: Random) -> AsyncIterator[str]:
    """Nobody may miss anything."""
    committed = await world.committed() or {}
    chosen = {one: end for one, end in committed.items() if end and random.random() < 0.5}
    await _keep(world, chosen, committed)
    await delete_records(world.servers.bootstrap_servers, chosen)
    yield f"{len(chosen)} partitions"


@fault("records are deleted that nobody has read", Target.BROKERS)
async def delete_unread(world: World, random: Random) -> AsyncIterator[str]:
    """While nobody reads, some of what nobody has read is deleted."""
    async with _standstill(world):
        await asyncio.sleep(STANDSTILL / 2)
        committed = await world.committed() or {}
        chosen = {
            one: end - random.randint(0, 5)
            for one, end in (await world.environment.ends(*world.topics)).items()
            if end > 5 and random.random() < 0.5
        }
        await _keep(world, chosen, committed)
        await delete_records(world.servers.bootstrap_servers, chosen)
    yield f"{len(chosen)} partitions"


@fault("a topic is deleted and made again", Target.BROKERS)
async def make_topic_anew(world: World, random: Random) -> AsyncIterator[str]:
    """Delete a topic and make it again, the second time with a log that grows while nobody reads.

    The producer is silent meanwhile, so that it is known what the old log had; what it sends
    after that is for the new one.
    """
    topic, times = random.choice(world.topics), random.choice((1, 2))
    await _make_anew(world, topic, random.choice(ABSENCES))
    if times > 1:
        await asyncio.sleep(2.0)
        async with _standstill(world):
            await _make_anew(world, topic, 0.0)
    yield f"{topic.rpartition('.')[2]}, {times} times"


async def _make_anew(world: World, topic: str, absence: float) -> None:
    async with world.producer.silent():
        committed = await world.committed() or {}
        await _keep(world, await world.environment.ends(topic), committed, whole=True)
        await delete_topic(world.servers.bootstrap_servers, topic)
        world.producer.log.forget(topic)
        await asyncio.sleep(absence)
        await world.environment.create_topics(topic)


@fault("dead letters expire", Target.BROKERS)
async def expire_letters(world: World, random: Random) -> AsyncIterator[str]:
    """Delete the dead letters of some partitions, or of all."""
    ends = await world.environment.ends(world.environment.letters)
    share = random.choice((0.2, 1.0))
    chosen = {one: end for one, end in ends.items() if random.random() < share}
    letters = await world.environment.records(world.environment.letters, within=chosen)
    world.history.letters += letters
    await delete_records(world.servers.bootstrap_servers, chosen)
    yield f"{len(letters)} of {len(chosen)} partitions"
