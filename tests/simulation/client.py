"""A member of the group that behaves as aiokafka 0.14 does, its traps included.

It prefetches; an error in a fetch throws away what was drained before it; a fetch hangs while
the group rebalances; a commit is tried again for ever and goes out in whatever generation the
member has by then; partitions begin where the client thinks, until somebody seeks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

from consumer.contract.record import Record, TopicPartition
from consumer.errors import TransientError
from consumer.stream.client import (
    ClientLostError,
    MembershipError,
    PartitionsError,
    RebalanceCallbacks,
)
from consumer.stream.committed import Committed
from consumer.stream.topic_ids import TopicIds
from tests.fakes.broker import Broker, Fetched
from tests.fakes.group import Code, Group, RefusedError
from tests.simulation.loop import SimulationLoop
from tests.simulation.network import Link, LostError, Network

RETRY_BACKOFF = 0.1
MOST_OF_ONE_PARTITION = 50


@dataclass(frozen=True, slots=True)
class ClientTimes:
    """In seconds; as the settings name them."""

    heartbeat_interval: float
    max_poll_interval: float


@dataclass(slots=True)
class Links:
    """One process's ways to the cluster."""

    data: Link
    group: Link


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
class _Assignment:
    """What one generation gave. ``positions``: where to fetch next, None before that is known."""

    positions: dict[TopicPartition, int | None]
    buffers: dict[TopicPartition, _Buffer] = field(default_factory=dict)
    ends: dict[TopicPartition, int] = field(default_factory=dict)


class SimulatedClient:
    """Implements ``GroupClient``."""

    def __init__(
        self,
        cluster: Cluster,
        links: Links,
        callbacks: RebalanceCallbacks,
        times: ClientTimes,
        faults: ClientFaults,
        chance: Random,
    ) -> None:
        self._loop: SimulationLoop = asyncio.get_running_loop()  # type: ignore[assignment]  # ours
        self._cluster = cluster
        self._links = links
        self._callbacks = callbacks
        self._times = times
        self._faults = faults
        self._chance = chance
        self._names_failures = chance.random() < 0.7
        """Whether it says which partition cannot be read, and loses nothing by it."""
        self._generation = -1
        self._member = ""
        self._assignment: _Assignment | None = None
        self._reassigning = True
        self._prepared = False
        self._heartbeating = False
        self._rejoin = asyncio.Event()
        self._rejoin.set()
        self._assigned = asyncio.Event()
        self.closing = False
        self.committing = 0
        """How many commits have no answer yet."""
        self._polling = 0
        self._polled_at = self._loop.time()
        self._in_flight: asyncio.Future[Any] | None = None
        self._news: asyncio.Future[None] | None = None
        self._tasks = [
            asyncio.ensure_future(self._coordinate()),
            asyncio.ensure_future(self._beat()),
        ]

    # --- GroupClient --------------------------------------------------------------

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """See ``GroupClient``."""
        assignment = self._assignment
        if assignment is not None and partition in assignment.positions:
            assignment.positions[partition] = offset
            assignment.buffers.pop(partition, None)

    def position(self, partition: TopicPartition) -> int | None:
        """See ``GroupClient``."""
        return None if self._assignment is None else self._assignment.positions.get(partition)

    def highwater(self, partition: TopicPartition) -> int | None:
        """See ``GroupClient``."""
        return None if self._assignment is None else self._assignment.ends.get(partition)

    def last_stable(self, partition: TopicPartition) -> int | None:
        """See ``GroupClient``. There are no transactions here."""
        return self.highwater(partition)

    def unreachable(self) -> Mapping[TopicPartition, str]:
        """See ``GroupClient``. What cannot be reached is not told here."""
        return {}

    async def fetch(
        self, partitions: Collection[TopicPartition], max_records: int, timeout: float
    ) -> Mapping[TopicPartition, Sequence[Record]]:
        """See ``GroupClient``."""
        self._check_membership()
        self._polling += 1
        try:
            deadline = self._loop.time() + timeout
            while True:
                if self._reassigning:
                    # Without a limit, as the real one waits.
                    self._assigned.clear()
                    await self._assigned.wait()
                    self._check_membership()
                    continue
                drained = self._drain(partitions, max_records)
                left = deadline - self._loop.time()
                if drained or left <= 0:
                    return drained
                self._request()
                self._news = self._loop.create_future()
                self._cluster.broker.watch(self._news)
                await asyncio.wait([self._news], timeout=left)
        finally:
            self._polling -= 1
            self._polled_at = self._loop.time()

    async def committed(
        self, partitions: Collection[TopicPartition]
    ) -> Mapping[TopicPartition, Committed | None]:
        """See ``GroupClient``."""
        wanted = list(partitions)
        while True:
            try:
                found: Mapping[TopicPartition, Committed | None] = await self._ask_group(
                    lambda: self._cluster.group.committed(wanted)
                )
            except (LostError, RefusedError):
                await asyncio.sleep(RETRY_BACKOFF)
            else:
                return found

    async def topic_ids(self, topics: Collection[str]) -> TopicIds:
        """See ``GroupClient``."""
        wanted = list(topics)
        try:
            found: TopicIds = await self._cluster.network.call(
                self._links.data, lambda: self._cluster.broker.topic_ids(wanted)
            )
        except LostError:
            raise TransientError("KafkaTimeoutError", "topic_ids failed") from None
        return found

    async def beginnings(
        self, partitions: Collection[TopicPartition]
    ) -> Mapping[TopicPartition, int]:
        """See ``GroupClient``."""
        return await self._list_offsets(self._cluster.broker.beginnings, partitions)

    async def ends(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        """See ``GroupClient``."""
        return await self._list_offsets(self._cluster.broker.ends, partitions)

    async def _list_offsets(
        self,
        action: Callable[[list[TopicPartition]], dict[TopicPartition, int]],
        partitions: Collection[TopicPartition],
    ) -> Mapping[TopicPartition, int]:
        wanted = list(partitions)
        if self._cluster.broker.offline.intersection(wanted):
            await asyncio.sleep(self._links.data.request_timeout)
            raise TransientError("KafkaTimeoutError", "list_offsets failed")
        try:
            found: Mapping[TopicPartition, int] = await self._cluster.network.call(
                self._links.data, lambda: action(wanted)
            )
        except LostError:
            raise TransientError("KafkaTimeoutError", "list_offsets failed") from None
        return found

    async def commit(self, offsets: Mapping[TopicPartition, Committed]) -> None:
        """See ``GroupClient``."""
        if self._generation < 0:
            raise TransientError("not_a_member", "commit refused")
        assignment = self._assignment
        if assignment is None or any(p not in assignment.positions for p in offsets):
            raise TransientError("IllegalStateError", "commit failed")
        while True:
            # Stamped with the generation of this try, not with the one that read the records.
            request = partial(self._cluster.group.commit, self._member, self._generation, offsets)
            sent = self._ask_group(request)
            self.committing += 1
            sent.add_done_callback(self._commit_answered)
            try:
                await asyncio.shield(sent)
            except LostError:
                await asyncio.sleep(RETRY_BACKOFF)
            except RefusedError as refused:
                if refused.code is Code.COORDINATOR_NOT_AVAILABLE:
                    await asyncio.sleep(RETRY_BACKOFF)
                    continue
                self._refused(refused.code)
                raise TransientError("CommitFailedError", "commit failed") from None
            else:
                return

    def _commit_answered(self, _sent: asyncio.Future[Any]) -> None:
        self.committing -= 1

    async def close(self) -> None:
        """See ``GroupClient``. A rebalance under way is gone through to its end first."""
        self.closing = True
        self._rejoin.set()
        await asyncio.wait([self._tasks[0]])
        self._tasks[1].cancel()
        if self._generation >= 0:
            with suppress(LostError, RefusedError):
                await self._ask_group(partial(self._cluster.group.leave, self._member))
        self._generation = -1

    def lose_coordination(self) -> None:
        """Let the coordination end for good; who waits for an assignment is told so."""
        self._faults.coordination_dead = True
        self._tasks[0].cancel()
        self._assigned.set()

    # --- fetching -------------------------------------------------------------------

    def _check_membership(self) -> None:
        if self._faults.coordination_dead:
            raise ClientLostError("coordination_ended")
        if self._faults.heartbeat_poisoned:
            raise MembershipError("KafkaError", "group coordination failed")
        if self._faults.group_errors:
            self._faults.group_errors -= 1
            raise MembershipError("KafkaError", "group coordination failed")

    def _drain(
        self, partitions: Collection[TopicPartition], max_records: int
    ) -> dict[TopicPartition, list[Record]]:
        """Take what was prefetched; an error on the way loses what was already taken."""
        drained: dict[TopicPartition, list[Record]] = {}
        assignment = self._assignment
        if assignment is None:
            return drained
        failed: dict[TopicPartition, TransientError] = {}
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
        assignment = self._assignment
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
        if not broker.has_news(positions):
            return
        self._in_flight = self._cluster.network.call(
            self._links.data, lambda: broker.fetch(positions, MOST_OF_ONE_PARTITION)
        )
        self._in_flight.add_done_callback(partial(self._received, assignment, positions))

    def _received(
        self,
        assignment: _Assignment,
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
            assignment.ends[partition] = fetched.end
            if fetched.reset_to is not None:
                assignment.positions[partition] = fetched.reset_to
            elif fetched.records or fetched.corrupt:
                assignment.buffers[partition] = _Buffer(
                    fetched.records, fetched.next_offset, fetched.corrupt
                )
            else:
                assignment.positions[partition] = fetched.next_offset
        self._wake()

    def _fetch_again(self) -> None:
        self._in_flight = None
        self._wake()

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    # --- the group --------------------------------------------------------------------

    def _ask_group(self, action: Callable[[], Any]) -> asyncio.Future[Any]:
        return self._cluster.network.call(self._links.group, action)

    def _refused(self, code: Code) -> None:
        if code in {Code.UNKNOWN_MEMBER_ID, Code.ILLEGAL_GENERATION}:
            self._generation, self._member = -1, ""
        self._rejoin.set()

    def _idle(self) -> float:
        return 0.0 if self._polling else self._loop.time() - self._polled_at

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._times.heartbeat_interval)
            if self._faults.heartbeat_poisoned:
                return
            if not self._heartbeating or self._generation < 0:
                continue
            if self._idle() >= self._times.max_poll_interval:
                await self._leave()
                continue
            group, member, generation = self._cluster.group, self._member, self._generation
            try:
                await self._ask_group(partial(group.heartbeat, member, generation))
            except LostError:
                continue
            except RefusedError as refused:
                if refused.code is not Code.COORDINATOR_NOT_AVAILABLE and self._heartbeating:
                    self._refused(refused.code)

    async def _leave(self) -> None:
        with suppress(LostError, RefusedError):
            await self._ask_group(partial(self._cluster.group.leave, self._member))
        self._refused(Code.UNKNOWN_MEMBER_ID)

    async def _coordinate(self) -> None:
        while True:
            await self._rejoin.wait()
            if self.closing:
                return
            if not self._prepared:
                self._reassigning = True
                await _in_own_task(self._callbacks.on_revoked())
                self._prepared = True
            self._heartbeating = False
            if self._assignment is not None and self._idle() >= self._times.max_poll_interval:
                await asyncio.sleep(RETRY_BACKOFF)
                continue
            partitions = await self._join()
            if partitions is None:
                await asyncio.sleep(RETRY_BACKOFF)
                continue
            self._rejoin.clear()
            self._prepared = False
            self._assignment = _Assignment(dict.fromkeys(partitions))
            self._reassigning = False
            self._heartbeating = True
            self._assigned.set()
            self._wake()
            await asyncio.sleep(0)
            await _in_own_task(self._callbacks.on_assigned(partitions))

    async def _join(self) -> list[TopicPartition] | None:
        group, member = self._cluster.group, self._member
        try:
            self._generation, self._member = await self._ask_group(partial(group.join, member))
            partitions: list[TopicPartition] = await self._ask_group(
                partial(group.sync, self._member, self._generation)
            )
        except RefusedError as refused:
            self._refused(refused.code)
            return None
        except LostError:
            return None
        return partitions


async def _in_own_task(callback: Awaitable[None]) -> None:
    """Await the callback's end and not its exceptions, as our listener does."""
    await asyncio.wait([asyncio.ensure_future(callback)])
