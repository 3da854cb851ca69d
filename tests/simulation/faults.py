"""The kinds of fault: what befalls processes, links, the store, the group and the logs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from consumer.contract.record import TopicPartition
from tests import builders
from tests.simulation.process import LetterTopic, Process
from tests.simulation.world import Condition, World, begin_troubles, end_troubles


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

SMALL_LETTERS = 1500
"""Bytes of a letter that hold the service's own headers and little of the record."""

Strike = Callable[[World, Fault], None]
KINDS: dict[str, Strike] = {}


def kind(strike: Strike) -> Strike:
    """Make a function one of the kinds of fault."""
    KINDS[strike.__name__] = strike
    return strike


def befalls_process(strike: Callable[[World, Fault, Process], None]) -> None:
    """Make a function one of the kinds of fault, of those that befall a process that runs."""

    def befall(world: World, fault: Fault) -> None:
        victim = _victim(world, fault)
        if victim is not None:
            strike(world, fault, victim)

    KINDS[strike.__name__] = befall


def _victim(world: World, fault: Fault) -> Process | None:
    running = world.running
    return running[int(fault.chance * len(running))] if running else None


def _partition(world: World, fault: Fault) -> TopicPartition:
    partitions = list(world.broker.logs)
    return partitions[int(fault.chance * len(partitions))]


# --- processes ----------------------------------------------------------------------


@befalls_process
def crash(world: World, fault: Fault, victim: Process) -> None:
    """A process dies some steps from now; another is started later."""
    world.crash(victim, after=int(fault.chance * 997) % 150)
    world.loop.in_world(fault.seconds, world.start)


@befalls_process
def stop(world: World, fault: Fault, victim: Process) -> None:
    """A process is asked to end; another is started later."""
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


@befalls_process
def pause(world: World, fault: Fault, victim: Process) -> None:
    """A process runs nothing, perhaps longer than its session lives."""
    world.pause(victim, fault.seconds * 2)


@befalls_process
def stutter(world: World, fault: Fault, victim: Process) -> None:
    """A process runs nothing for moments, again and again."""
    for moment in range(5):
        world.loop.in_world(fault.seconds * moment / 5, world.pause, victim, 0.05)


# --- the store ------------------------------------------------------------------------


def _store_trouble(troubles: Mapping[str, float | bool], world: World, fault: Fault) -> None:
    target = world.database.troubles
    begin_troubles(target, troubles)
    world.loop.in_world(fault.seconds, end_troubles, target, troubles)


STORE_TROUBLES: dict[str, dict[str, float | bool]] = {
    # No command is carried out.
    "store_down": {"down": True},
    # Commands are cut off half way.
    "store_interrupts": {"interrupted": 0.5},
    # Writes are not acknowledged by a majority.
    "store_without_majority": {"write_concern": 0.6},
    # Single statements are refused for now.
    "store_throttles": {"throttled": 0.4},
    # Reads go to a primary that does not know of the writes.
    "store_deposed": {"deposed": 0.6},
}
KINDS |= {name: partial(_store_trouble, troubles) for name, troubles in STORE_TROUBLES.items()}


# --- links ----------------------------------------------------------------------------


def _link_trouble(condition: Condition, world: World, fault: Fault) -> None:
    """Trouble one process's link, or everybody's."""
    victim = _victim(world, fault) if fault.chance * 10 % 1 < 0.5 else None
    world.impose(condition, fault.seconds, victim)


LINK_TROUBLES: dict[str, Condition] = {
    # Requests to the database, or their answers, get lost; come late; not at all.
    "store_link_lossy": Condition("store", {"loss": 0.3}),
    "store_link_slow": Condition("store", {"slow": 0.7, "slowest": 3.0}),
    "store_link_cut": Condition("store", {"cut": True}),
    # Commands are carried out when nobody waits for them any more; twice.
    "store_link_late": Condition("store", {"slow": 0.5, "slowest": 12.0}),
    "store_again": Condition("store", {"again": 0.4}),
    # The brokers with the records cannot be reached; connections, fetches and questions about
    # offsets get lost, or take long.
    "data_link_cut": Condition("data", {"cut": True}),
    "data_link_lossy": Condition("data", {"loss": 0.3, "slow": 0.3}),
    "data_link_slow": Condition("data", {"slow": 0.7, "slowest": 3.0}),
    # No heartbeat, no commit; only their answers get lost; they land late, in other generations.
    "group_link_cut": Condition("group", {"cut": True}),
    "group_link_lossy": Condition("group", {"loss": 0.4}),
    "group_link_slow": Condition("group", {"slow": 0.5, "slowest": 4.0}),
    # Dead letters, or their acknowledgements, get lost; arrive when nobody waits; twice; never.
    "letters_lossy": Condition("letters", {"loss": 0.5}),
    "letters_late": Condition("letters", {"slow": 0.5, "slowest": 12.0}),
    "letters_again": Condition("letters", {"again": 0.4}),
    "letters_cut": Condition("letters", {"cut": True}),
}
KINDS |= {name: partial(_link_trouble, condition) for name, condition in LINK_TROUBLES.items()}


@kind
def letters_too_large(world: World, fault: Fault) -> None:
    """The dead-letter topic takes but small letters, for a while or for good."""
    world.letters.limit = world.checker.smallest_limit = SMALL_LETTERS

    def widen() -> None:
        world.letters.limit = LetterTopic(world.checker.letter).limit

    if fault.chance * 10 % 1 < 0.5:
        world.loop.in_world(fault.seconds, widen)


# --- the group and the client -----------------------------------------------------------


@kind
def coordinator_down(world: World, fault: Fault) -> None:
    """The group's coordinator moves, and nobody is it for a while."""
    if world.group.available:
        world.group.go_down()
        world.loop.in_world(fault.seconds, world.group.come_up)


@befalls_process
def client_lost(world: World, fault: Fault, victim: Process) -> None:
    """The client's coordination has ended, and stays so."""
    if victim.client is not None:
        victim.client.lose_coordination()


@kind
def client_lost_in_a_rebalance(world: World, fault: Fault) -> None:
    """A process that drains, since another one came, loses its client before it is done."""
    victim = _victim(world, fault)
    if victim is None or len(world.running) >= MOST_PROCESSES:
        return
    world.impose(LINK_TROUBLES["store_link_cut"], fault.seconds + 3.0, victim)
    world.workload.produce(4)
    world.start()

    def lose() -> None:
        if victim.running and victim.client is not None:
            victim.client.lose_coordination()

    world.loop.in_world(0.5 + 3.0 * fault.chance, lose)


def _client_trouble(name: str, most: int, world: World, fault: Fault) -> None:
    victim = _victim(world, fault)
    if victim is not None:
        setattr(victim.faults, name, 1 + int(fault.chance * most))


CLIENT_TROUBLES: dict[str, int] = {
    # One odd answer to a heartbeat makes every later fetch fail.
    "heartbeat_poisoned": 1,
    # The client reports so many errors of the group at most, then goes on.
    "group_errors": 7,
    # Fetches fail after they have drained records, which are lost to the client.
    "fetch_errors": 4,
}
KINDS |= {name: partial(_client_trouble, name, most) for name, most in CLIENT_TROUBLES.items()}


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
def transaction(world: World, fault: Fault) -> None:
    """A producer begins a transaction, and ends it later."""
    world.loop.in_world(fault.seconds, world.workload.transact(1 + int(fault.chance * 100 % 5)))
    world.broker.changed()


@kind
def aborted_flood(world: World, fault: Fault) -> None:
    """Very many records are aborted: reading goes on for long without bringing any."""
    log = world.broker.logs[_partition(world, fault)]
    if log.open_from is None:
        log.leave_hole(int(fault.seconds * 500))
        world.broker.changed()


@kind
def consumed_deleted(world: World, fault: Fault) -> None:
    """What the group has committed is deleted, or about that much."""
    partition = _partition(world, fault)
    committed = world.group.offsets.get(partition)
    if committed is not None:
        _delete(world, partition, committed + int(fault.chance * 100 % 4) - 2)


@kind
def emptied(world: World, fault: Fault) -> None:
    """A log is deleted up to its end."""
    partition = _partition(world, fault)
    _delete(world, partition, world.broker.logs[partition].stable)


def _delete(world: World, partition: TopicPartition, until: int) -> None:
    log = world.broker.logs[partition]
    until = min(until, log.stable)
    if until > log.start:
        world.log("broker", f"deletes {partition} until {until}")
        world.checker.deleting(partition, until, world.group.offsets.get(partition))
        log.delete_until(until)
        world.broker.changed()


@kind
def retention(world: World, fault: Fault) -> None:
    """The oldest records of a partition are deleted, read or not."""
    partition = _partition(world, fault)
    _delete(world, partition, world.broker.logs[partition].end - int(fault.chance * 100 % 6))


def _topic(fault: Fault) -> str:
    return builders.EVENTS if fault.chance < 0.5 else builders.SESSIONS


@kind
def topic_anew(world: World, fault: Fault) -> None:
    """A topic is deleted and made again at once, and perhaps filled further than it had been."""
    topic = _topic(fault)
    if _may_be_made_anew(world, topic):
        world.delete_topic(topic)
        world.create_topic(topic)
        if world.broker.has_topic_ids and fault.chance * 10 % 1 < 0.6:
            world.workload.fill(topic)


@kind
def topic_away(world: World, fault: Fault) -> None:
    """A topic is deleted, and made again in a while."""
    topic = _topic(fault)
    if _may_be_made_anew(world, topic):
        world.delete_topic(topic)
        world.loop.in_world(fault.seconds, world.create_topic, topic)


def _may_be_made_anew(world: World, topic: str) -> bool:
    """Tell whether it can be told that there is another topic.

    Where topics have no ids, only once nobody has anything to do: a commit for the old log could
    land on the new one, and nothing would tell.
    """
    if topic in world.broker.away:
        return False
    if world.broker.has_topic_ids:
        return True
    logs = [log for log in world.broker.logs.values() if log.partition.topic == topic]
    quiet = all(world.group.offsets.get(log.partition, 0) == log.end for log in logs)
    calm = not any(
        process.host.paused or (process.client is not None and process.client.committing)
        for process in world.processes
    )
    return quiet and calm and world.group.state == "Stable"
