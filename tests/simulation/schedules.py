"""One schedule: a deployment, its producers and its faults, all of it from one seed."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from random import Random

from consumer.engine.breaker import BreakerLimits
from consumer.engine.runner import StopReason
from tests.simulation.faults import Fault
from tests.simulation.nemesis import ACTIVE, plan, reads_again, strike
from tests.simulation.process import Shape
from tests.simulation.world import BOUND, Violation, World


def run_schedule(seed: int | str) -> World:
    """Live through the schedule of a seed. Raises ``Violation`` with what did not hold."""
    world = build(seed)
    live(world, seed)
    return world


def live(world: World, seed: int | str) -> None:
    """Let the schedule of a seed happen in the world that was built for it."""
    world.run(_story(world, Random(f"{seed} story"), plan(seed)))


def build(seed: int | str, *, tracing: bool = False) -> World:
    """Return the deployment of a seed."""
    chance = Random(f"{seed} shape")
    shape = Shape(
        max_poll_records=chance.choice((1, 3, 10, 50)),
        max_batch_bytes=chance.choice((150, 2_000, 1_000_000)),
        batches_in_flight=chance.randint(1, 3),
        commit_interval=chance.choice((0.2, 1.0)),
        breaker=BreakerLimits(chance.choice((1.0, 0.3)), window=10, minimum=4),
    )
    if reads_again(seed):
        # Few commits and large batches: what is read again comes beside what is new.
        shape = replace(shape, commit_interval=8.0, max_poll_records=50, max_batch_bytes=1_000_000)
    world = World(
        seed,
        shape,
        partitions=chance.randint(1, 3),
        sessions=chance.randint(1, 4),
        tracing=tracing,
    )
    world.broker.has_topic_ids = chance.random() < 0.85
    return world


async def _story(world: World, chance: Random, faults: list[Fault]) -> None:
    """Producers send, faults happen; then nothing is wrong any more, and all must be well."""
    world.workload.produce(chance.randint(0, 25))
    for _ in range(chance.randint(1, 3)):
        world.start()
    for _ in range(chance.randint(0, 2)):
        world.produce_later(chance.uniform(0.0, ACTIVE), chance.randint(1, 15))
    for fault in faults:
        if chance.random() < 0.6:
            # Faults that find nothing in flight do no harm.
            moment = max(0.0, fault.at + chance.uniform(-0.2, 0.6))
            world.produce_later(moment, chance.randint(1, 5))
    await strike(world, faults)
    while not world.running:
        # The last one was asked to stop, or died; the platform starts another.
        world.start()
        await asyncio.sleep(0.5)
    if chance.random() < 0.3:
        await _end_when_caught_up(world, members=chance.randint(1, 2))
        world.start()
    await world.caught_up()
    await world.ready()
    await world.finish()


async def _end_when_caught_up(world: World, members: int) -> None:
    """A group of processes that are told to end at the present ends of the logs must do so."""
    for process in world.running:
        world.stop(process)
    ends = world.broker.ends(world.broker.partitions)
    for survivor in [world.start(ends) for _ in range(members)]:
        end = await world.ended(survivor, within=BOUND)
        if end is not StopReason.CAUGHT_UP:
            raise Violation(f"{survivor.host.name} ended as {end}, not as caught up")
