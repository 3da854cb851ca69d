"""A member of the group that behaves as aiokafka 0.14 does, its traps included.

A fetch hangs while the group rebalances; a commit is tried again for ever and goes out in
whatever generation the member has by then. How it fetches: ``tests/simulation/fetcher.py``.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from random import Random
from typing import Any

from consumer.contract.record import Record, TopicPartition
from consumer.errors import TransientError
from consumer.kafka.client import ClientLostError, MembershipError, RebalanceCallbacks
from consumer.kafka.committed import Committed
from consumer.kafka.topic_ids import TopicIds
from tests.fakes.group import Code, RefusedError
from tests.simulation.fetcher import (
    RETRY_BACKOFF,
    Assignment,
    ClientFaults,
    Cluster,
    Fetcher,
    Times,
)
from tests.simulation.loop import SimulationLoop
from tests.simulation.network import Links, LostError


class SimulatedClient(Fetcher):
    """Stands in for ``GroupClient``, which says what each method is for."""

    def __init__(
        self,
        cluster: Cluster,
        links: Links,
        callbacks: RebalanceCallbacks,
        times: Times,
        faults: ClientFaults,
        chance: Random,
    ) -> None:
        loop: SimulationLoop = asyncio.get_running_loop()  # type: ignore[assignment]  # ours
        super().__init__(loop, cluster, links["data"], faults, chance)
        self._links = links
        self._callbacks = callbacks
        self._times = times
        self._generation = -1
        self._member = ""
        self._reassigning = True
        self._prepared = False
        self._heartbeating = False
        self._joined_for: Mapping[str, int] = {}
        self._rejoin = asyncio.Event()
        self._rejoin.set()
        self._assigned = asyncio.Event()
        self.closing = False
        self.committing = 0
        """How many commits have no answer yet."""
        self._polling = 0
        self._polled_at = self._loop.time()
        self._tasks = [
            asyncio.ensure_future(self._coordinate()),
            asyncio.ensure_future(self._beat()),
        ]

    # --- GroupClient --------------------------------------------------------------

    def highwater(self, partition: TopicPartition) -> int | None:
        seen = self.seen(partition)
        return None if seen is None else seen.end

    def last_stable_offset(self, partition: TopicPartition) -> int | None:
        seen = self.seen(partition)
        return None if seen is None else seen.stable

    def unreachable(self) -> Mapping[TopicPartition, str]:
        """What cannot be reached is not told here."""
        return {}

    async def fetch(
        self, partitions: Collection[TopicPartition], max_records: int, timeout: float
    ) -> Mapping[TopicPartition, Sequence[Record]]:
        self._polling += 1
        try:
            deadline = self._loop.time() + timeout
            while True:
                # Who waits is told when the coordination ends.
                self._check_membership()
                if self._reassigning:
                    # Without a limit, as the real one waits.
                    self._assigned.clear()
                    await self._assigned.wait()
                    continue
                if self.away(partitions):
                    # Who asks again and again is told so, after a moment.
                    await asyncio.sleep(RETRY_BACKOFF)
                drained = self.drain(partitions, max_records)
                left = deadline - self._loop.time()
                if drained or left <= 0:
                    return drained
                await self.wait(left)
        finally:
            self._polling -= 1
            self._polled_at = self._loop.time()

    async def committed(
        self, partitions: Collection[TopicPartition]
    ) -> Mapping[TopicPartition, Committed | None]:
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
        wanted = list(topics)
        try:
            found: TopicIds = await self._cluster.network.call(
                self._links["data"], lambda: self._cluster.broker.topic_ids(wanted)
            )
        except LostError:
            raise TransientError("KafkaTimeoutError", "topic_ids failed") from None
        return found

    def partition_counts(self) -> Mapping[str, int]:
        """The client itself looks at it with each heartbeat."""
        return Counter(partition.topic for partition in self._cluster.broker.partitions)

    async def beginning_offsets(
        self, partitions: Collection[TopicPartition]
    ) -> Mapping[TopicPartition, int]:
        return await self._list_offsets(self._cluster.broker.beginnings, partitions)

    async def end_offsets(
        self, partitions: Collection[TopicPartition]
    ) -> Mapping[TopicPartition, int]:
        return await self._list_offsets(self._cluster.broker.ends, partitions)

    async def _list_offsets(
        self,
        action: Callable[[list[TopicPartition]], dict[TopicPartition, int]],
        partitions: Collection[TopicPartition],
    ) -> Mapping[TopicPartition, int]:
        wanted = list(partitions)
        if any(partition.topic in self._cluster.broker.away for partition in wanted):
            await asyncio.sleep(RETRY_BACKOFF)
            raise TransientError("UnknownTopicOrPartitionError", "list_offsets failed")
        if self._cluster.broker.offline.intersection(wanted):
            await asyncio.sleep(self._links["data"].request_timeout)
            raise TransientError("KafkaTimeoutError", "list_offsets failed")
        try:
            found: Mapping[TopicPartition, int] = await self._cluster.network.call(
                self._links["data"], lambda: action(wanted)
            )
        except LostError:
            raise TransientError("KafkaTimeoutError", "list_offsets failed") from None
        return found

    async def commit(self, offsets: Mapping[TopicPartition, Committed]) -> None:
        if self._generation < 0:
            raise TransientError("not_a_member", "commit refused")
        assignment = self.assignment
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
                if refused.code is Code.UNKNOWN_TOPIC:
                    raise TransientError(refused.code, "commit failed") from None
                self._refused(refused.code)
                raise TransientError("CommitFailedError", "commit failed") from None
            else:
                return

    def _commit_answered(self, _sent: asyncio.Future[Any]) -> None:
        self.committing -= 1

    async def close(self) -> None:
        """A rebalance under way is gone through to its end first."""
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
        self.wake()

    def _check_membership(self) -> None:
        if self._faults.coordination_dead:
            raise ClientLostError("coordination_ended")
        if self._faults.heartbeat_poisoned:
            raise MembershipError("KafkaError", "group coordination failed")
        if self._faults.group_errors:
            self._faults.group_errors -= 1
            raise MembershipError("KafkaError", "group coordination failed")

    # --- the group --------------------------------------------------------------------

    def _ask_group(self, action: Callable[[], Any]) -> asyncio.Future[Any]:
        return self._cluster.network.call(self._links["group"], action)

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
            if self._heartbeating and self.partition_counts() != self._joined_for:
                # The metadata says that other topics are there: all must join again.
                self._rejoin.set()
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
            if self.assignment is not None and self._idle() >= self._times.max_poll_interval:
                await asyncio.sleep(RETRY_BACKOFF)
                continue
            partitions = await self._join()
            if partitions is None:
                await asyncio.sleep(RETRY_BACKOFF)
                continue
            self._rejoin.clear()
            self._prepared = False
            self.assignment = Assignment(dict.fromkeys(partitions))
            self._reassigning = False
            self._heartbeating = True
            self._assigned.set()
            self.wake()
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
        # What was shared out, not what was there when it asked to join: a topic may have come and
        # gone between, and would be missed for ever.
        self._joined_for = Counter(
            one.topic for given in group.assignment.values() for one in given
        )
        return partitions


async def _in_own_task(callback: Awaitable[None]) -> None:
    """Await the callback's end and not its exceptions, as our listener does."""
    await asyncio.wait([asyncio.ensure_future(callback)])
