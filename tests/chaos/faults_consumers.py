"""What is done to consumers, and what they do themselves at a bad time."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from random import Random

from consumer.errors import ExitCode
from tests.chaos.fault import Target, fault
from tests.chaos.world import World
from tests.e2e.processes import Service

PAST_SESSION = 9.0
WITHIN_SESSION = 3.0
REPLAY_SECONDS = 60.0
VISIT_SECONDS = 5.0
VISITS_AT_LENGTH = 12


@asynccontextmanager
async def _ended(
    world: World, end: Callable[[Service], Awaitable[None]], *victims: Service
) -> AsyncIterator[str]:
    """End them, and start others when the context ends."""
    for victim in victims:
        await end(victim)
    yield ", ".join(one.name for one in victims)
    await world.consumers.fill()


@fault("a consumer is killed", Target.CONSUMERS)
def kill_one(world: World, random: Random) -> AbstractAsyncContextManager[str]:
    return _ended(world, world.consumers.kill, world.consumers.one(random))


@fault("all consumers are killed", Target.CONSUMERS)
def kill_all(world: World, random: Random) -> AbstractAsyncContextManager[str]:
    return _ended(world, world.consumers.kill, *world.consumers.members)


@fault("a consumer is stopped", Target.CONSUMERS)
def stop_one(world: World, random: Random) -> AbstractAsyncContextManager[str]:
    return _ended(world, world.consumers.stop, world.consumers.one(random))


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


@fault("a consumer stands still past its session", Target.CONSUMERS)
def freeze_one(world: World, random: Random) -> AbstractAsyncContextManager[str]:
    return frozen(world.consumers.one(random), PAST_SESSION)


@fault("a consumer stands still within its session", Target.CONSUMERS)
async def freeze_shortly(world: World, random: Random) -> AsyncIterator[str]:
    victim = world.consumers.one(random)
    async with frozen(victim, WITHIN_SESSION):
        pass
    yield victim.name


@fault("all consumers are replaced, one by one", Target.CONSUMERS)
async def roll(world: World, random: Random) -> AsyncIterator[str]:
    victims = list(world.consumers.members)
    for victim in victims:
        await world.consumers.stop(victim)
        await world.consumers.hire()
    yield ", ".join(one.name for one in victims)


@fault("a consumer joins and leaves again and again", Target.CONSUMERS)
async def come_and_go(world: World, random: Random) -> AsyncIterator[str]:
    for _ in range(2):
        guest = await world.consumers.hire()
        await asyncio.sleep(random.uniform(1.0, 5.0))
        await world.consumers.stop(guest)
    yield "an extra one, twice"


@fault(
    "a consumer joins or leaves every five seconds for two minutes",
    Target.CONSUMERS,
    at_length=True,
)
async def come_and_go_at_length(world: World, random: Random) -> AsyncIterator[str]:
    """Two minutes in which the group has a rebalance every few seconds."""
    for _ in range(VISITS_AT_LENGTH):
        guest = await world.consumers.hire()
        await asyncio.sleep(VISIT_SECONDS)
        await world.consumers.stop(guest)
        await asyncio.sleep(VISIT_SECONDS)
    yield f"an extra one, {VISITS_AT_LENGTH} times"


@fault("everything is replayed beside the group", Target.CONSUMERS)
async def replay(world: World, random: Random) -> AsyncIterator[str]:
    replaying = await world.fleet.launch("-m", "consumer", "replay", "--from-time", "2m ago")
    yield replaying.name
    code = await world.fleet.ended_or_stopped(replaying, seconds=REPLAY_SECONDS)
    # PRECONDITION: it began while no server could be reached, and gave up after a minute.
    # FOUND: a log was deleted, or its topic made again, under it, and it says so.
    made_again = any(one.whole for one in world.history.deletions)
    if code == ExitCode.FOUND and (made_again or replaying.said("records_deleted_unread")):
        return
    if code not in {ExitCode.DONE, ExitCode.DEADLINE, ExitCode.PRECONDITION}:
        world.consumers.problems.append(f"replay: {replaying.last_words()}")
