"""Faults: which ones, when, to whom and for how long, all drawn from a seed before it begins."""

from __future__ import annotations

import asyncio
from random import Random

from tests.simulation.faults import KINDS, Fault
from tests.simulation.world import World

ACTIVE = 12.0
"""Seconds in which faults begin."""

THEMES = (
    ("join", "stop", "client_lost", "heartbeat_poisoned", "store_link_cut", "store_link_slow"),
    ("join", "group_link_cut", "group_link_slow", "group_link_lossy", "coordinator_down"),
    ("join_to_the_end", "data_link_cut", "data_link_slow", "client_lost", "store_link_slow"),
    ("retention", "data_link_lossy", "fetch_errors", "topic_anew", "stop"),
    ("topic_anew", "topic_away", "store_link_slow", "stop", "join", "group_link_slow"),
    ("topic_anew", "pause", "crash", "data_link_slow", "topic_away", "consumed_deleted"),
    ("consumed_deleted", "emptied", "transaction", "aborted_flood", "stop", "data_link_slow"),
    ("pause", "crash", "store_interrupts", "store_link_lossy", "store_without_majority"),
    ("store_link_late", "store_again", "store_deposed", "stop", "pause", "crash"),
    ("letters_lossy", "letters_cut", "crash", "pause", "join"),
    ("letters_too_large", "letters_late", "letters_again", "crash", "stop"),
)
"""Kinds that make trouble together."""


READ_AGAIN = 1_000_000
"""From this seed on processes die, or stand still, between what they store and what they commit:
much is read again, beside what nobody has read before."""

READ_AGAIN_KINDS = ("crash", "crash", "pause", "join", "stop", "store_deposed", "store_interrupts")


def reads_again(seed: int | str) -> bool:
    """Tell whether the schedule of a seed is one of those."""
    return isinstance(seed, int) and seed >= READ_AGAIN


def plan(seed: int | str) -> list[Fault]:
    """Draw the faults of one run. A run knows only a few kinds, and so meets them in depth."""
    chance = Random(f"{seed} nemesis")
    if reads_again(seed):
        kinds = list(READ_AGAIN_KINDS)
    elif chance.random() < 0.5:
        kinds = list(chance.choice(THEMES))
    else:
        kinds = chance.sample(sorted(KINDS), chance.randint(1, 5))
    begin = chance.uniform(0.0, 2.0)
    spread = chance.choice((1.0, 4.0, ACTIVE - begin))
    faults = [
        Fault(
            at=round(begin + chance.random() * spread, 3),
            kind=chance.choice(kinds),
            seconds=round(_duration(chance), 2),
            chance=chance.randrange(10_000) / 10_000,
        )
        for _ in range(chance.randint(1, 10))
    ]
    return sorted(faults, key=lambda fault: fault.at)


def _duration(chance: Random) -> float:
    """Mostly short; at times longer than a session lives."""
    return chance.uniform(4.0, 10.0) if chance.random() < 0.15 else 0.05 + 4 * chance.random() ** 2


async def strike(world: World, faults: list[Fault]) -> None:
    """Let the faults happen at their times, and return when all have healed."""
    healed = 0.0
    for fault in faults:
        await asyncio.sleep(max(0.0, fault.at - world.loop.time()))
        world.log("nemesis", str(fault))
        KINDS[fault.kind](world, fault)
        healed = max(healed, fault.at + max(fault.seconds * 2, fault.seconds + 4.0))
    await asyncio.sleep(max(0.0, healed - world.loop.time()) + 0.01)
    world.spare()
