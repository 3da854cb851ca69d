"""What is done to whom, and for how long: all of it follows from the seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from tests.chaos import (  # noqa: F401 -- they register their faults
    faults_brokers,
    faults_consumers,
    faults_database,
    faults_logs,
)
from tests.chaos.fault import FAULTS, Fault

FULL_LENGTH_MINUTES = 30.0
"""A run of so many minutes has time for the faults at length and for each other one."""

TWO_AT_ONCE = 0.3
"""The share of rounds with a second fault, of another target."""

STEADY_SECONDS = (1.0, 4.0)
IMPACT_SECONDS = (3.0, 14.0)


@dataclass(frozen=True, slots=True)
class Round:
    """Steady, inject, impact, heal, recovery: one time round. ``seed``: for its own choices."""

    number: int
    faults: tuple[Fault, ...]
    steady: float
    impact: float
    seed: int


def faults_for(minutes: float) -> list[Fault]:
    """Return what a run of so many minutes has time for."""
    long = minutes >= FULL_LENGTH_MINUTES
    return [one for one in FAULTS.values() if long or not one.at_length]


def rounds(seed: int, faults: Sequence[Fault]) -> Iterator[Round]:
    """Yield rounds without end. Every fault comes once before any comes again."""
    random = Random(seed)
    for number, chosen in enumerate(_choices(random, faults), start=1):
        yield Round(
            number,
            chosen,
            round(random.uniform(*STEADY_SECONDS), 1),
            round(random.uniform(*IMPACT_SECONDS), 1),
            random.getrandbits(32),
        )


def _choices(random: Random, faults: Sequence[Fault]) -> Iterator[tuple[Fault, ...]]:
    at_length = [one for one in faults if one.at_length]
    random.shuffle(at_length)
    yield from ((one,) for one in at_length)
    usual = [one for one in faults if not one.at_length]
    while usual:
        random.shuffle(usual)
        for first in usual.copy():
            others = [one for one in usual if one.target is not first.target]
            if others and random.random() < TWO_AT_ONCE:
                yield first, random.choice(others)
            else:
                yield (first,)
