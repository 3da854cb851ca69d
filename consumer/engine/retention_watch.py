"""Watching how close unread records are to being deleted by the broker's retention."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from consumer.contract.record import TopicPartition
from consumer.engine.backlog import Backlog
from consumer.errors import IncidentError, TransientError
from consumer.ports import Observer, OffsetGap, Stage

INTERVAL = 15.0
"""Seconds between two looks."""

WATCHED = (TopicPartition("", -1),)
"""Stands for the logs' starts where trouble is told: polling itself may have trouble of its own."""


class LogStarts(Protocol):
    """Where the logs begin."""

    async def beginnings(
        self, partitions: Collection[TopicPartition]
    ) -> Mapping[TopicPartition, int]:
        """Return the offset of the oldest record there is. Raises ``TransientError``."""
        ...


class RetentionWatch:
    """Says how long unread records have left, and notices those that are gone.

    A poll notices a gap by the record behind it; where the whole log was deleted there is
    none, and only the log's start tells.
    """

    def __init__(
        self,
        *,
        logs: LogStarts,
        unread: Backlog,
        observer: Observer,
        retention_ms: Mapping[str, int],
        now: Callable[[], float],
    ) -> None:
        """``retention_ms`` by topic; ``now`` is the wall clock in seconds, as brokers use it."""
        self._logs = logs
        self._unread = unread
        self._observer = observer
        self._retention_ms = retention_ms
        self._now = now
        self._failures = 0
        self._told: set[TopicPartition] = set()

    async def run(self) -> None:
        """Look every ``INTERVAL`` seconds, for ever."""
        while True:
            await asyncio.sleep(INTERVAL)
            self.report_margins()
            await self.notice_gaps()

    def report_margins(self) -> None:
        """Say how long the oldest unread record of each partition has left, and where none is."""
        told, self._told = self._told, set()
        for partition, stamp_ms in self._unread.oldest_unread_ms().items():
            kept_ms = self._retention_ms.get(partition.topic)
            if kept_ms is not None and stamp_ms >= 0:
                margin = (stamp_ms + kept_ms) / 1000 - self._now()
                self._observer.retention_margin(partition, margin, kept_ms / 1000)
                self._told.add(partition)
        for partition in told - self._told:
            self._observer.retention_margin(partition, None, 0.0)

    async def notice_gaps(self) -> None:
        """Compare where idle partitions stand with where their logs begin."""
        waiting = self._unread.idle_positions()
        if not waiting:
            self._recovered()
            return
        try:
            beginnings = await self._logs.beginnings(list(waiting))
        except TransientError as error:
            self._failures += 1
            self._observer.retrying(Stage.POLL, error, self._failures, INTERVAL, WATCHED)
            return
        self._recovered()
        incidents: list[str] = []
        for partition, offset in self._unread.idle_positions().items():
            beginning = beginnings.get(partition, 0)
            if waiting.get(partition) == offset and beginning > offset:
                try:
                    self._unread.cross(OffsetGap(partition, offset, beginning))
                except IncidentError as error:
                    incidents.append(str(error))
        if incidents:
            raise IncidentError("\n".join(incidents))

    def _recovered(self) -> None:
        """Take back what was said: nobody else would, since polling itself may not have failed."""
        if self._failures:
            self._observer.recovered(Stage.POLL, self._failures, WATCHED)
            self._failures = 0
