"""A whole deployment in memory: cluster, database, processes, producers, and what watches them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Iterable, Mapping
from dataclasses import fields
from functools import partial
from random import Random
from typing import Any, NamedTuple

from consumer.contract.record import TopicPartition
from consumer.engine.runner import StopReason
from consumer.kafka.committed import OffsetMetadata, ids_differ
from consumer.observability.observer import STALLED
from tests import builders
from tests.fakes.broker import Broker
from tests.fakes.group import Group
from tests.simulation.checker import Checker
from tests.simulation.fetcher import Cluster, Times
from tests.simulation.loop import SimulationLoop
from tests.simulation.network import Link, Network
from tests.simulation.process import LetterTopic, Process, Shape
from tests.simulation.store import Database, StoreTroubles
from tests.simulation.witness import QUIET, Witness, told
from tests.simulation.workload import Workload

BOUND = 60.0
"""Seconds in which everything must be caught up once nothing is wrong any more.

Nor is a partition held: each time that somebody releases one, they begin anew.
"""


SURELY_MOVES = 3
"""So often reading has gone on while nothing is said to have moved: that is no stall."""


class Violation(AssertionError):  # noqa: N818 -- what was found, not an error of the simulation
    """Something that must hold does not."""


class Condition(NamedTuple):
    """What is wrong with one kind of link: its name, and the values of its fields."""

    link: str
    troubles: Mapping[str, float | bool]


def begin_troubles(target: Link | StoreTroubles, troubles: Mapping[str, float | bool]) -> None:
    """Let these fields have these values."""
    for name, value in troubles.items():
        setattr(target, name, value)


def end_troubles(target: Link | StoreTroubles, troubles: Iterable[str]) -> None:
    """Let these fields have their usual values again."""
    usual: dict[str, Any] = {one.name: one.default for one in fields(target)}
    begin_troubles(target, {name: usual[name] for name in troubles})


class World:
    """One simulated deployment. Everything that is random comes from ``seed``."""

    def __init__(
        self,
        seed: int | str,
        shape: Shape,
        *,
        partitions: int = 2,
        sessions: int = 3,
        times: Times | None = None,
        tracing: bool = False,
    ) -> None:
        self.shape = shape
        self.times = times = times or Times()
        self.loop = loop = SimulationLoop(Random(f"{seed} order"))
        self.network = Network(loop, Random(f"{seed} network"))
        self.broker = Broker({builders.SESSIONS: partitions, builders.EVENTS: partitions})
        self.group = Group(
            lambda: self.broker.partitions,
            session_timeout=times.session_timeout,
            rebalance_timeout=times.rebalance_timeout,
            clock=loop.time,
            later=loop.in_world,
        )
        self.database = Database(loop, Random(f"{seed} database"))
        self.workload = Workload(self.broker, Random(f"{seed} workload"), sessions=sessions)
        self.checker = Checker(self.broker, self.database.memory, self.workload)
        self.group.on_commit = self.checker.committed
        self.letters = LetterTopic(self.checker.letter)
        self.cluster = Cluster(self.broker, self.group, self.network)
        self.clients_chance = Random(f"{seed} clients")
        self.processes: list[Process] = []
        self._chance = Random(f"{seed} operator")
        self._released_at = 0.0
        self._conditions: list[Condition] = []
        self._productions = 0
        self._tracing = tracing
        self.trace: list[tuple[float, str, str]] = []

    def told(
        self, process: Process, what: str, args: tuple[Any, ...], named: Mapping[str, Any]
    ) -> None:
        """A process reports something."""
        if self._tracing and what not in QUIET:
            self.log(process.host.name, told(what, args, named))
        match what:
            case "gap":
                source = process.source
                self.checker.gap(args[0], passed=source is not None and source.passed(args[0]))
            case "stalled":
                self._stalled(process, args[0])
            case "reset":
                self.checker.reset(args[0])
            case "settled":
                for partition in args[0].partitions:
                    process.released.pop(partition, None)
            case "held":
                self._held(process, args[0])
            case "resumed":
                self._resumed(process, args[0])

    def _stalled(self, process: Process, seconds: float) -> None:
        """Reading that goes on is no stall, unless something is said to be the matter."""
        causes = process.witness.health.unready_reasons().keys() - {STALLED}
        moves = [] if process.source is None else process.source.moves
        since = self.loop.time() - seconds + 1  # the watchdog looks every second
        if not causes and sum(since < moment for moment in moves) >= SURELY_MOVES:
            self.checker.found.append(f"{process.host.name}: a stall, and reading goes on")

    def _held(self, process: Process, partition: TopicPartition) -> None:
        """Let an operator release the partition in a while; nothing else ever would."""
        ledger = process.runner.ledger
        here = (ledger.epoch, ledger[partition].committable)
        if process.released.pop(partition, None) == here:
            self.checker.found.append(f"{process.host.name} {partition}: held right after release")
        self.loop.in_world(self._chance.uniform(0.5, 5.0), self._release, process)

    def _release(self, process: Process) -> None:
        if process.running and process.end is None:
            self.loop.on_host(process.host, process.runner.resume)

    def _resumed(self, process: Process, partitions: Collection[TopicPartition]) -> None:
        self._released_at = self.loop.time()
        ledger = process.runner.ledger
        for state in ledger:
            if state.partition in partitions:
                process.released[state.partition] = (ledger.epoch, state.committable)

    def log(self, who: str, what: str) -> None:
        """Note what happened, where the schedule is asked for."""
        if self._tracing:
            self.trace.append((self.loop.time(), who, what))

    def run(self, story: Coroutine[Any, Any, None]) -> None:
        """Live through a story; raise ``Violation`` where something did not hold."""
        self.loop.run(self._watched(story))

    async def _watched(self, story: Coroutine[Any, Any, None]) -> None:
        try:
            await story
        finally:
            self.network.over = True
        self.check()

    def check(self) -> None:
        """Raise ``Violation`` with all that was found so far."""
        found = [*self.checker.found, *self.loop.troubles]
        for process in self.processes:
            task = process.task
            if task is not None and task.done() and not task.cancelled() and task.exception():
                found.append(f"{process.host.name} died: {task.exception()!r}")
        if found:
            raise Violation("\n".join(found))

    def produce_later(self, seconds: float, records: int) -> None:
        """Let producers send so many records in a while."""
        self._productions += 1
        self.loop.in_world(seconds, self._produce, records)

    def _produce(self, records: int) -> None:
        """Send; where topics have no ids, once everybody has noticed one that was made anew.

        Who did not look while the new log was shorter than the old one could not know.
        """
        waits = not self.broker.has_topic_ids and any(map(self._reads_beyond, self.running))
        if waits or self.broker.away:
            self.loop.in_world(0.2, self._produce, records)
        else:
            self._productions -= 1
            self.workload.produce(records)

    def _reads_beyond(self, process: Process) -> bool:
        return process.source is not None and any(
            (state.position or 0) > self.broker.logs[state.partition].end
            for state in process.runner.ledger
        )

    def delete_topic(self, topic: str) -> None:
        """Delete a topic with whatever is in it, and the group's offsets of it."""
        self.log("broker", f"deletes {topic}")
        self.checker.deleting_topic(topic, self.processes, known=self.broker.has_topic_ids)
        self.broker.delete(topic)
        for partition in self.broker.logs:
            if partition.topic == topic:
                self.group.forget(partition)

    def create_topic(self, topic: str) -> None:
        """Make a topic again."""
        if topic in self.broker.away:
            self.log("broker", f"creates {topic}")
            self.broker.create(topic)

    # --- processes ------------------------------------------------------------------

    def start(self, until: Mapping[TopicPartition, int] | None = None) -> Process:
        """Start a new process."""
        host = self.loop.add_host(f"p{len(self.processes) + 1}")
        witness = Witness(self.loop.time, self.checker.found.append, host.name)
        process = Process(host, self, witness)
        witness.on_call = partial(self.told, process)
        for link, troubles in self._conditions:
            begin_troubles(process.links[link], troubles)
        self.processes.append(process)
        self.log(host.name, "starts" if until is None else "starts, to end when caught up")
        self.loop.on_host(host, process.start, until)
        return process

    def impose(self, condition: Condition, seconds: float, victim: Process | None) -> None:
        """Trouble a link of one process for a while, or that of all, the later ones included."""
        if victim is None:
            self._conditions.append(condition)
        for process in self.processes if victim is None else [victim]:
            begin_troubles(process.links[condition.link], condition.troubles)
        self.loop.in_world(seconds, self._lift, condition)

    def _lift(self, condition: Condition) -> None:
        if condition in self._conditions:
            self._conditions.remove(condition)
        for process in self.processes:
            end_troubles(process.links[condition.link], condition.troubles)

    @property
    def running(self) -> list[Process]:
        """The processes that live, paused ones included."""
        return [process for process in self.processes if process.running]

    def crash(self, process: Process, after: int = 0) -> None:
        """Let a process never run again from its ``after``-th next step on."""
        left = after

        def step() -> None:
            nonlocal left
            if left <= 0:
                self.log(process.host.name, "crashes")
                self.loop.kill(process.host)
            left -= 1

        if after:
            process.host.on_step = step
        else:
            step()

    def spare(self) -> None:
        """Call off every crash that has not happened yet."""
        for process in self.processes:
            process.host.on_step = None

    def pause(self, process: Process, seconds: float) -> None:
        """Let a process run nothing for a while."""
        self.log(process.host.name, f"pauses for {seconds:.1f} s")
        self.loop.pause(process.host)
        self.loop.in_world(seconds, self.resume, process)

    def resume(self, process: Process) -> None:
        """Let a paused process go on."""
        if process.host.paused:
            self.log(process.host.name, "goes on")
            self.loop.resume(process.host)

    def stop(self, process: Process) -> None:
        """Ask a process to end, as SIGTERM does."""
        if process.running:
            self.log(process.host.name, "is asked to stop")
            process.stop.set()

    async def ended(self, process: Process, within: float) -> StopReason | None:
        """Wait until a process has ended; a violation where it takes longer, see ``BOUND``."""
        begun = self.loop.time()
        while process.task is not None and process.host.alive and not process.task.done():
            left = max(begun, self._released_at) + within - self.loop.time()
            if left <= 0:
                raise Violation(f"{process.host.name} did not end within {within:.0f} s")
            await asyncio.wait([process.task], timeout=left)
        return process.end

    # --- the end of every story -------------------------------------------------------

    async def caught_up(self, bound: float = BOUND) -> None:
        """Wait until the group has committed everything; a violation where it takes longer."""
        while self._productions:  # noqa: ASYNC110 -- virtual time, and nobody to tell of the end
            await asyncio.sleep(0.25)
        healed = self.loop.time()
        while behind := self.checker.behind(self.group):
            self.check()
            if self.loop.time() > max(healed, self._released_at) + bound:
                raise Violation(
                    f"not caught up {bound:.0f} s after it was healed:\n" + "\n".join(behind)
                )
            await asyncio.sleep(0.25)

    async def ready(self, bound: float = BOUND) -> None:
        """Wait until every process says that it is ready, and no committed offset that any is held.

        A violation where it takes longer.
        """
        deadline = self.loop.time() + bound
        while unready := {
            process.host.name: reasons
            for process in self.running
            if (reasons := process.witness.health.unready_reasons())
        } | {
            f"committed of {partition}": text
            for partition, text in self.group.metadata.items()
            if self._tells_of_hold(partition, OffsetMetadata.decode(text))
        }:
            if self.loop.time() > deadline:
                raise Violation(f"not ready {bound:.0f} s after it was healed: {unready}")
            await asyncio.sleep(0.25)

    def _tells_of_hold(self, partition: TopicPartition, kept: OffsetMetadata) -> bool:
        """A commit that lands out of its order may tell of a log that is no more; it says so."""
        now = self.broker.topic_ids([partition.topic]).get(partition.topic)
        return kept.held is not None and not ids_differ(kept.topic_id, now)

    async def finish(self) -> None:
        """Stop everybody and look at what is left."""
        idle = [process for process in self.running if not process.stop.is_set()]
        self.checker.survivors = idle
        for process in self.running:
            self.stop(process)
        for process in self.running:
            await self.ended(process, self.times.drain_deadline + self.times.close_timeout + 1)
        for process in idle:
            if process.end is StopReason.DEADLINE:
                self.checker.found.append(f"{process.host.name} had nothing to do and no time")
        for process in self.processes:
            if process.host.alive and process.end is not None:
                self.checker.check_counts(process)
        self.checker.check_documents()
