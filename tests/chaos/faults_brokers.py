"""What is done to brokers, and to the way to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from random import Random

from tests.chaos.connections import cutting, harmed, harmed_server
from tests.chaos.fault import Target, fault
from tests.chaos.servers import BROKERS
from tests.chaos.world import World
from tests.faults.proxy import Proxy, Way

SECONDS_AT_LENGTH = 300.0


def _broker(world: World, number: int, harm: str, cure: str) -> AbstractAsyncContextManager[str]:
    return harmed_server(world.servers.kafka, number, harm, cure, f"broker {number}")


@fault("a broker is killed", Target.BROKERS)
def kill_broker(world: World, random: Random) -> AbstractAsyncContextManager[str]:
    return _broker(world, random.randint(1, BROKERS), "kill", "start")


@fault("a broker stands still", Target.BROKERS)
def freeze_broker(world: World, random: Random) -> AbstractAsyncContextManager[str]:
    return _broker(world, random.randint(1, BROKERS), "freeze", "thaw")


@fault("a broker is restarted", Target.BROKERS)
async def restart_broker(world: World, random: Random) -> AsyncIterator[str]:
    async with _broker(world, random.randint(1, BROKERS), "kill", "start") as name:
        pass
    yield name


@fault("the group's coordinator is killed", Target.BROKERS)
async def lose_coordinator(world: World, random: Random) -> AsyncIterator[str]:
    number = await world.coordinator() or random.randint(1, BROKERS)
    async with _broker(world, number, "kill", "start") as name:
        yield name


@fault("a broker accepts connections and says nothing", Target.KAFKA_NETWORK)
def silent_broker(world: World, random: Random) -> AbstractAsyncContextManager[str]:
    number = random.randrange(BROKERS)
    proxies = [world.kafka.proxies[number]]
    return harmed(proxies, f"broker {number + 1}", harm=Proxy.fall_silent)


@fault("every answer of the brokers is late", Target.KAFKA_NETWORK)
def slow_brokers(world: World, random: Random) -> AbstractAsyncContextManager[str]:
    seconds = random.choice([0.1, 0.5, 1.0])
    return harmed(world.kafka.proxies, f"{seconds} s", delay=seconds)


@fault("answers of the brokers are cut in the middle", Target.KAFKA_NETWORK)
def cut_brokers(world: World, random: Random) -> AbstractAsyncContextManager[str]:
    return cutting(world.kafka.proxies, random.choice(list(Way)), random)


@fault("no broker can be reached", Target.KAFKA_NETWORK)
def unreachable_brokers(world: World, random: Random) -> AbstractAsyncContextManager[str]:
    return harmed(world.kafka.proxies, "all", harm=Proxy.refuse)


@fault("no broker can be reached for five minutes", Target.KAFKA_NETWORK, at_length=True)
async def unreachable_brokers_at_length(world: World, random: Random) -> AsyncIterator[str]:
    """Every consumer lives on meanwhile."""
    async with unreachable_brokers(world, random) as whom:
        yield whom
        await asyncio.sleep(SECONDS_AT_LENGTH)
        world.consumers.problems += [
            f"ended while no broker could be reached: {one.last_words()}"
            for one in world.consumers.members
            if not one.running
        ]
