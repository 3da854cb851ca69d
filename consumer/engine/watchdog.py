"""Watching that work moves: a consumer that is alive and does nothing looks healthy outside."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from consumer.contract.record import TopicPartition
from consumer.engine.ledger import Ledger
from consumer.engine.transaction_watch import TransactionWatch
from consumer.ports import Observer, Source

INTERVAL = 1.0
"""Seconds between two looks."""


class Watchdog:
    """Reports lag, how late the event loop is, and a stall: lag of which nothing moves."""

    def __init__(
        self, *, source: Source, ledger: Ledger, observer: Observer, stall_after: float
    ) -> None:
        """``stall_after``: so many seconds without movement, while there is lag, are a stall."""
        self._source = source
        self._ledger = ledger
        self._observer = observer
        self._stall_after = stall_after
        self._transactions = TransactionWatch(observer, stall_after)
        self._told: dict[TopicPartition, int] = {}

    def learn_ends(self, stable_ends: Mapping[TopicPartition, int]) -> None:
        """Take the offsets behind the last stable records, as brokers have told them just now."""
        self._told = dict(stable_ends)

    async def run(self) -> None:
        """Look every second, for ever. The clock is the loop's, which no clock change moves."""
        clock = asyncio.get_running_loop().time
        moved_at, seen, stalled = clock(), dict[TopicPartition, int](), False
        while True:
            due = clock() + INTERVAL
            await asyncio.sleep(INTERVAL)
            self._observer.loop_lag(clock() - due)
            self._observer.unreachable(self._source.unreachable())
            self._observer.missing_topics(self._source.missing_topics())
            now = {p: self._ledger.committable(p) for p in self._ledger}
            behind = self._report_lag(now, clock())
            if now != seen or not behind:
                moved_at, seen = clock(), now
                if stalled:
                    self._observer.progressing()
                stalled = False
            elif clock() - moved_at >= self._stall_after:
                stalled = True
                self._observer.stalled(clock() - moved_at)

    def _report_lag(self, committable: dict[TopicPartition, int], now: float) -> bool:
        """Report what is not settled; tell whether there is anything that could be."""
        behind = False
        for partition, offset in committable.items():
            end, told = self._source.highwater(partition), self._told.get(partition)
            if end is None and told is None:
                continue
            stable = self._source.last_stable(partition)
            stable = end if stable is None or end is None else min(stable, end)
            # What is not fetched, as behind a batch that fails, is known only where it was asked.
            stable = max(stable or 0, told or 0)
            end = max(end or 0, stable)
            self._transactions.look(partition, stable, end, now)
            readable = max(stable - offset, 0)
            self._observer.lag(partition, readable + end - stable)
            # What an open transaction holds back, no restart would bring.
            behind = behind or readable > 0
        return behind
