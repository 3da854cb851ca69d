"""One round: steady, inject, impact, heal, recovery."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from random import Random

from tests.chaos.schedule import Round
from tests.chaos.world import World

RECOVERY_BOUND = 120.0
"""Seconds after healing within which everything sent before must be committed."""


@dataclass(slots=True)
class Course:
    """What happened in a round. Seconds since the beginning of the run."""

    plan: Round
    begun: float
    whom: list[str] = field(default_factory=list)
    healed: float = 0.0
    recovery: float | None = None
    settled_before: int = 0
    settled_in_impact: int = 0
    settled_after: int = 0

    def __str__(self) -> str:
        faults = " + ".join(
            f"{fault}{f' ({whom})' if whom else ''}"
            for fault, whom in zip(self.plan.faults, self.whom, strict=False)
        )
        recovery = "NOT RECOVERED" if self.recovery is None else f"{self.recovery:.1f} s"
        return (
            f"{self.begun:7.1f}  #{self.plan.number:<3} {faults}; impact {self.plan.impact:g} s "
            f"({self.settled_in_impact} settled), recovery {recovery}"
        )


async def play(world: World, plan: Round, since: float) -> Course:
    """Play the round. ``since``: the loop's time at which the run began."""
    clock = asyncio.get_running_loop().time
    random = Random(plan.seed)
    await world.consumers.fill()
    if any(fault.at_length for fault in plan.faults):
        await world.consumers.at_work()
    await asyncio.sleep(plan.steady)
    course = Course(plan, clock() - since, settled_before=world.fleet.settled)
    async with AsyncExitStack() as stack:
        for fault in plan.faults:
            course.whom.append(await stack.enter_async_context(fault.inject(world, random)))
        await asyncio.sleep(plan.impact)
        course.settled_in_impact = world.fleet.settled - course.settled_before
    course.healed = clock() - since
    course.recovery = await world.caught_up(world.producer.log.ends(), RECOVERY_BOUND)
    course.settled_after = world.fleet.settled - course.settled_before - course.settled_in_impact
    return course
