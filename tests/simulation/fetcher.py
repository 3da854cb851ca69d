"""What a member of the group fetches, as aiokafka 0.14 does, its traps included.

It prefetches; an error in a fetch throws away what was drained before it; partitions begin
where the client thinks, until somebody seeks; what comes of a log that was made anew is taken
for a continuation wherever the position lies within it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

from consumer.contract.record import Record, TopicPartition
from consumer.errors import TransientError
from consumer.kafka.client import PartitionsError
from tests.fakes.broker import Broker, Fetched
from tests.fakes.group import Group
from tests.simulation.loop import SimulationLoop
from tests.simulation.network import Link, Network

RETRY_BACKOFF = 0.1
MOST_OF_ONE_PARTITION = 50


@dataclass(frozen=True, slots=True)
class Times:
    """All durations of a simulated deployment, in seconds; shorter than the usual ones."""

    session_timeout: float = 6.0
    request_timeout: float = 5.0
    rebalance_timeout: float = 4.0
    heartbeat_interval: float = 1.5
    max_poll_interval: float = 20.0
    drain_deadline: float = 4.0
    backoff_initial: float = 0.05
    backoff_max: float = 2.0
    close_timeout: float = 1.0
    stall_after: float = 4.0
    metadata_max_age: float = 2.0


@dataclass(slots=True)
class Cluster:
    """What a client talks to."""

    broker: Broker
    group: Group
    network: Network


@dataclass(slots=True)
class ClientFaults:
    """What is wrong with the clients of one process just now."""

    coordination_dead: bool = False
    heartbeat_poisoned: bool = False
    group_errors: int = 0
    fetch_errors: int = 0


@dataclass(slots=True)
class _Buffer:
    records: list[Record]
    next_offset: int
    corrupt: bool = False


@dataclass(slots=True)
class Assignment:
    """What one generation gave. ``positions``: where to fetch next, None before that is known."""

    positions: dict[TopicPartition, int | None]
    buffers: dict[TopicPartition, _Buffer] = field(default_factory=dict)
    seen: dict[TopicPartition, Fetched] = field(default_factory=dict)
    """What the last fetch said of each partition."""


class Fetcher:
    """Fetches for the assignment it was given last."""

    def __init__(
        self,
        loop: SimulationLoop,
        cluster: Cluster,
        link: Link,
        faults: ClientFaults,
        chance: Random,
    ) -> None:
        self._loop = loop
        self._cluster = cluster
        self._link = link
        self._faults = faults
        self._chance = chance
        self._names_failures = chance.random() < 0.7
        """Whether it says which partition cannot be read, and loses nothing by it."""
        self._in_flight: asyncio.Future[Any] | None = None
        self._news: asyncio.Future[None] | None = None
        self.assignment: Assignment | None = None

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Fetch from there next, and drop what was fetched already."""
        assignment = self.assignment
        if assignment is not None and partition in assignment.positions:
            assignment.positions[partition] = offset
            assignment.buffers.pop(partition, None)

    def position(self, partition: TopicPartition) -> int | None:
        """Return what would be fetched next, None where that is not known."""
        return None if self.assignment is None else self.assignment.positions.get(partition)

    def seen(self, partition: TopicPartition) -> Fetched | None:
        """Return what the last fetch said of the partition."""
        return None if self.assignment is None else self.assignment.seen.get(partition)

    def away(self, partitions: Collection[TopicPartition]) -> list[TopicPartition]:
        """Return those of the assigned ones whose topic is not there."""
        assigned = {} if self.assignment is None else self.assignment.positions
        away = self._cluster.broker.away
        return [one for one in partitions if one.topic in away and one in assigned]

    async def wait(self, timeout: float) -> None:
        """Ask for more, and wait until something has changed."""
        self._request()
        self._news = self._loop.create_future()
        self._cluster.broker.watch(self._news)
        await asyncio.wait([self._news], timeout=timeout)

    def drain(
        self, partitions: Collection[TopicPartition], max_records: int
    ) -> dict[TopicPartition, list[Record]]:
        """Take what was prefetched; an error on the way loses what was already taken."""
        drained: dict[TopicPartition, list[Record]] = {}
        assignment = self.assignment
        if assignment is None:
            return drained
        gone = TransientError("UnknownTopicOrPartitionError", "fetch refused")
        failed = dict.fromkeys(self.away(partitions), gone)
        for partition in [p for p in assignment.buffers if p in partitions]:
            buffer = assignment.buffers[partition]
            taken, rest = buffer.records[:max_records], buffer.records[max_records:]
            if not rest and buffer.corrupt and not (self._names_failures and taken):
                del assignment.buffers[partition]
                failed[partition] = TransientError("CorruptRecordException", "fetch failed")
                if self._names_failures:
                    continue
                raise failed[partition]
            if rest:
                buffer.records = rest
                assignment.positions[partition] = rest[0].offset
            else:
                del assignment.buffers[partition]
                assignment.positions[partition] = (
                    taken[-1].offset + 1 if buffer.corrupt else buffer.next_offset
                )
            if taken:
                drained[partition] = taken
                max_records -= len(taken)
            if max_records <= 0:
                break
        if failed and not drained:
            raise PartitionsError(failed)
        if drained and self._faults.fetch_errors:
            self._faults.fetch_errors -= 1
            raise TransientError("UnsupportedCodecError", "fetch failed")
        return drained

    def _request(self) -> None:
        """Prefetch for all partitions without a buffer, one request at a time."""
        assignment = self.assignment
        if assignment is None or self._in_flight is not None:
            return
        for partition, position in assignment.positions.items():
            if position is None:
                # A client may take an OffsetFetch error for "nothing committed".
                offset = self._cluster.group.offsets.get(partition)
                log = self._cluster.broker.logs[partition]
                fooled = offset is None or self._chance.random() < 0.5
                assignment.positions[partition] = log.start if fooled else offset
        positions = {
            partition: position
            for partition, position in assignment.positions.items()
            if position is not None and partition not in assignment.buffers
        }
        broker = self._cluster.broker
        ends = {one: seen.end for one, seen in assignment.seen.items() if one in positions}
        if not broker.has_news(positions, ends):
            return
        self._in_flight = self._cluster.network.call(
            self._link, lambda: broker.fetch(positions, MOST_OF_ONE_PARTITION)
        )
        self._in_flight.add_done_callback(partial(self._received, assignment, positions))

    def _received(
        self,
        assignment: Assignment,
        positions: Mapping[TopicPartition, int],
        answer: asyncio.Future[dict[TopicPartition, Fetched]],
    ) -> None:
        if answer.cancelled():
            return
        if answer.exception() is not None:
            self._loop.call_later(RETRY_BACKOFF, self._fetch_again)
            return
        self._in_flight = None
        for partition, fetched in answer.result().items():
            if assignment.positions.get(partition) != positions[partition]:
                continue
            assignment.seen[partition] = fetched
            if fetched.reset_to is not None:
                assignment.positions[partition] = fetched.reset_to
            elif fetched.records or fetched.corrupt:
                assignment.buffers[partition] = _Buffer(
                    fetched.records, fetched.next_offset, fetched.corrupt
                )
            else:
                assignment.positions[partition] = fetched.next_offset
        self.wake()

    def _fetch_again(self) -> None:
        self._in_flight = None
        self.wake()

    def wake(self) -> None:
        """Let whoever waits look again."""
        if self._news is not None and not self._news.done():
            self._news.set_result(None)
