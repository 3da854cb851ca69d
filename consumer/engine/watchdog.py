"""Watching that work moves, and in time: a consumer that does nothing looks healthy outside."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from consumer.contract.record import Offsets, TopicPartition
from consumer.contract.times import usable_time
from consumer.engine.ledger import Ledger, PartitionState
from consumer.ports import Observer, Source
from consumer.state.retention import FIRST_TIME

INTERVAL = 1.0
"""Seconds between two looks."""

MARGIN_INTERVAL = 15.0
"""Seconds between two looks at how long unread records are kept: a short time is a line of the log
each time."""


@dataclass(slots=True)
class Watchdog:
    """Reports lag, how late the event loop is, and a stall: lag of which nothing moves.

    And for how long the oldest unread record is still kept: for ``retention_ms``, by topic.

    ``stall_after``: so many seconds without movement, while there is lag, are a stall; so many
    seconds open, a transaction counts as hanging: behind it a partition looks idle for ever.
    ``now`` is the wall clock in seconds, as records are stamped by it.
    """

    source: Source
    ledger: Ledger
    observer: Observer
    stall_after: float
    now: Callable[[], float]
    retention_ms: Mapping[str, int] = field(default_factory=dict)
    _margins: set[TopicPartition] = field(default_factory=set)

    def learn_ends(self, stable_ends: Offsets) -> None:
        """Take the offsets behind the last stable records, as brokers have told them just now."""
        for state in self.ledger:
            state.stable_end = stable_ends.get(state.partition, state.stable_end)

    async def run(self) -> None:
        """Look every second, for ever. The clock is the loop's, which no clock change moves."""
        clock = asyncio.get_running_loop().time
        moved_at, seen, stalled = clock(), dict[TopicPartition, int](), False
        margins_due = clock() + MARGIN_INTERVAL
        while True:
            due = clock() + INTERVAL
            await asyncio.sleep(INTERVAL)
            self.observer.loop_lag(clock() - due)
            self.observer.unreachable(self.source.unreachable())
            self.observer.missing_topics(self.source.missing_topics())
            now = {state.partition: state.committable for state in self.ledger}
            readable = [self._report_lag(state, clock()) for state in self.ledger]
            # What an open transaction holds back, no restart would bring.
            if now != seen or not any(readable):
                moved_at, seen = clock(), now
                if stalled:
                    self.observer.progressing()
                stalled = False
            elif clock() - moved_at >= self.stall_after:
                stalled = True
                self.observer.stalled(clock() - moved_at)
            if clock() >= margins_due:
                margins_due += MARGIN_INTERVAL
                self.report_margins()

    def report_margins(self) -> None:
        """Say how long the oldest unread record of each partition has left, and where none is."""
        told, self._margins = self._margins, set()
        for state in self.ledger:
            kept_ms = self.retention_ms.get(state.partition.topic)
            stamp_ms = state.oldest_unread_ms
            if kept_ms is None or stamp_ms is None or stamp_ms < 0:
                continue
            # What is not being fetched has its end from the brokers' answers alone.
            end = max(self.source.highwater(state.partition) or 0, state.stable_end or 0)
            if end > state.committable:
                margin = (stamp_ms + kept_ms) / 1000 - self.now()
                self.observer.retention_margin(state.partition, margin, kept_ms / 1000)
                self._margins.add(state.partition)
        for partition in told - self._margins:
            self.observer.retention_margin(partition, None, 0.0)

    def _report_lag(self, state: PartitionState, now: float) -> int:
        """Report how many records are not settled; return how many of them could be."""
        end = self.source.highwater(state.partition)
        if end is None and state.stable_end is None:
            return 0
        stable = self.source.last_stable_offset(state.partition)
        stable = end if stable is None or end is None else min(stable, end)
        # What is not fetched, as behind a batch that fails, is known only where it was asked.
        stable = max(stable or 0, state.stable_end or 0)
        end = max(end or 0, stable)
        self._report_transaction(state, stable, end, now)
        readable = max(stable - state.committable, 0)
        lag = readable + end - stable
        self.observer.lag(state.partition, lag, self._waited(state, lag))
        return readable

    def _waited(self, state: PartitionState, lag: int) -> float:
        """Return for how many seconds the oldest record that is not settled has been waiting.

        Since its timestamp, though not since before the partition was last seen without lag.
        Where neither is known, at least since the lag was first seen.
        """
        now = self.now()
        if not lag:
            state.caught_up_at, state.behind_since = now, None
            return 0.0
        if state.behind_since is None:
            state.behind_since = now
        stamped = usable_time(state.oldest_unread_ms)
        known = [] if stamped is None or stamped < FIRST_TIME else [stamped.timestamp()]
        if state.caught_up_at is not None:
            known.append(state.caught_up_at)
        return max(0.0, now - max(known, default=state.behind_since))

    def _report_transaction(self, state: PartitionState, stable: int, end: int, now: float) -> None:
        """Tell once of a transaction that does not end: the last stable offset does not move."""
        self.observer.behind_transaction(state.partition, end - stable)
        if stable >= end:
            state.open_transaction = None
            return
        offset, since = state.open_transaction or (-1, now)
        if offset != stable:
            state.open_transaction = (stable, now)
        elif now - since >= self.stall_after and state.hanging != stable:
            state.hanging = stable
            self.observer.transaction_hangs(state.partition, stable, now - since)
