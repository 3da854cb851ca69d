"""Records that the brokers' retention deletes unread: told before, noticed after."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from consumer.contract.record import TopicPartition
from consumer.engine.ledger import Ledger
from consumer.errors import IncidentError, TransientError
from consumer.ports import LogReset, Observer, OffsetGap, Source, Stage

INTERVAL = 15.0
"""Seconds between two looks."""

WATCHED = (TopicPartition("", -1),)
"""Stands for the logs' starts where trouble is told: polling itself may have trouble of its own."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What becomes of unread records that are gone. ``stop_on_gap``: they end the process."""

    ledger: Ledger
    observer: Observer
    stop_on_gap: bool

    def skip_gaps(self, gaps: Collection[OffsetGap], resets: Collection[LogReset] = ()) -> None:
        """Tell what is gone, and go on behind it: so it is not found once more.

        Raises one ``IncidentError`` that names all where the settings say to stop.
        """
        incidents: list[str] = []
        for gap in gaps:
            self.observer.gap(gap)
            incidents.append(
                f"{gap.partition.name}: at most {gap.records} records, "
                f"offsets {gap.first} to {gap.end - 1}, were deleted unread; "
                "kafka.on_gap=continue goes on without them"
            )
        for reset in resets:
            self.observer.reset(reset)
            if reset.unread:
                incidents.append(
                    f"{reset.partition.name}: the log began anew, and at most "
                    f"{reset.unread} records of the old one were unread; "
                    "kafka.on_gap=continue goes on without them"
                )
        if self.stop_on_gap and incidents:
            raise IncidentError("\n".join(incidents))
        for gap in gaps:
            self.ledger.pass_to(gap.partition, gap.end)


@dataclass(slots=True)
class RetentionWatch:
    """Says how long unread records have left, and notices those that are gone.

    A poll notices a gap by the record behind it; where the whole log was deleted there is
    none, and only the log's start tells.
    ``retention_ms`` by topic; ``now`` is the wall clock in seconds, as brokers use it.
    """

    source: Source
    backlog: Backlog
    observer: Observer
    retention_ms: Mapping[str, int]
    now: Callable[[], float]
    _failures: int = 0
    _told: set[TopicPartition] = field(default_factory=set)

    async def run(self) -> None:
        """Look every ``INTERVAL`` seconds, for ever."""
        while True:
            await asyncio.sleep(INTERVAL)
            self.report_margins()
            await self.notice_gaps()

    def report_margins(self) -> None:
        """Say how long the oldest unread record of each partition has left, and where none is."""
        told, self._told = self._told, set()
        for state in self.backlog.ledger:
            kept_ms = self.retention_ms.get(state.partition.topic)
            stamp_ms = state.oldest_unread_ms
            if kept_ms is None or stamp_ms is None or stamp_ms < 0:
                continue
            # What is not being fetched has its end from the brokers' answers alone.
            end = max(self.source.highwater(state.partition) or 0, state.stable_end or 0)
            if end > state.committable:
                margin = (stamp_ms + kept_ms) / 1000 - self.now()
                self.observer.retention_margin(state.partition, margin, kept_ms / 1000)
                self._told.add(state.partition)
        for partition in told - self._told:
            self.observer.retention_margin(partition, None, 0.0)

    async def notice_gaps(self) -> None:
        """Compare where idle partitions stand with where their logs begin."""
        before = self.backlog.ledger.waiting()
        try:
            beginnings = await self.source.beginning_offsets(list(before)) if before else {}
        except TransientError as error:
            self._failures += 1
            self.observer.retrying(Stage.POLL, error, self._failures, INTERVAL, WATCHED)
            return
        if self._failures:
            # Nobody else would take back what was said, since polling itself may not have failed.
            self.observer.recovered(Stage.POLL, self._failures, WATCHED)
            self._failures = 0
        gaps = [
            OffsetGap(partition, offset, beginnings[partition])
            for partition, offset in self.backlog.ledger.waiting().items()
            if before.get(partition) == offset and beginnings.get(partition, 0) > offset
        ]
        self.backlog.skip_gaps(gaps)
        for gap in gaps:
            self.source.seek(gap.partition, gap.end)
