"""Reading the topics without losing a record, whatever the client does.

The one rule: a partition is fetched only after this class has itself sought it to where reading
must begin, and after every error it is sought back to the engine's position: behind the last
record handed out. The client's own position is never trusted: it counts what an exception threw
away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from consumer.aio import stop_quietly, with_timeout
from consumer.contract.record import (
    OffsetRange,
    Offsets,
    Partitions,
    Records,
    TopicPartition,
    bytes_of,
)
from consumer.errors import TransientError
from consumer.kafka.client import (
    ClientLostError,
    GroupClient,
    MembershipError,
    PartitionsError,
    RebalanceCallbacks,
    within_bytes,
)
from consumer.kafka.committed import AcceptedTarget, OffsetCommitter
from consumer.kafka.start_offsets import Reading, Resolved, StartOffsetResolver
from consumer.kafka.topic_ids import TopicWatch, changed_logs
from consumer.ports import NO_HOLDS, AssignmentListener, GoneError, Holds, PartitionProgress, Polled

FAILURES_UNTIL_REPLACED = 5
"""So often in a row the group may fail a poll before the client is replaced."""

UNKNOWN_TOPIC = "UnknownTopicOrPartitionError"
"""What a commit is refused with whose topic is no more."""

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
        topics: Collection[str],
        metadata_max_age: float,
        accepted: AcceptedTarget | None = None,
    ) -> None:
        """``topics``: the subscribed ones, whose ids are asked for every ``metadata_max_age``.

        ``accepted``: where the records are stored. ``request_timeout`` bounds each exchange.
        """
        self._open_client = open_client
        self._accepted = accepted or AcceptedTarget()
        self._topics = TopicWatch(topics, metadata_max_age, request_timeout)
        self._request_timeout = request_timeout
        self._max_batch_bytes = max_batch_bytes
        self._listener: AssignmentListener | None = None
        self._client: GroupClient | None = None
        self._membership: object = None
        """Of whose callbacks are heard: not those of a client that has been given up."""
        self._opening = asyncio.Lock()
        self._topic_ids: dict[TopicPartition, str | None] = {}
        """Of which logs the engine's positions speak: of the partitions that are being read."""
        self._assigned: frozenset[TopicPartition] = frozenset()
        self._generation = 0
        self._starts = StartOffsetResolver(request_timeout, self._accepted)
        self._group_failures = 0
        self._commits = OffsetCommitter(self._accepted.target, request_timeout)

    # --- what the client calls ------------------------------------------------

    async def _revoked(self, membership: object) -> None:
        """Hand the revocation on, then forget every position."""
        if membership is not self._membership:
            return
        self._starts.forget()  # nobody takes what it would tell, and a reset is told only once
        self._remember(self._topic_ids)
        if self._listener is not None:
            await self._listener.on_revoked()
        if membership is self._membership:
            # Else the client was lost meanwhile, and what is known now is another one's.
            self._forget()

    async def _joined(self, membership: object, partitions: Partitions) -> None:
        """Hand the assignment on; each partition is sought before its first fetch."""
        if membership is not self._membership:
            return
        self._forget()
        self._assigned = frozenset(partitions)
        if self._listener is not None:
            await self._listener.on_assigned(partitions)

    def _forget(self) -> None:
        """Forget the assignment: while the engine still knows how far it has read, if it does."""
        self._generation += 1
        self._give_up(list(self._topic_ids))
        self._commits.drop()
        self._assigned = frozenset()
        self._starts.forget()
        self._topics.forget()

    def _give_up(self, partitions: Partitions, *, in_doubt: bool = False) -> Partitions:
        """Read the partitions no further: where reading goes on is looked up anew."""
        self._remember(partitions, in_doubt=in_doubt)
        for partition in partitions:
            self._commits.drop()
            del self._topic_ids[partition]
        return partitions

    def _remember(self, partitions: Iterable[TopicPartition], *, in_doubt: bool = False) -> None:
        for partition in partitions:
            progress = self._progress(partition)
            if progress is not None and progress.position is not None:
                reading = Reading(
                    next=progress.position,
                    settled=progress.committable,
                    end=max(self.highwater(partition) or 0, progress.stable_end or 0),
                    topic_id=self._topic_ids[partition],
                    in_doubt=in_doubt,
                )
                self._starts.remember(partition, reading)

    def _progress(self, partition: TopicPartition) -> PartitionProgress | None:
        return None if self._listener is None else self._listener.progress(partition)

    def _position(self, partition: TopicPartition) -> int | None:
        progress = self._progress(partition)
        return None if progress is None else progress.position

    # --- what the engine calls ------------------------------------------------

    def listen(self, listener: AssignmentListener) -> None:
        """Name who is told of rebalances; before the first poll."""
        self._listener = listener

    async def poll(self, partitions: Partitions, max_records: int, timeout: float) -> Polled:
        client = await self._opened()
        generation = self._generation
        tried: Sequence[TopicPartition] = ()
        try:
            unknown = [p for p in partitions if p not in self._topic_ids and p in self._assigned]
            resolved = await self._starts.resolve(client, unknown)
            if generation != self._generation:
                return Polled()
            if resolved:
                # Told at once: a failure of the fetch must not swallow where reading began.
                return self._begin(client, resolved)
            gone = changed_logs(self._topic_ids, self._topics.answer(client))
            if gone:
                return Polled(gone=self._give_up(gone))
            tried = [partition for partition in partitions if partition in self._topic_ids]
            fetched = await client.fetch(tried, max_records, timeout)
        except (ClientLostError, MembershipError) as error:
            await self._after_group_failure(client, tried, error)
            raise
        except TransientError as error:
            failed = error.failed if isinstance(error, PartitionsError) else {}
            if generation == self._generation:
                self._seek_back(client, failed or tried)
            if not failed:
                raise
            return Polled(failed=failed) if generation == self._generation else Polled()
        self._group_failures = 0
        if generation != self._generation:
            # It may belong to the new assignment, whose first poll seeks: it is read again.
            return Polled()
        return await self._accept(client, generation, tried, fetched)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        if partition in self._topic_ids and self._client is not None:
            self._client.seek(partition, offset)

    async def commit(self, offsets: Offsets, holds: Holds = NO_HOLDS) -> None:
        client, generation = self._client, self._generation
        if client is None:
            raise TransientError("not_connected", "commit refused")
        if given_up := offsets.keys() - self._topic_ids.keys():
            # The poll that tells of it goes on; without an id it would be the new log's offset.
            raise GoneError(given_up)
        try:
            await self._commits.send(client, offsets, self._topic_ids, holds)
        except TransientError as error:
            if error.cause != UNKNOWN_TOPIC:
                raise
            asking = client.topic_ids({partition.topic for partition in offsets})
            ids = await self._ask(asking, "topic_ids")
            gone = [p for p in changed_logs(self._topic_ids, ids) if p in offsets]
            if not gone or generation != self._generation:
                raise
            raise GoneError(self._give_up(gone)) from error

    async def committed(self, partitions: Partitions) -> Mapping[TopicPartition, int | None]:
        client = await self._opened()
        found = await self._ask(client.committed(partitions), "committed")
        return {
            p: None
            if kept is None or self._accepted.moved(kept) or self._topics.log_changed(p, kept)
            else kept.offset
            for p, kept in found.items()
        }

    async def end_offsets(self, partitions: Partitions) -> Offsets:
        client = await self._opened()
        return await self._ask(client.end_offsets(partitions), "end_offsets")

    async def _ask(self, request: Awaitable[T], action: str) -> T:
        return await with_timeout(request, action, self._request_timeout)

    def highwater(self, partition: TopicPartition) -> int | None:
        return self._client.highwater(partition) if self._client is not None else None

    def last_stable_offset(self, partition: TopicPartition) -> int | None:
        return self._client.last_stable_offset(partition) if self._client is not None else None

    def unreachable(self) -> Mapping[TopicPartition, str]:
        return self._client.unreachable() if self._client is not None else {}

    def missing_topics(self) -> Collection[str]:
        if self._client is None:
            return ()
        return self._topics.missing(self._client.partition_counts(), self._assigned)

    async def close(self, timeout: float) -> None:
        """Leave the group within ``timeout`` seconds, or drop the connection."""
        self._listener = None
        await self._give_up_client(timeout)

    # --- the client -----------------------------------------------------------

    async def _opened(self) -> GroupClient:
        async with self._opening:
            # Two of them, asked for at once, would be two members of the group.
            if self._client is None:
                self._membership = membership = object()
                self._client = await self._open_client(
                    RebalanceCallbacks(
                        partial(self._revoked, membership), partial(self._joined, membership)
                    )
                )
            return self._client

    async def _after_group_failure(
        self,
        client: GroupClient,
        tried: Sequence[TopicPartition],
        error: ClientLostError | MembershipError,
    ) -> None:
        self._group_failures += 1
        if isinstance(error, ClientLostError) or self._group_failures >= FAILURES_UNTIL_REPLACED:
            self._group_failures = 0
            self._forget()
            if self._listener is not None:
                self._listener.on_lost()
            await self._give_up_client(self._request_timeout)
        else:
            self._seek_back(client, tried)

    async def _give_up_client(self, timeout: float) -> None:
        self._membership = None
        self._forget()  # while the client can still say where the logs end
        client, self._client = self._client, None
        if client is not None:
            # Where it fails the membership ends by the session timeout instead.
            await stop_quietly(client.close(), timeout)

    # --- before and after a fetch ---------------------------------------------

    def _begin(self, client: GroupClient, resolved: Resolved) -> Polled:
        for partition, start in resolved.starts.items():
            self._topic_ids[partition] = resolved.topic_ids[partition]
            client.seek(partition, start.offset)
        return Polled(
            starts=resolved.starts,
            gaps=resolved.gaps,
            resets=resolved.resets,
            failed=resolved.failed,
        )

    def _seek_back(self, client: GroupClient, partitions: Iterable[TopicPartition]) -> None:
        for partition in partitions:
            position = self._position(partition)
            if position is not None:
                client.seek(partition, position)

    async def _accept(
        self,
        client: GroupClient,
        generation: int,
        tried: Sequence[TopicPartition],
        fetched: Records,
    ) -> Polled:
        """Hand out what was fetched where it follows what was handed out before."""
        expected = {p: at for p in tried if (at := self._position(p)) is not None}
        moved = self._moved(client, expected, fetched)
        # A client goes back by itself from beyond a log's end: made again, truncated, or told so by
        # mistake; the look-up tells which.
        back = [partition for partition, found in moved.items() if found < expected[partition]]
        self._give_up(back, in_doubt=True)
        beginnings: Offsets = {}
        if len(moved) > len(back):
            forward = [partition for partition in moved if partition not in back]
            beginnings = await self._beginnings_or_none(client, forward)
            if generation != self._generation:
                return Polled()
        # What was sought meanwhile is read from there, and what a commit has found gone is given
        # up; what had come of them is outdated.
        valid = {p for p, at in expected.items() if p in self._topic_ids if at == self._position(p)}
        gaps: list[OffsetRange] = []
        passed: dict[TopicPartition, int] = {}
        for partition, found in moved.items():
            position = expected[partition]
            if partition not in valid:
                continue
            if partition not in beginnings:
                # A gap must not pass unseen: read it again when somebody can tell what it is.
                client.seek(partition, position)
                valid.discard(partition)
                continue
            if min(beginnings[partition], found) > position:
                gaps.append(OffsetRange(partition, position, min(beginnings[partition], found)))
            passed[partition] = found
        taken = self._bounded(client, {p: r for p, r in fetched.items() if p in valid})
        return Polled(taken, gaps=gaps, gone=back, passed=passed)

    def _moved(
        self,
        client: GroupClient,
        expected: Offsets,
        fetched: Records,
    ) -> dict[TopicPartition, int]:
        """Return where reading goes on elsewhere than expected.

        Be it before any record has come of there: a client that was sent to the beginning of
        a log made anew would, after an error, be sought back to where the old log had been.
        """
        moved: dict[TopicPartition, int] = {}
        for partition, position in expected.items():
            records = fetched.get(partition)
            found = records[0].offset if records else client.position(partition)
            if found is not None and found != position:
                moved[partition] = found
        return moved

    async def _beginnings_or_none(self, client: GroupClient, partitions: Partitions) -> Offsets:
        """Tell a hole that retention made from one that transactions leave."""
        try:
            return await self._ask(client.beginning_offsets(partitions), "beginning_offsets")
        except TransientError:
            return {}

    def _bounded(self, client: GroupClient, fetched: Records) -> Records:
        """Hand out at most ``max_batch_bytes`` (one record at least); the rest is fetched again."""
        if sum(map(bytes_of, fetched.values())) <= self._max_batch_bytes:
            return fetched
        taken, rest = within_bytes(fetched, self._max_batch_bytes)
        for partition, offset in rest.items():
            client.seek(partition, offset)
        readable = {partition: () for partition, records in fetched.items() if not records}
        return {**readable, **taken}
