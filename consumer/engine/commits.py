"""Moving the group's offsets: commits from the ledger, and knowing when the end is reached."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from consumer.contract.record import TopicPartition
from consumer.engine.ledger import Ledger
from consumer.errors import TransientError
from consumer.ports import GoneError, Observer, Source, Stage

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
        self._refusals = 0

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
            while True:
                offsets, revision = self._ledger.uncommitted(), self._ledger.revision
                holds = self._ledger.holds(offsets)
                if not offsets:
                    self._recovered()
                    return True
                clock = asyncio.get_running_loop().time
                begun = clock()
                try:
                    await self._source.commit(offsets, holds)
                except GoneError as error:
                    # There is nothing to commit them to. The others must not wait for them.
                    for partition in error.partitions:
                        self._ledger.drop(partition)
                    continue
                except TransientError as error:
                    self._refused(error, self._interval)
                    return False
                self._recovered()
                self._ledger.mark_committed(offsets.items(), revision, holds)
                self._observer.committed(offsets, clock() - begun)
                return True

    def _refused(self, error: TransientError, delay: float) -> None:
        self._refusals += 1
        self._observer.retrying(Stage.COMMIT, error, self._refusals, delay)

    def _recovered(self) -> None:
        if self._refusals:
            self._observer.recovered(Stage.COMMIT, self._refusals)
            self._refusals = 0

    async def caught_up(self, ends: Mapping[TopicPartition, int]) -> None:
        """Return when the group has committed ``ends``, whoever of its members did it."""
        failures = 0  # its own, told by the partitions: a commit that is refused is other trouble
        while True:
            await asyncio.sleep(CATCH_UP_INTERVAL)
            try:
                committed = await self._source.committed(list(ends))
            except TransientError as error:
                failures += 1
                self._observer.retrying(Stage.COMMIT, error, failures, CATCH_UP_INTERVAL, ends)
                continue
            if failures:
                self._observer.recovered(Stage.COMMIT, failures, ends)
                failures = 0
            if all((committed.get(partition) or 0) >= end for partition, end in ends.items()):
                return
