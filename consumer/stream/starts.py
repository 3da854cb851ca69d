"""Where reading each partition begins: at the committed offset, or at the log's beginning."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from consumer.contract.record import TopicPartition
from consumer.errors import TransientError
from consumer.ports import Gap, Start
from consumer.stream.client import GroupClient
from consumer.stream.committed import Committed
from consumer.stream.exchange import answered

PATIENCE = 1.0
"""Seconds that a poll waits for the beginnings it has just asked for."""


@dataclass(slots=True)
class Found:
    """What is known of some partitions now; the others have no answer yet."""

    starts: dict[TopicPartition, Start] = field(default_factory=dict)
    gaps: list[Gap] = field(default_factory=list)
    failed: dict[TopicPartition, TransientError] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether anything is known at all."""
        return bool(self.starts or self.failed)


@dataclass(frozen=True, slots=True)
class _Question:
    committed: Committed | None
    beginning: asyncio.Task[int]


class StartingPoints:
    """Asks for each partition alone: one without a leader must not keep the others waiting."""

    def __init__(self, request_timeout: float) -> None:
        """``request_timeout`` in seconds."""
        self._request_timeout = request_timeout
        self._asked: dict[TopicPartition, _Question] = {}
        self._generation = 0

    def forget(self) -> None:
        """Give up what was asked: the assignment is another one."""
        self._generation += 1
        for question in self._asked.values():
            question.beginning.cancel()
        self._asked.clear()

    async def find(self, client: GroupClient, partitions: Sequence[TopicPartition]) -> Found:
        """Return what is known of the partitions, asking for those not asked for yet.

        Raises ``TransientError`` where the group's committed offsets are not to be had.
        """
        if not partitions:
            return Found()
        fresh = [partition for partition in partitions if partition not in self._asked]
        if fresh:
            generation = self._generation
            committed = await answered(client.committed(fresh), "committed", self._request_timeout)
            if generation != self._generation:
                return Found()
            for partition in fresh:
                beginning = asyncio.ensure_future(self._beginning(client, partition))
                self._asked[partition] = _Question(committed[partition], beginning)
            await asyncio.wait([self._asked[p].beginning for p in fresh], timeout=PATIENCE)
        return self._answers(partitions)

    async def _beginning(self, client: GroupClient, partition: TopicPartition) -> int:
        request = client.beginnings([partition])
        return (await answered(request, "beginnings", self._request_timeout))[partition]

    def _answers(self, partitions: Sequence[TopicPartition]) -> Found:
        found = Found()
        for partition in partitions:
            question = self._asked.get(partition)
            if question is None or not question.beginning.done():
                continue
            del self._asked[partition]
            try:
                beginning = question.beginning.result()
            except TransientError as error:
                found.failed[partition] = error
                continue
            offset = None if question.committed is None else question.committed.offset
            if offset is not None and offset < beginning:
                found.gaps.append(Gap(partition, offset, beginning))
            start = beginning if offset is None else max(offset, beginning)
            found.starts[partition] = Start(start, offset)
        return found
