"""Reading the topics without losing a record, whatever the client does.

The one rule: a partition is fetched only after this class has itself sought it
to where reading must begin, and after every error it is sought back to the
record behind the last one handed out. The client's own idea of its position is
never trusted, since it counts records that an exception threw away.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from consumer.contract.record import Record, TopicPartition
from consumer.errors import TransientError
from consumer.ports import AssignmentListener, Gap, Polled, Reset, Start
from consumer.stream.client import (
    ClientLostError,
    GroupClient,
    MembershipError,
    RebalanceCallbacks,
)

FAILURES_UNTIL_REPLACED = 5
"""So often in a row the group may fail a poll before the client is replaced."""

ISOLATION_WAIT = 1.0
"""Seconds a suspected partition has, alone, to prove that it can be read."""

T = TypeVar("T")

OpenClient = Callable[[RebalanceCallbacks], Awaitable[GroupClient]]


class KafkaSource:
    """``Source`` over a group client, which it replaces when it is beyond repair."""

    def __init__(
        self,
        open_client: OpenClient,
        *,
        request_timeout: float,
        max_batch_bytes: int,
    ) -> None:
        """``request_timeout`` in seconds bounds every single exchange with the brokers."""
        self._open_client = open_client
        self._request_timeout = request_timeout
        self._max_batch_bytes = max_batch_bytes
        self._listener: AssignmentListener | None = None
        self._client: GroupClient | None = None
        self._next: dict[TopicPartition, int] = {}
        self._assigned: frozenset[TopicPartition] = frozenset()
        self._generation = 0
        self._suspects: deque[TopicPartition] = deque()
        self._failing: set[TopicPartition] = set()
        self._group_failures = 0
        self._commit: asyncio.Task[None] | None = None

    # --- what the client calls ------------------------------------------------

    async def on_revoked(self) -> None:
        """Hand the revocation on, then forget every position."""
        if self._listener is not None:
            await self._listener.on_revoked()
        self._forget()

    async def on_assigned(self, partitions: Collection[TopicPartition]) -> None:
        """Hand the assignment on; each partition is sought before its first fetch."""
        self._forget()
        self._assigned = frozenset(partitions)
        if self._listener is not None:
            await self._listener.on_assigned(partitions)

    def _forget(self) -> None:
        if self._commit is not None:
            # The client would try it again in whatever generation it has by then, and so undo
            # what the next owner has committed meanwhile.
            self._commit.cancel()
        self._generation += 1
        self._assigned = frozenset()
        self._next.clear()
        self._suspects.clear()
        self._failing.clear()

    # --- what the engine calls ------------------------------------------------

    def listen(self, listener: AssignmentListener) -> None:
        """Name who is told of rebalances; before the first poll."""
        self._listener = listener

    async def poll(
        self, partitions: Collection[TopicPartition], max_records: int, timeout: float
    ) -> Polled:
        """See ``Source``."""
        client = await self._opened()
        generation = self._generation
        ready: list[TopicPartition] = []
        try:
            starts, gaps = await self._seed(client, partitions)
            if starts:
                # Told at once: a failure of the fetch must not swallow where reading began.
                return Polled(starts=starts, gaps=gaps)
            ready = self._fetchable(partitions)
            wait = max(timeout, ISOLATION_WAIT) if self._suspects else timeout
            fetched = await client.fetch(ready, max_records, wait)
        except (ClientLostError, MembershipError) as error:
            await self._after_group_failure(error)
            raise
        except TransientError as error:
            return self._after_failure(client, generation, ready, error)
        self._group_failures = 0
        if generation != self._generation:
            # What came may belong to the new assignment, which is not sought yet: its first
            # poll seeks, so these records are read again.
            return Polled()
        if self._suspects:
            self._suspects.popleft()
        self._failing.difference_update(fetched)
        return await self._accept(client, generation, fetched)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """See ``Source``."""
        if partition in self._next and self._client is not None:
            self._next[partition] = offset
            self._client.seek(partition, offset)

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """See ``Source``. One commit at a time: a late one must not land behind a newer one."""
        if self._client is None:
            raise TransientError("not_connected", "commit refused")
        if self._commit is not None and not self._commit.done():
            raise TransientError("commit_pending", "an earlier commit has no answer yet")
        # The client retries without a limit and shields its request from cancellation.
        self._commit = asyncio.ensure_future(self._client.commit(dict(offsets)))
        await self._within(self._commit, "commit")

    async def committed(
        self, partitions: Collection[TopicPartition]
    ) -> Mapping[TopicPartition, int | None]:
        """See ``Source``."""
        client = await self._opened()
        return await self._within(asyncio.ensure_future(client.committed(partitions)), "committed")

    async def ends(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Return the offsets behind the last stable record of each partition."""
        client = await self._opened()
        return await self._within(asyncio.ensure_future(client.ends(partitions)), "ends")

    async def beginnings(
        self, partitions: Collection[TopicPartition]
    ) -> Mapping[TopicPartition, int]:
        """Return the offset of the oldest record the broker still has, for each partition."""
        client = await self._opened()
        return await self._within(
            asyncio.ensure_future(client.beginnings(partitions)), "beginnings"
        )

    def highwater(self, partition: TopicPartition) -> int | None:
        """Return the end of an assigned partition as of its last fetch, None before it."""
        return self._client.highwater(partition) if self._client is not None else None

    def end_reached(self, partition: TopicPartition, end: int) -> bool:
        """See ``Source``."""
        position = self._client.position(partition) if self._client is not None else None
        return partition in self._next and position is not None and position >= end

    async def close(self, timeout: float) -> None:
        """Leave the group within ``timeout`` seconds, or drop the connection."""
        client, self._client = self._client, None
        self._listener = None
        self._forget()
        if client is not None:
            await asyncio.wait([asyncio.ensure_future(_close(client))], timeout=timeout)

    # --- how ------------------------------------------------------------------

    async def _opened(self) -> GroupClient:
        if self._client is None:
            self._client = await self._open_client(self)
        return self._client

    async def _replace(self) -> None:
        client, self._client = self._client, None
        self._group_failures = 0
        self._forget()
        if self._listener is not None:
            self._listener.on_lost()
        if client is not None:
            await asyncio.wait(
                [asyncio.ensure_future(_close(client))], timeout=self._request_timeout
            )

    async def _within(self, task: asyncio.Future[T], action: str) -> T:
        """Await an exchange. Left without an answer it goes on, and nobody minds how it ends."""
        task.add_done_callback(_consume)
        done, _ = await asyncio.wait([task], timeout=self._request_timeout)
        if not done:
            raise TransientError("timeout", f"{action} had no answer")
        if task.cancelled():
            raise TransientError("outdated", f"{action} was given up with its assignment")
        return task.result()

    async def _seed(
        self, client: GroupClient, partitions: Iterable[TopicPartition]
    ) -> tuple[dict[TopicPartition, Start], list[Gap]]:
        fresh = [p for p in partitions if p not in self._next and p in self._assigned]
        if not fresh:
            return {}, []
        generation = self._generation
        asked = asyncio.gather(client.committed(fresh), client.beginnings(fresh))
        committed, beginnings = await self._within(asked, "offsets")
        if generation != self._generation:
            return {}, []
        starts: dict[TopicPartition, Start] = {}
        gaps: list[Gap] = []
        for partition in fresh:
            offset, beginning = committed[partition], beginnings[partition]
            if offset is not None and offset < beginning:
                gaps.append(Gap(partition, offset, beginning))
            start = beginning if offset is None else max(offset, beginning)
            starts[partition] = Start(start, offset)
            self._next[partition] = start
            client.seek(partition, start)
        return starts, gaps

    def _fetchable(self, partitions: Iterable[TopicPartition]) -> list[TopicPartition]:
        """All that is sought; but one alone while it has to be found out which cannot be read."""
        ready = [partition for partition in partitions if partition in self._next]
        while self._suspects and self._suspects[0] not in ready:
            self._suspects.popleft()
        if not self._suspects:
            self._suspects.extend(partition for partition in ready if partition in self._failing)
        return [self._suspects[0]] if self._suspects else ready

    async def _accept(
        self,
        client: GroupClient,
        generation: int,
        fetched: Mapping[TopicPartition, Sequence[Record]],
    ) -> Polled:
        gaps: list[Gap] = []
        resets: list[Reset] = []
        jumped = [p for p, records in fetched.items() if records[0].offset > self._next[p]]
        beginnings = await self._beginnings_or_none(client, jumped)
        if generation != self._generation:
            return Polled()
        for partition, records in fetched.items():
            expected, found = self._next[partition], records[0].offset
            if found < expected:
                resets.append(Reset(partition, expected, found))
            elif found > expected and min(beginnings.get(partition, 0), found) > expected:
                gaps.append(Gap(partition, expected, min(beginnings[partition], found)))
        return Polled(self._bounded(client, fetched), gaps=gaps, resets=resets)

    async def _beginnings_or_none(
        self, client: GroupClient, partitions: Collection[TopicPartition]
    ) -> Mapping[TopicPartition, int]:
        """Tell a hole that retention made from one that transactions leave; best effort."""
        if not partitions:
            return {}
        try:
            return await self._within(
                asyncio.ensure_future(client.beginnings(partitions)), "beginnings"
            )
        except TransientError:
            return {}

    def _bounded(
        self, client: GroupClient, fetched: Mapping[TopicPartition, Sequence[Record]]
    ) -> dict[TopicPartition, Sequence[Record]]:
        """Hand out at most ``max_batch_bytes`` (one record at least); the rest is fetched again."""
        room = self._max_batch_bytes
        taken: dict[TopicPartition, Sequence[Record]] = {}
        for partition, records in fetched.items():
            count = 0
            for record in records:
                size = len(record.value or b"") + len(record.key or b"")
                if size > room and (taken or count):
                    room = -1
                    break
                room -= size
                count += 1
            if count:
                taken[partition] = records[:count]
                self._next[partition] = records[count - 1].offset + 1
            if count < len(records):
                self._next[partition] = records[count].offset
                client.seek(partition, records[count].offset)
        return taken

    def _after_failure(
        self,
        client: GroupClient,
        generation: int,
        fetched: Sequence[TopicPartition],
        error: TransientError,
    ) -> Polled:
        """Seek everything back, and find the one to blame by reading one at a time."""
        if generation != self._generation or not fetched:
            raise error
        for partition, offset in self._next.items():
            client.seek(partition, offset)
        if len(fetched) > 1:
            self._suspects.extend(fetched)
            return Polled()
        if self._suspects:
            self._suspects.popleft()
        self._failing.update(fetched)
        return Polled(failed=dict.fromkeys(fetched, error))

    async def _after_group_failure(self, error: ClientLostError | MembershipError) -> None:
        self._group_failures += 1
        if isinstance(error, ClientLostError) or self._group_failures >= FAILURES_UNTIL_REPLACED:
            await self._replace()


async def _close(client: GroupClient) -> None:
    try:
        await client.close()
    except TransientError:
        # The membership ends by the session timeout instead; there is nothing left to save.
        return


def _consume(task: asyncio.Future[Any]) -> None:
    """Take a late exception, so that it is not reported as never retrieved."""
    if not task.cancelled():
        task.exception()
