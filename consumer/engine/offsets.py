"""Moving the group's offsets: commits from the ledger, and knowing when the end is reached."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from consumer.contract.record import TopicPartition
from consumer.errors import TransientError
from consumer.ports import Observer, Source, Stage
from consumer.stream.ledger import Ledger

CATCH_UP_INTERVAL = 0.25
"""Seconds between two looks at what the group has committed, when asked to end at the end."""


class Committer:
    """Commits what the ledger calls committable, one request at a time."""

    def __init__(
        self, *, source: Source, ledger: Ledger, observer: Observer, interval: float
    ) -> None:
        """``interval`` in seconds between two commits."""
        self._source = source
        self._ledger = ledger
        self._observer = observer
        self._interval = interval
        self._one_at_a_time = asyncio.Lock()

    async def run(self) -> None:
        """Commit about every ``interval`` seconds, for ever."""
        while True:
            await asyncio.sleep(self._interval)
            await self.commit()

    async def commit(self) -> bool:
        """Commit what is settled. False where the brokers refused; nothing is lost by that.

        A refused commit is tried again with the next one, or its records are redelivered.
        """
        async with self._one_at_a_time:
            offsets = self._ledger.uncommitted()
            if not offsets:
                return True
            epoch = self._ledger.epoch
            clock = asyncio.get_running_loop().time
            begun = clock()
            try:
                await self._source.commit(offsets)
            except TransientError as error:
                self._observer.retrying(Stage.COMMIT, error, 1, self._interval)
                return False
            self._ledger.mark_committed(offsets.items(), epoch)
            self._observer.committed(offsets, clock() - begun)
            return True

    async def caught_up(self, ends: Mapping[TopicPartition, int]) -> None:
        """Return when the group has committed ``ends``, whoever of its members did it."""
        while True:
            await asyncio.sleep(CATCH_UP_INTERVAL)
            for partition in list(self._ledger):
                self._skip_markers(partition, ends.get(partition, 0))
            try:
                committed = await self._source.committed(list(ends))
            except TransientError as error:
                self._observer.retrying(Stage.COMMIT, error, 1, CATCH_UP_INTERVAL)
                continue
            if all((committed.get(partition) or 0) >= end for partition, end in ends.items()):
                return

    def _skip_markers(self, partition: TopicPartition, end: int) -> None:
        """Transaction markers leave the last record's successor below the end of the log."""
        if (
            self._ledger.clean(partition)
            and self._ledger.taken(partition) < end
            and self._source.end_reached(partition, end)
        ):
            self._ledger.skip_to(partition, end)
