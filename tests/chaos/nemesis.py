"""How each fault is done, and undone: entering does it, leaving heals it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from random import Random
from typing import Any

from consumer.errors import ExitCode
from tests.chaos.crew import WANTED
from tests.chaos.schedule import Fault
from tests.chaos.servers import BROKERS
from tests.chaos.world import World
from tests.e2e.processes import Service
from tests.faults.proxy import Proxy, Way

PAST_SESSION = 9.0
WITHIN_SESSION = 3.0
REPLAY_SECONDS = 60.0

Doing = Callable[[World, Random], AbstractAsyncContextManager[str]]

DOINGS: dict[Fault, Doing] = {}
"""Yields, once the fault is there, to whom it was done."""


def does(fault: Fault) -> Callable[[Doing], Doing]:
    def register(doing: Doing) -> Doing:
        DOINGS[fault] = doing
        return doing

    return register


@asynccontextmanager
async def _meanwhile(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do the work over and over beside the body; it is cancelled with the body's end."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


# --- consumers --------------------------------------------------------------------------


@does(Fault.KILL_ONE)
@asynccontextmanager
async def kill_one(world: World, random: Random) -> AsyncIterator[str]:
    victim = world.crew.one(random)
    await world.crew.kill(victim)
    yield victim.name
    await world.crew.fill()


@does(Fault.KILL_ALL)
@asynccontextmanager
async def kill_all(world: World, random: Random) -> AsyncIterator[str]:
    victims = list(world.crew.members)
    for victim in victims:
        await world.crew.kill(victim)
    yield ", ".join(one.name for one in victims)
    await world.crew.fill()


@asynccontextmanager
async def _frozen(service: Service, seconds: float) -> AsyncIterator[str]:
    clock = asyncio.get_running_loop().time
    begun = clock()
    service.signal(signal.SIGSTOP)
    try:
        yield service.name
        await asyncio.sleep(max(0.0, begun + seconds - clock()))
    finally:
        with suppress(ProcessLookupError):
            service.signal(signal.SIGCONT)


@does(Fault.FREEZE_ONE)
def freeze_one(world: World, random: Random) -> AbstractAsyncContextManager[str]:
    return _frozen(world.crew.one(random), PAST_SESSION)


@does(Fault.FREEZE_SHORTLY)
@asynccontextmanager
async def freeze_shortly(world: World, random: Random) -> AsyncIterator[str]:
    victim = world.crew.one(random)
    async with _frozen(victim, WITHIN_SESSION):
        pass
    yield victim.name


@does(Fault.STOP_ONE)
@asynccontextmanager
async def stop_one(world: World, random: Random) -> AsyncIterator[str]:
    victim = world.crew.one(random)
    await world.crew.stop(victim)
    yield victim.name
    await world.crew.fill()


@does(Fault.ROLL)
@asynccontextmanager
async def roll(world: World, random: Random) -> AsyncIterator[str]:
    victims = list(world.crew.members)
    for victim in victims:
        await world.crew.stop(victim)
        await world.crew.hire()
    yield ", ".join(one.name for one in victims)


@does(Fault.COME_AND_GO)
@asynccontextmanager
async def come_and_go(world: World, random: Random) -> AsyncIterator[str]:
    for _ in range(2):
        guest = await world.crew.hire()
        await asyncio.sleep(random.uniform(1.0, 5.0))
        await world.crew.stop(guest)
    yield "an extra one, twice"


@does(Fault.REPLAY)
@asynccontextmanager
async def replay(world: World, random: Random) -> AsyncIterator[str]:
    replaying = await world.fleet.launch("-m", "consumer", "replay", "--from-time", "2m ago")
    yield replaying.name
    code = await world.fleet.ended_or_stopped(replaying, seconds=REPLAY_SECONDS)
    if code not in {ExitCode.DONE, ExitCode.DEADLINE}:
        world.crew.problems.append(f"replay: {replaying.last_words()}")


# --- brokers ----------------------------------------------------------------------------


@asynccontextmanager
async def _broker(world: World, number: int, harm: str, cure: str) -> AsyncIterator[str]:
    kafka = world.servers.kafka
    await asyncio.to_thread(getattr(kafka, harm), number)
    try:
        yield f"broker {number}"
    finally:
        await asyncio.to_thread(getattr(kafka, cure), number)


@does(Fault.KILL_BROKER)
def kill_broker(world: World, random: Random) -> AbstractAsyncContextManager[str]:
    return _broker(world, random.randint(1, BROKERS), "kill", "start")


@does(Fault.FREEZE_BROKER)
def freeze_broker(world: World, random: Random) -> AbstractAsyncContextManager[str]:
    return _broker(world, random.randint(1, BROKERS), "freeze", "thaw")


@does(Fault.RESTART_BROKER)
@asynccontextmanager
async def restart_broker(world: World, random: Random) -> AsyncIterator[str]:
    async with _broker(world, random.randint(1, BROKERS), "kill", "start") as name:
        pass
    yield name


@does(Fault.LOSE_COORDINATOR)
@asynccontextmanager
async def lose_coordinator(world: World, random: Random) -> AsyncIterator[str]:
    number = await world.coordinator() or random.randint(1, BROKERS)
    async with _broker(world, number, "kill", "start") as name:
        yield name


# --- the network ------------------------------------------------------------------------


@asynccontextmanager
async def _proxies(
    proxies: list[Proxy], harm: Callable[[Proxy], None], name: str
) -> AsyncIterator[str]:
    for proxy in proxies:
        harm(proxy)
    try:
        yield name
    finally:
        for proxy in proxies:
            proxy.heal()


async def _keep_cutting(proxies: list[Proxy], way: Way, random: Random) -> None:
    while True:
        random.choice(proxies).cut_after(way, random.randint(0, 4000))
        await asyncio.sleep(random.uniform(0.05, 0.6))


def _delayed(seconds: float) -> Callable[[Proxy], None]:
    def delay(proxy: Proxy) -> None:
        proxy.delay = seconds

    return delay


@does(Fault.SILENT_BROKER)
def silent_broker(world: World, random: Random) -> AbstractAsyncContextManager[str]:
    number = random.randrange(BROKERS)
    proxy = world.kafka.proxies[number]
    return _proxies([proxy], Proxy.fall_silent, f"broker {number + 1}")


@does(Fault.SLOW_BROKERS)
def slow_brokers(world: World, random: Random) -> AbstractAsyncContextManager[str]:
    seconds = random.choice([0.1, 0.5, 1.0])
    proxies = world.kafka.proxies
    return _proxies(proxies, _delayed(seconds), f"{seconds} s")


@does(Fault.CUT_BROKERS)
@asynccontextmanager
async def cut_brokers(world: World, random: Random) -> AsyncIterator[str]:
    proxies = world.kafka.proxies
    way = random.choice(list(Way))
    async with _meanwhile(_keep_cutting(proxies, way, random)):
        yield way.value
    for proxy in proxies:
        proxy.heal()


@does(Fault.UNREACHABLE_BROKERS)
def unreachable_brokers(world: World, random: Random) -> AbstractAsyncContextManager[str]:
    return _proxies(world.kafka.proxies, Proxy.refuse, "all")


# --- the database -----------------------------------------------------------------------


@asynccontextmanager
async def _database(world: World, harm: str, cure: str) -> AsyncIterator[str]:
    mongodb = world.servers.mongodb
    await asyncio.to_thread(getattr(mongodb, harm))
    try:
        yield ""
    finally:
        await asyncio.to_thread(getattr(mongodb, cure))


@does(Fault.KILL_DATABASE)
def kill_database(world: World, random: Random) -> AbstractAsyncContextManager[str]:
    return _database(world, "kill", "start")


@does(Fault.FREEZE_DATABASE)
def freeze_database(world: World, random: Random) -> AbstractAsyncContextManager[str]:
    return _database(world, "freeze", "thaw")


@does(Fault.UNREACHABLE_DATABASE)
def unreachable_database(world: World, random: Random) -> AbstractAsyncContextManager[str]:
    return _proxies([world.mongodb], Proxy.refuse, "")


@does(Fault.SILENT_DATABASE)
def silent_database(world: World, random: Random) -> AbstractAsyncContextManager[str]:
    return _proxies([world.mongodb], Proxy.fall_silent, "")


@does(Fault.SLOW_DATABASE)
def slow_database(world: World, random: Random) -> AbstractAsyncContextManager[str]:
    seconds = random.choice([0.2, 1.0, 2.0])
    return _proxies([world.mongodb], _delayed(seconds), f"{seconds} s")


@does(Fault.TRICKLING_DATABASE)
def trickling_database(world: World, random: Random) -> AbstractAsyncContextManager[str]:
    rate = random.choice([1.0, 2000.0, 20_000.0])

    def trickle(proxy: Proxy) -> None:
        proxy.rate = rate

    return _proxies([world.mongodb], trickle, f"{rate:g} bytes/s")


@asynccontextmanager
async def _cut_database(world: World, way: Way, random: Random) -> AsyncIterator[str]:
    async with _meanwhile(_keep_cutting([world.mongodb], way, random)):
        yield ""
    world.mongodb.heal()


@does(Fault.CUT_ANSWERS)
def cut_answers(world: World, random: Random) -> AbstractAsyncContextManager[str]:
    return _cut_database(world, Way.REPLIES, random)


@does(Fault.CUT_COMMANDS)
def cut_commands(world: World, random: Random) -> AbstractAsyncContextManager[str]:
    return _cut_database(world, Way.REQUESTS, random)


assert set(DOINGS) == set(Fault)
assert WANTED > 1, "a fault of one member would be one of all"
