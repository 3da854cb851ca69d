"""What is done to whom, and for how long: all of it follows from the seed. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from random import Random


class Target(StrEnum):
    """Whose fault it is. Two faults at once are of different ones."""

    CONSUMERS = "consumers"
    BROKERS = "brokers"
    KAFKA_NETWORK = "kafka network"
    DATABASE = "database"


class Fault(StrEnum):
    """What can be done. ``tests.chaos.nemesis`` says how."""

    KILL_ONE = "a consumer is killed"
    KILL_ALL = "all consumers are killed"
    FREEZE_ONE = "a consumer stands still past its session"
    FREEZE_SHORTLY = "a consumer stands still within its session"
    STOP_ONE = "a consumer is stopped"
    ROLL = "all consumers are replaced, one by one"
    COME_AND_GO = "a consumer joins and leaves again and again"
    COME_AND_GO_AT_LENGTH = "a consumer joins or leaves every five seconds for two minutes"
    REPLAY = "everything is replayed beside the group"
    KILL_BROKER = "a broker is killed"
    FREEZE_BROKER = "a broker stands still"
    RESTART_BROKER = "a broker is restarted"
    LOSE_COORDINATOR = "the group's coordinator is killed"
    SILENT_BROKER = "a broker accepts connections and says nothing"
    SLOW_BROKERS = "every answer of the brokers is late"
    CUT_BROKERS = "answers of the brokers are cut in the middle"
    UNREACHABLE_BROKERS = "no broker can be reached"
    UNREACHABLE_BROKERS_AT_LENGTH = "no broker can be reached for five minutes"
    DELETE_CONSUMED = "what the group has read is deleted"
    DELETE_UNREAD = "records are deleted that nobody has read"
    TOPIC_ANEW = "a topic is deleted and made again"
    LETTERS_EXPIRE = "dead letters expire"
    KILL_DATABASE = "the database is killed"
    FREEZE_DATABASE = "the database stands still"
    UNREACHABLE_DATABASE = "the database cannot be reached"
    LONG_OUTAGE = "the database cannot be reached for a minute"
    OUTAGE_AT_LENGTH = "the database cannot be reached for ten minutes"
    SILENT_DATABASE = "the database accepts connections and says nothing"
    SLOW_DATABASE = "every answer of the database is late"
    TRICKLING_DATABASE = "the database's answers trickle"
    CUT_ANSWERS = "answers of the database are cut in the middle"
    CUT_COMMANDS = "commands to the database are cut in the middle"


AT_LENGTH = frozenset(
    {
        Fault.COME_AND_GO_AT_LENGTH,
        Fault.UNREACHABLE_BROKERS_AT_LENGTH,
        Fault.OUTAGE_AT_LENGTH,
    }
)
"""Eighteen minutes together: they come first, once, alone, and in long runs only."""

FULL_LENGTH_MINUTES = 30.0
"""A run of so many minutes has time for them and for each other fault."""

USUAL = tuple(fault for fault in Fault if fault not in AT_LENGTH)

_OF_THE_BROKERS = {
    Fault.KILL_BROKER,
    Fault.FREEZE_BROKER,
    Fault.RESTART_BROKER,
    Fault.LOSE_COORDINATOR,
    # The logs are theirs: what is to be deleted must be readable before that.
    Fault.DELETE_CONSUMED,
    Fault.DELETE_UNREAD,
    Fault.TOPIC_ANEW,
    Fault.LETTERS_EXPIRE,
}
_OF_THE_KAFKA_NETWORK = {
    Fault.SILENT_BROKER,
    Fault.SLOW_BROKERS,
    Fault.CUT_BROKERS,
    Fault.UNREACHABLE_BROKERS,
    Fault.UNREACHABLE_BROKERS_AT_LENGTH,
}
_OF_THE_CONSUMERS = {
    Fault.KILL_ONE,
    Fault.KILL_ALL,
    Fault.FREEZE_ONE,
    Fault.FREEZE_SHORTLY,
    Fault.STOP_ONE,
    Fault.ROLL,
    Fault.COME_AND_GO,
    Fault.COME_AND_GO_AT_LENGTH,
    Fault.REPLAY,
}

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


def target_of(fault: Fault) -> Target:
    """Return whose fault it is."""
    if fault in _OF_THE_CONSUMERS:
        return Target.CONSUMERS
    if fault in _OF_THE_BROKERS:
        return Target.BROKERS
    if fault in _OF_THE_KAFKA_NETWORK:
        return Target.KAFKA_NETWORK
    return Target.DATABASE


def faults_for(minutes: float) -> tuple[Fault, ...]:
    """Return what a run of so many minutes has time for."""
    return tuple(Fault) if minutes >= FULL_LENGTH_MINUTES else USUAL


def rounds(seed: int, faults: tuple[Fault, ...] = USUAL) -> Iterator[Round]:
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


def _choices(random: Random, faults: tuple[Fault, ...]) -> Iterator[tuple[Fault, ...]]:
    at_length = [one for one in faults if one in AT_LENGTH]
    random.shuffle(at_length)
    yield from ((one,) for one in at_length)
    usual = [one for one in faults if one not in AT_LENGTH]
    while usual:
        random.shuffle(usual)
        for first in usual.copy():
            others = [one for one in usual if target_of(one) is not target_of(first)]
            if others and random.random() < TWO_AT_ONCE:
                yield first, random.choice(others)
            else:
                yield (first,)
