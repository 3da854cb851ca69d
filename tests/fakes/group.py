"""A consumer group as Apache Kafka's coordinator keeps it: who is in, and what it accepts.

The eager protocol: every rebalance waits until all members have joined again, at most the
rebalance timeout, then gives each its range of partitions in a new generation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from consumer.contract.record import TopicPartition
from consumer.kafka.committed import Committed

T = TypeVar("T")


class Code(StrEnum):
    """Why the coordinator refuses."""

    UNKNOWN_MEMBER_ID = "UnknownMemberIdError"
    ILLEGAL_GENERATION = "IllegalGenerationError"
    REBALANCE_IN_PROGRESS = "RebalanceInProgressError"
    COORDINATOR_NOT_AVAILABLE = "GroupCoordinatorNotAvailableError"
    UNKNOWN_TOPIC = "UnknownTopicOrPartitionError"


class RefusedError(Exception):
    """The coordinator refuses a request."""

    def __init__(self, code: Code) -> None:
        super().__init__(code.value)
        self.code = code


class State(StrEnum):
    """Where the group stands, in Kafka's words."""

    EMPTY = "Empty"
    PREPARING = "PreparingRebalance"
    COMPLETING = "CompletingRebalance"
    STABLE = "Stable"


@dataclass(slots=True)
class Member:
    """``expires_at``: when its session ends unless it is heard of."""

    name: str
    expires_at: float = 0.0
    joining: asyncio.Future[tuple[int, str]] | None = None
    syncing: asyncio.Future[list[TopicPartition]] | None = None


class Group:
    """Keeps members and offsets. Durations in seconds."""

    def __init__(
        self,
        partitions: Callable[[], Iterable[TopicPartition]],
        *,
        session_timeout: float,
        rebalance_timeout: float,
        clock: Callable[[], float],
        later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        self._partitions = partitions
        self._session_timeout = session_timeout
        self._rebalance_timeout = rebalance_timeout
        self._clock = clock
        self._later = later
        self._names = 0
        self.available = True
        self.state = State.EMPTY
        self.generation = 0
        self.members: dict[str, Member] = {}
        self.assignment: dict[str, list[TopicPartition]] = {}
        self.offsets: dict[TopicPartition, int] = {}
        self.metadata: dict[TopicPartition, str] = {}
        self.on_commit: Callable[[Mapping[TopicPartition, Committed]], None] | None = None

    # --- requests ---------------------------------------------------------------

    def join(self, name: str) -> asyncio.Future[tuple[int, str]]:
        """Answer with generation and member id when every member has joined."""
        self._check_available()
        if not name:
            self._names += 1
            name = f"member-{self._names}"
            self.members[name] = Member(name)
            self._watch_session(name)
        member = self._member(name)
        member.joining = asyncio.get_running_loop().create_future()
        joining = member.joining
        if self.state is not State.PREPARING:
            self._prepare()
        self._complete_join(force=False)
        return joining

    def sync(self, name: str, generation: int) -> asyncio.Future[list[TopicPartition]]:
        """Answer with the member's partitions when the leader has assigned them."""
        member = self._fenced(name, generation)
        if self.state is State.PREPARING:
            raise RefusedError(Code.REBALANCE_IN_PROGRESS)
        member.syncing = asyncio.get_running_loop().create_future()
        syncing = member.syncing
        if self.state is State.STABLE or name == min(self.members):
            self.state = State.STABLE
            for waiting in self.members.values():
                if waiting.syncing is not None:
                    _answer(waiting.syncing, self.assignment.get(waiting.name, []))
                    waiting.syncing = None
        return syncing

    def heartbeat(self, name: str, generation: int) -> None:
        """Keep the session alive; refused where the member has to join again."""
        self._fenced(name, generation)
        if self.state is State.PREPARING:
            raise RefusedError(Code.REBALANCE_IN_PROGRESS)

    def commit(
        self, name: str, generation: int, offsets: Mapping[TopicPartition, Committed]
    ) -> None:
        """Store offsets of the present generation, those of topics that are there."""
        self._fenced(name, generation)
        if self.state is State.COMPLETING:
            raise RefusedError(Code.REBALANCE_IN_PROGRESS)
        there = set(self._partitions())
        known = {partition: kept for partition, kept in offsets.items() if partition in there}
        self.offsets.update({partition: kept.offset for partition, kept in known.items()})
        self.metadata.update({partition: kept.metadata for partition, kept in known.items()})
        if self.on_commit is not None:
            self.on_commit(known)
        if len(known) < len(offsets):
            raise RefusedError(Code.UNKNOWN_TOPIC)

    def committed(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, Committed | None]:
        """Return what is committed, None where nothing is."""
        self._check_available()
        return {
            partition: Committed(self.offsets[partition], self.metadata.get(partition, ""))
            if partition in self.offsets
            else None
            for partition in partitions
        }

    def leave(self, name: str) -> None:
        """Take a member out at once."""
        self._check_available()
        self._remove(name)

    def forget(self, partition: TopicPartition) -> None:
        """Forget a partition's offset, as is done when its topic is deleted."""
        self.offsets.pop(partition, None)
        self.metadata.pop(partition, None)

    # --- the coordinator itself ---------------------------------------------------

    def go_down(self) -> None:
        """Answer nothing until ``come_up``; who waits is told so."""
        self.available = False
        for member in self.members.values():
            for waiting in (member.joining, member.syncing):
                if waiting is not None and not waiting.done():
                    waiting.set_exception(RefusedError(Code.COORDINATOR_NOT_AVAILABLE))
                    waiting.exception()
            member.joining = member.syncing = None

    def come_up(self) -> None:
        """Serve the group as it was; every session begins anew."""
        self.available = True
        for member in self.members.values():
            self._heard_of(member)
            self._watch_session(member.name)
        if self.state in {State.PREPARING, State.COMPLETING}:
            self._prepare()

    def _check_available(self) -> None:
        if not self.available:
            raise RefusedError(Code.COORDINATOR_NOT_AVAILABLE)

    def _member(self, name: str) -> Member:
        self._check_available()
        member = self.members.get(name)
        if member is None:
            raise RefusedError(Code.UNKNOWN_MEMBER_ID)
        self._heard_of(member)
        return member

    def _fenced(self, name: str, generation: int) -> Member:
        member = self._member(name)
        if generation != self.generation:
            raise RefusedError(Code.ILLEGAL_GENERATION)
        return member

    def _heard_of(self, member: Member) -> None:
        member.expires_at = self._clock() + self._session_timeout

    def _watch_session(self, name: str) -> None:
        member = self.members[name]
        self._heard_of(member)

        def look() -> None:
            if self.members.get(name) is not member or not self.available:
                return
            left = member.expires_at - self._clock()
            if member.joining is not None:
                left = max(left, self._session_timeout)
            if left > 0:
                self._later(left, look)
            else:
                self._remove(name)

        self._later(self._session_timeout, look)

    def _remove(self, name: str) -> None:
        if self.members.pop(name, None) is None:
            return
        if not self.members:
            self.state = State.EMPTY
        elif self.state is State.PREPARING:
            self._complete_join(force=False)
        else:
            self._prepare()

    def _prepare(self) -> None:
        """Begin a rebalance: everybody has to join again."""
        self.state = State.PREPARING
        for member in self.members.values():
            if member.syncing is not None:
                member.syncing.set_exception(RefusedError(Code.REBALANCE_IN_PROGRESS))
                member.syncing.exception()
                member.syncing = None
        generation = self.generation

        def deadline() -> None:
            if self.state is State.PREPARING and self.generation == generation:
                self._complete_join(force=True)

        self._later(self._rebalance_timeout, deadline)

    def _complete_join(self, *, force: bool) -> None:
        """Go on when all have joined; ``force``: without those that have not."""
        if not self.available:
            return
        if force:
            for name in [m.name for m in self.members.values() if m.joining is None]:
                del self.members[name]
        if not self.members:
            self.state = State.EMPTY
            return
        if any(member.joining is None for member in self.members.values()):
            return
        self.generation += 1
        self.state = State.COMPLETING
        self.assignment = range_assignment(sorted(self.members), self._partitions())
        for member in self.members.values():
            if member.joining is not None:
                _answer(member.joining, (self.generation, member.name))
            member.joining = None
            self._heard_of(member)


def range_assignment(
    names: list[str], partitions: Iterable[TopicPartition]
) -> dict[str, list[TopicPartition]]:
    """Give each member a range of each topic's partitions, the first ones one more."""
    by_topic: dict[str, list[TopicPartition]] = {}
    for partition in sorted(partitions):
        by_topic.setdefault(partition.topic, []).append(partition)
    given: dict[str, list[TopicPartition]] = {name: [] for name in names}
    for of_topic in by_topic.values():
        share, more = divmod(len(of_topic), len(names))
        start = 0
        for index, name in enumerate(names):
            end = start + share + (index < more)
            given[name] += of_topic[start:end]
            start = end
    return given


def _answer(waiting: asyncio.Future[T], result: T) -> None:
    if not waiting.done():
        waiting.set_result(result)
