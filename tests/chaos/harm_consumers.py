"""What is done to consumers, and what they do themselves at a bad time."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from random import Random

from consumer.errors import ExitCode
from tests.chaos.world import World
from tests.e2e.processes import Service

PAST_SESSION = 9.0
WITHIN_SESSION = 3.0
REPLAY_SECONDS = 60.0
VISIT_SECONDS = 5.0
VISITS_AT_LENGTH = 12


@asynccontextmanager
async def kill_one(world: World, random: Random) -> AsyncIterator[str]:
    victim = world.crew.one(random)
    await world.crew.kill(victim)
    yield victim.name
    await world.crew.fill()


@asynccontextmanager
async def kill_all(world: World, random: Random) -> AsyncIterator[str]:
    victims = list(world.crew.members)
    for victim in victims:
        await world.crew.kill(victim)
    yield ", ".join(one.name for one in victims)
    await world.crew.fill()


@asynccontextmanager
async def frozen(service: Service, seconds: float) -> AsyncIterator[str]:
    """Let a consumer stand still for so long, and as long as the context lasts."""
    clock = asyncio.get_running_loop().time
    begun = clock()
    service.signal(signal.SIGSTOP)
    try:
        yield service.name
        await asyncio.sleep(max(0.0, begun + seconds - clock()))
    finally:
        with suppress(ProcessLookupError):
            service.signal(signal.SIGCONT)


def freeze_one(world: World, random: Random) -> AbstractAsyncContextManager[str]:
    return frozen(world.crew.one(random), PAST_SESSION)


@asynccontextmanager
async def freeze_shortly(world: World, random: Random) -> AsyncIterator[str]:
    victim = world.crew.one(random)
    async with frozen(victim, WITHIN_SESSION):
        pass
    yield victim.name


@asynccontextmanager
async def stop_one(world: World, random: Random) -> AsyncIterator[str]:
    victim = world.crew.one(random)
    await world.crew.stop(victim)
    yield victim.name
    await world.crew.fill()


@asynccontextmanager
async def roll(world: World, random: Random) -> AsyncIterator[str]:
    victims = list(world.crew.members)
    for victim in victims:
        await world.crew.stop(victim)
        await world.crew.hire()
    yield ", ".join(one.name for one in victims)


@asynccontextmanager
async def come_and_go(world: World, random: Random) -> AsyncIterator[str]:
    for _ in range(2):
        guest = await world.crew.hire()
        await asyncio.sleep(random.uniform(1.0, 5.0))
        await world.crew.stop(guest)
    yield "an extra one, twice"


@asynccontextmanager
async def come_and_go_at_length(world: World, random: Random) -> AsyncIterator[str]:
    """Two minutes in which the group has a rebalance every few seconds."""
    for _ in range(VISITS_AT_LENGTH):
        guest = await world.crew.hire()
        await asyncio.sleep(VISIT_SECONDS)
        await world.crew.stop(guest)
        await asyncio.sleep(VISIT_SECONDS)
    yield f"an extra one, {VISITS_AT_LENGTH} times"


@asynccontextmanager
async def replay(world: World, random: Random) -> AsyncIterator[str]:
    replaying = await world.fleet.launch("-m", "consumer", "replay", "--from-time", "2m ago")
    yield replaying.name
    code = await world.fleet.ended_or_stopped(replaying, seconds=REPLAY_SECONDS)
    # PRECONDITION: it began while no server could be reached, and gave up after a minute.
    if code not in {ExitCode.DONE, ExitCode.DEADLINE, ExitCode.PRECONDITION}:
        world.crew.problems.append(f"replay: {replaying.last_words()}")
