"""What is done to the database, and to the way to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from random import Random

from tests.chaos.connections import cutting, harmed, harmed_server
from tests.chaos.fault import Target, fault
from tests.chaos.world import World
from tests.faults.proxy import Proxy, Way

OUTAGE_SECONDS = 60.0
SECONDS_AT_LENGTH = 600.0
MAY_GROW = 50 * 2**20
STARTED = 64 * 2**20
"""Bytes that a consumer takes that has done nothing yet: one may be starting when it begins."""


@fault("the database is killed", Target.DATABASE)
def kill_database(world: World, random: Random) -> AbstractAsyncContextManager[str]:
    return harmed_server(world.servers.mongodb, 1, "kill", "start")


@fault("the database stands still", Target.DATABASE)
def freeze_database(world: World, random: Random) -> AbstractAsyncContextManager[str]:
    return harmed_server(world.servers.mongodb, 1, "freeze", "thaw")


@fault("the database cannot be reached", Target.DATABASE)
def unreachable_database(world: World, random: Random) -> AbstractAsyncContextManager[str]:
    return harmed([world.mongodb], harm=Proxy.refuse)


@asynccontextmanager
async def _outage(world: World, random: Random, seconds: float) -> AsyncIterator[str]:
    """Nobody's memory may grow in it."""
    clock = asyncio.get_running_loop().time
    begun, before = clock(), world.consumers.memory()
    async with unreachable_database(world, random):
        yield ""
        await asyncio.sleep(max(0.0, begun + seconds - clock()))
        for name, resident in world.consumers.memory().items():
            if resident - max(before.get(name, resident), STARTED) > MAY_GROW:
                world.consumers.problems.append(f"{name} grew to {resident >> 20} MiB in an outage")


@fault("the database cannot be reached for a minute", Target.DATABASE)
def long_outage(world: World, random: Random) -> AbstractAsyncContextManager[str]:
    return _outage(world, random, OUTAGE_SECONDS)


@fault("the database cannot be reached for ten minutes", Target.DATABASE, at_length=True)
async def outage_at_length(world: World, random: Random) -> AsyncIterator[str]:
    """Nobody may lose its membership, or end; nothing else happens meanwhile."""
    before = _memberships(world)
    async with _outage(world, random, SECONDS_AT_LENGTH) as whom:
        yield whom
    if _memberships(world) != before:
        world.consumers.problems.append("a member was lost to an outage of the database")


def _memberships(world: World) -> dict[str, int]:
    """Return how often each running member was given partitions."""
    return {
        one.name: len(one.said("partitions_assigned"))
        for one in world.consumers.members
        if one.running
    }


@fault("the database accepts connections and says nothing", Target.DATABASE)
def silent_database(world: World, random: Random) -> AbstractAsyncContextManager[str]:
    return harmed([world.mongodb], harm=Proxy.fall_silent)


@fault("every answer of the database is late", Target.DATABASE)
def slow_database(world: World, random: Random) -> AbstractAsyncContextManager[str]:
    seconds = random.choice([0.2, 1.0, 2.0])
    return harmed([world.mongodb], f"{seconds} s", delay=seconds)


@fault("the database's answers trickle", Target.DATABASE)
def trickling_database(world: World, random: Random) -> AbstractAsyncContextManager[str]:
    rate = random.choice([1.0, 2000.0, 20_000.0])
    return harmed([world.mongodb], f"{rate:g} bytes/s", rate=rate)


@fault("answers of the database are cut in the middle", Target.DATABASE)
def cut_answers(world: World, random: Random) -> AbstractAsyncContextManager[str]:
    return cutting([world.mongodb], Way.REPLIES, random)


@fault("commands to the database are cut in the middle", Target.DATABASE)
def cut_commands(world: World, random: Random) -> AbstractAsyncContextManager[str]:
    return cutting([world.mongodb], Way.REQUESTS, random)
