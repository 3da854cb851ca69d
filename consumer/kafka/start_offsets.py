"""Where reading each partition begins: at the committed offset, or at the log's beginning."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from consumer.aio import with_timeout
from consumer.contract.record import OffsetRange, Partitions, TopicPartition
from consumer.errors import TransientError
from consumer.kafka.client import GroupClient
from consumer.kafka.committed import AcceptedTarget, Committed, ids_differ
from consumer.kafka.topic_ids import TopicIds
from consumer.ports import LogReset, StartOffset

T = TypeVar("T")

PATIENCE = 1.0
"""Seconds that a poll waits for the beginnings it has just asked for."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How far a log has been read. ``end``: where it ended at least, as was last known.

    ``settled``: what lies below has ended; what is in flight behind may be stored, or never will.
    ``in_doubt``: the client has gone back in it by itself, so that it may have been truncated.
    """

    next: int
    settled: int
    end: int
    topic_id: str | None
    in_doubt: bool

    def unread_from(self, offset: int) -> int:
        """Return how many offsets from ``offset`` on were known and have not ended."""
        return max(self.end - max(self.settled, offset), 0)


@dataclass(slots=True)
class Resolved:
    """What is known of some partitions now; the others have no answer yet."""

    starts: dict[TopicPartition, StartOffset] = field(default_factory=dict)
    topic_ids: dict[TopicPartition, str | None] = field(default_factory=dict)
    gaps: list[OffsetRange] = field(default_factory=list)
    resets: list[LogReset] = field(default_factory=list)
    failed: dict[TopicPartition, TransientError] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether anything is known at all."""
        return bool(self.starts or self.failed)


@dataclass(frozen=True, slots=True)
class _LookUp:
    committed: Committed | None
    topic_id: str | None
    extent: asyncio.Task[tuple[int, int | None]]
    """Where the log begins, and where it ends if that was asked for."""


def _is_another_log(before: Reading | None, kept: Committed | None, topic_id: str | None) -> bool:
    """Tell whether a topic's id is not that of the log which was read or committed before."""
    committed_id = None if kept is None else kept.details.topic_id
    if committed_id is not None and committed_id == topic_id:
        return False
    read_id = None if before is None else before.topic_id
    return ids_differ(read_id, topic_id) or ids_differ(committed_id, topic_id)


@dataclass(slots=True)
class StartOffsetResolver:
    """Asks for each partition alone: one without a leader must not keep the others waiting."""

    request_timeout: float
    accepted: AcceptedTarget
    _asked: dict[TopicPartition, _LookUp] = field(default_factory=dict)
    _before: dict[TopicPartition, Reading] = field(default_factory=dict)
    _generation: int = 0

    def forget(self) -> None:
        """Give up what was asked: the assignment is another one."""
        self._generation += 1
        for look_up in self._asked.values():
            look_up.extent.cancel()
        self._asked.clear()

    def remember(self, partition: TopicPartition, reading: Reading) -> None:
        """Note how far a log had been read: when it is begun again, it may be another."""
        self._before[partition] = reading

    async def resolve(self, client: GroupClient, partitions: Sequence[TopicPartition]) -> Resolved:
        """Return what is known of the partitions, asking for those not asked for yet.

        Raises ``TransientError`` where the group's committed offsets are not to be had,
        ``PreconditionError`` where they say that their records were stored elsewhere.
        """
        if not partitions:
            return Resolved()
        resolved = Resolved()
        fresh = [partition for partition in partitions if partition not in self._asked]
        if fresh:
            generation = self._generation
            # The ids first. What is known of a log then is never of an older one than its id;
            # and where it is of a newer one, its id is found to be another soon.
            asking = client.topic_ids({partition.topic for partition in fresh})
            ids = await self._ask(asking, "topic_ids")
            there = [partition for partition in fresh if partition.topic in ids]
            committed = await self._ask(client.committed(there), "committed")
            unconfirmed = await self._unconfirmed(client, ids, committed)
            if generation != self._generation:
                return Resolved()
            self.accepted.check({p: kept for p, kept in committed.items() if kept is not None})
            there = [partition for partition in there if partition.topic not in unconfirmed]
            for partition in there:
                extent = asyncio.ensure_future(self._extent(client, partition))
                self._asked[partition] = _LookUp(committed[partition], ids[partition.topic], extent)
            if there:
                await asyncio.wait([self._asked[p].extent for p in there], timeout=PATIENCE)
            away = TransientError("UnknownTopicOrPartitionError", "the topic is not there")
            two = TransientError("topic_id_unconfirmed", "brokers name two ids of the topic")
            resolved.failed = {
                p: two if p.topic in unconfirmed else away for p in set(fresh).difference(there)
            }
        self._take_answers(partitions, resolved)
        return resolved

    async def _unconfirmed(
        self,
        client: GroupClient,
        ids: TopicIds,
        committed: Mapping[TopicPartition, Committed | None],
    ) -> Collection[str]:
        """Return the topics that seem to be others, and of which another broker says otherwise.

        One whose metadata is behind may name the id of a topic that has been deleted since.
        """
        others = {
            partition.topic
            for partition, kept in committed.items()
            if _is_another_log(self._before.get(partition), kept, ids[partition.topic])
        }
        if not others:
            return ()
        again = await self._ask(client.topic_ids(others), "topic_ids")
        return [topic for topic in others if again.get(topic) != ids[topic]]

    async def _extent(
        self, client: GroupClient, partition: TopicPartition
    ) -> tuple[int, int | None]:
        asking = client.beginning_offsets([partition])
        beginning = (await self._ask(asking, "beginning_offsets"))[partition]
        before = self._before.get(partition)
        if before is None or not before.in_doubt:
            return beginning, None
        return beginning, (await self._ask(client.end_offsets([partition]), "end_offsets"))[
            partition
        ]

    async def _ask(self, request: Awaitable[T], action: str) -> T:
        return await with_timeout(request, action, self.request_timeout)

    def _take_answers(self, partitions: Partitions, resolved: Resolved) -> None:
        for partition in partitions:
            look_up = self._asked.get(partition)
            if look_up is None or not look_up.extent.done():
                continue
            del self._asked[partition]
            try:
                beginning, end = look_up.extent.result()
            except TransientError as error:
                resolved.failed[partition] = error
                continue
            self._compare(partition, look_up, beginning, end, resolved)

    def _compare(
        self,
        partition: TopicPartition,
        look_up: _LookUp,
        beginning: int,
        end: int | None,
        resolved: Resolved,
    ) -> None:
        """Tell whether what was committed, or read before, belongs to this very log."""
        kept, topic_id = look_up.committed, look_up.topic_id
        offset = None if kept is None else kept.offset
        held = kept is not None and kept.details.held is not None
        before = self._before.pop(partition, None)
        resolved.topic_ids[partition] = topic_id
        if _is_another_log(before, kept, topic_id):
            if before is None:
                resolved.resets.append(LogReset(partition, offset or 0, beginning, unread=None))
            elif ids_differ(before.topic_id, topic_id):  # else it has been said already
                unread = before.unread_from(0)
                resolved.resets.append(LogReset(partition, before.next, beginning, unread))
            if beginning > 0:
                resolved.gaps.append(OffsetRange(partition, 0, beginning))
            resolved.starts[partition] = StartOffset(beginning, None, held)
        elif (
            before is not None
            and before.in_doubt
            and (topic_id is None or (end is not None and end < max(before.next, offset or 0)))
        ):
            # Truncated; or, where topics have no ids, perhaps made again. All of it is read
            # again. No commit goes below one that the log still reaches; one behind its end
            # would, when the log has grown again, let a next reader begin behind new records.
            stands = topic_id is not None and end is not None and end >= (offset or 0)
            unread = before.unread_from(end or 0)
            resolved.resets.append(LogReset(partition, before.next, beginning, unread))
            resolved.starts[partition] = StartOffset(beginning, offset if stands else None, held)
        else:
            if offset is not None and offset < beginning:
                resolved.gaps.append(OffsetRange(partition, offset, beginning))
            start = beginning if offset is None else max(offset, beginning)
            moved = kept is not None and self.accepted.moved(kept)
            resolved.starts[partition] = StartOffset(start, None if moved else offset, held)
