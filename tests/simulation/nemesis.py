"""Faults: which ones, when, to whom and for how long, all drawn from a seed before it begins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from consumer.contract.record import TopicPartition
from tests import builders
from tests.simulation.network import Link
from tests.simulation.process import Process, Ways
from tests.simulation.store import StoreTroubles
from tests.simulation.world import Condition, World


@dataclass(frozen=True, slots=True)
class Fault:
    """What befalls the world at a time. ``chance`` settles what is left open."""

    at: float
    kind: str
    seconds: float
    chance: float

    def __str__(self) -> str:
        return f"{self.at:7.3f} s  {self.kind} for {self.seconds:.2f} s ({self.chance:.3f})"


MOST_PROCESSES = 4

Strike = Callable[[World, Fault], None]
KINDS: dict[str, Strike] = {}


def kind(strike: Strike) -> Strike:
    """Make a function one of the kinds of fault."""
    KINDS[strike.__name__] = strike
    return strike


def _victim(world: World, fault: Fault) -> Process | None:
    running = world.running
    return running[int(fault.chance * len(running))] if running else None


def _partition(world: World, fault: Fault) -> TopicPartition:
    partitions = world.broker.partitions
    return partitions[int(fault.chance * len(partitions))]


# --- processes ----------------------------------------------------------------------


@kind
def crash(world: World, fault: Fault) -> None:
    """A process dies some steps from now; another is started later."""
    victim = _victim(world, fault)
    if victim is not None:
        world.crash(victim, after=int(fault.chance * 997) % 150)
        world.loop.in_world(fault.seconds, world.start)


@kind
def stop(world: World, fault: Fault) -> None:
    """A process is asked to end; another is started later."""
    victim = _victim(world, fault)
    if victim is not None:
        world.stop(victim)
        world.loop.in_world(fault.seconds, world.start)


@kind
def join(world: World, fault: Fault) -> None:
    """One more process comes and stays a while."""
    if len(world.running) < MOST_PROCESSES:
        newcomer = world.start()
        world.loop.in_world(fault.seconds, world.stop, newcomer)


@kind
def join_to_the_end(world: World, fault: Fault) -> None:
    """One more process comes, to end when the group has read what is there now."""
    if len(world.running) < MOST_PROCESSES:
        world.start(world.broker.ends(world.broker.partitions))


@kind
def pause(world: World, fault: Fault) -> None:
    """A process runs nothing, perhaps longer than its session lives."""
    victim = _victim(world, fault)
    if victim is not None:
        world.pause(victim, fault.seconds * 2)


@kind
def stutter(world: World, fault: Fault) -> None:
    """A process runs nothing for moments, again and again."""
    victim = _victim(world, fault)
    if victim is not None:
        for moment in range(5):
            world.loop.in_world(fault.seconds * moment / 5, world.pause, victim, 0.05)


# --- the store ------------------------------------------------------------------------


def _store_trouble(world: World, fault: Fault, **troubles: float | bool) -> None:
    for name, value in troubles.items():
        setattr(world.database.troubles, name, value)
    usual = StoreTroubles()

    def heal() -> None:
        for name in troubles:
            setattr(world.database.troubles, name, getattr(usual, name))

    world.loop.in_world(fault.seconds, heal)


@kind
def store_down(world: World, fault: Fault) -> None:
    """No command is carried out."""
    _store_trouble(world, fault, down=True)


@kind
def store_interrupts(world: World, fault: Fault) -> None:
    """Commands are cut off half way."""
    _store_trouble(world, fault, interrupted=0.5)


@kind
def store_without_majority(world: World, fault: Fault) -> None:
    """Writes are not acknowledged by a majority."""
    _store_trouble(world, fault, write_concern=0.6)


@kind
def store_throttles(world: World, fault: Fault) -> None:
    """Single statements are refused for now."""
    _store_trouble(world, fault, throttled=0.4)


@kind
def store_deposed(world: World, fault: Fault) -> None:
    """Reads go to a primary that does not know of the writes."""
    _store_trouble(world, fault, deposed=0.6)


# --- links ----------------------------------------------------------------------------


def _link_trouble(
    world: World, fault: Fault, choose: Callable[[Ways], Link], **troubles: float | bool
) -> None:
    """Trouble one process's link, or everybody's."""
    victim = _victim(world, fault) if fault.chance * 10 % 1 < 0.5 else None
    world.impose(Condition(choose, troubles), fault.seconds, victim)


@kind
def store_link_lossy(world: World, fault: Fault) -> None:
    """Requests to the database, or their answers, get lost."""
    _link_trouble(world, fault, lambda ways: ways.store, loss=0.3)


@kind
def store_link_slow(world: World, fault: Fault) -> None:
    """The database answers late."""
    _link_trouble(world, fault, lambda ways: ways.store, slow=0.7, slowest=3.0)


@kind
def store_link_cut(world: World, fault: Fault) -> None:
    """The database cannot be reached."""
    _link_trouble(world, fault, lambda ways: ways.store, cut=True)


@kind
def data_link_cut(world: World, fault: Fault) -> None:
    """The brokers with the records cannot be reached."""
    _link_trouble(world, fault, lambda ways: ways.data, cut=True)


@kind
def data_link_lossy(world: World, fault: Fault) -> None:
    """Fetches get lost, late or both."""
    _link_trouble(world, fault, lambda ways: ways.data, loss=0.3, slow=0.3)


@kind
def data_link_slow(world: World, fault: Fault) -> None:
    """Connections, fetches and questions about offsets take long."""
    _link_trouble(world, fault, lambda ways: ways.data, slow=0.7, slowest=3.0)


@kind
def group_link_cut(world: World, fault: Fault) -> None:
    """The coordinator cannot be reached: no heartbeat, no commit."""
    _link_trouble(world, fault, lambda ways: ways.group, cut=True)


@kind
def group_link_lossy(world: World, fault: Fault) -> None:
    """Heartbeats and commits get lost, or only their answers do."""
    _link_trouble(world, fault, lambda ways: ways.group, loss=0.4)


@kind
def group_link_slow(world: World, fault: Fault) -> None:
    """Commits land late, behind others and in other generations."""
    _link_trouble(world, fault, lambda ways: ways.group, slow=0.5, slowest=4.0)


@kind
def letters_lossy(world: World, fault: Fault) -> None:
    """Dead letters, or their acknowledgements, get lost."""
    _link_trouble(world, fault, lambda ways: ways.letters, loss=0.5)


@kind
def letters_cut(world: World, fault: Fault) -> None:
    """No dead letter can be sent."""
    _link_trouble(world, fault, lambda ways: ways.letters, cut=True)


# --- the group and the client -----------------------------------------------------------


@kind
def coordinator_down(world: World, fault: Fault) -> None:
    """The group's coordinator moves, and nobody is it for a while."""
    if world.group.available:
        world.group.go_down()
        world.loop.in_world(fault.seconds, world.group.come_up)


@kind
def client_lost(world: World, fault: Fault) -> None:
    """The client's coordination has ended, and stays so."""
    victim = _victim(world, fault)
    if victim is not None and victim.client is not None:
        victim.client.lose_coordination()


@kind
def client_lost_in_a_rebalance(world: World, fault: Fault) -> None:
    """A process that drains, since another one came, loses its client before it is done."""
    victim = _victim(world, fault)
    if victim is None or len(world.running) >= MOST_PROCESSES:
        return
    world.impose(Condition(lambda ways: ways.store, {"cut": True}), fault.seconds + 3.0, victim)
    world.workload.produce(4)
    world.start()

    def lose() -> None:
        if victim.running and victim.client is not None:
            victim.client.lose_coordination()

    world.loop.in_world(0.5 + 3.0 * fault.chance, lose)


@kind
def heartbeat_poisoned(world: World, fault: Fault) -> None:
    """One odd answer to a heartbeat makes every later fetch fail."""
    victim = _victim(world, fault)
    if victim is not None:
        victim.faults.heartbeat_poisoned = True


@kind
def group_errors(world: World, fault: Fault) -> None:
    """The client reports some errors of the group, then goes on."""
    victim = _victim(world, fault)
    if victim is not None:
        victim.faults.group_errors = 1 + int(fault.chance * 7)


@kind
def fetch_errors(world: World, fault: Fault) -> None:
    """Fetches fail after they have drained records, which are lost to the client."""
    victim = _victim(world, fault)
    if victim is not None:
        victim.faults.fetch_errors = 1 + int(fault.chance * 4)


# --- the logs -----------------------------------------------------------------------------


@kind
def corrupt_batch(world: World, fault: Fault) -> None:
    """From somewhere on the records of one partition cannot be decoded."""
    log = world.broker.logs[_partition(world, fault)]
    log.corrupt = max(log.end - int(fault.chance * 100 % 8), log.start)

    def repair() -> None:
        log.corrupt = None
        world.broker.changed()

    world.loop.in_world(fault.seconds, repair)


@kind
def partition_offline(world: World, fault: Fault) -> None:
    """A partition has no leader."""
    partition = _partition(world, fault)
    world.broker.offline.add(partition)

    def elect() -> None:
        world.broker.offline.discard(partition)
        world.broker.changed()

    world.loop.in_world(fault.seconds, elect)


@kind
def offsets_expire(world: World, fault: Fault) -> None:
    """What an empty group has committed is forgotten."""
    if not world.group.members:
        world.group.offsets.clear()


@kind
def retention(world: World, fault: Fault) -> None:
    """The oldest records of a partition are deleted, read or not."""
    partition = _partition(world, fault)
    log = world.broker.logs[partition]
    until = log.end - int(fault.chance * 100 % 6)
    if until > log.start:
        world.checker.deleting(partition, until, world.group.offsets.get(partition))
        log.delete_until(until)


@kind
def topic_anew(world: World, fault: Fault) -> None:
    """A topic is deleted and made again, once nobody has anything to do on it.

    With work in flight a commit for the old log could land on the new one, which nothing in
    the protocol of these clients could tell.
    """
    topic = builders.EVENTS if fault.chance < 0.5 else builders.SESSIONS
    logs = [log for log in world.broker.logs.values() if log.partition.topic == topic]
    quiet = all(world.group.offsets.get(log.partition, 0) == log.end for log in logs)
    calm = not any(
        process.host.paused or (process.client is not None and process.client.committing)
        for process in world.processes
    )
    if not (quiet and calm and world.group.state == "Stable"):
        return
    world.broker.make_anew(topic)
    for log in logs:
        world.group.forget(log.partition)


# --- the plan -------------------------------------------------------------------------------

ACTIVE = 12.0
"""Seconds in which faults begin."""

THEMES = (
    ("join", "stop", "client_lost", "heartbeat_poisoned", "store_link_cut", "store_link_slow"),
    ("join", "group_link_cut", "group_link_slow", "group_link_lossy", "coordinator_down"),
    ("join_to_the_end", "data_link_cut", "data_link_slow", "client_lost", "store_link_slow"),
    ("retention", "data_link_lossy", "fetch_errors", "topic_anew", "stop"),
    ("pause", "crash", "store_interrupts", "store_link_lossy", "store_without_majority"),
    ("letters_lossy", "letters_cut", "crash", "pause", "join"),
)
"""Kinds that make trouble together."""


def plan(seed: int | str) -> list[Fault]:
    """Draw the faults of one run. A run knows only a few kinds, and so meets them in depth."""
    chance = Random(f"{seed} nemesis")
    if chance.random() < 0.5:
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
