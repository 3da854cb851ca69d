"""Moving the group's offsets: commits from the ledger, and knowing when the end is reached."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from consumer.contract.record import Offsets
from consumer.engine.ledger import Ledger
from consumer.errors import TransientError
from consumer.ports import GoneError, Observer, Source, Stage

CATCH_UP_INTERVAL = 0.25
"""Seconds between two looks at what the group has committed, when asked to end at the end."""


@dataclass(slots=True)
class Committer:
    """Commits what the ledger calls committable, one request at a time, every ``interval`` s."""

    source: Source
    ledger: Ledger
    observer: Observer
    interval: float
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)
    _refusals: int = 0

    async def run(self) -> None:
        """Commit about every ``interval`` seconds, for ever."""
        while True:
            await asyncio.sleep(self.interval)
            await self.commit()

    async def commit(self) -> bool:
        """Commit what is settled. False where the brokers refused; nothing is lost by that.

        A refused commit is tried again with the next one, or its records are redelivered.
        """
        async with self._one_at_a_time:
            while True:
                offsets, revision = self.ledger.uncommitted(), self.ledger.revision
                holds = self.ledger.holds(offsets)
                if not offsets:
                    self._recovered()
                    return True
                clock = asyncio.get_running_loop().time
                begun = clock()
                try:
                    await self.source.commit(offsets, holds)
                except GoneError as error:
                    # There is nothing to commit them to. The others must not wait for them.
                    for partition in error.partitions:
                        self.ledger.drop(partition)
                    continue
                except TransientError as error:
                    self._refusals += 1
                    self.observer.retrying(Stage.COMMIT, error, self._refusals, self.interval)
                    return False
                self._recovered()
                self.ledger.mark_committed(offsets.items(), revision, holds)
                self.observer.committed(offsets, clock() - begun)
                return True

    def _recovered(self) -> None:
        if self._refusals:
            self.observer.recovered(Stage.COMMIT, self._refusals)
            self._refusals = 0

    async def wait_until_caught_up(self, ends: Offsets) -> None:
        """Return when the group has committed ``ends``, whoever of its members did it.

        Where nothing moves, and before the return, the ends are asked for again: a topic that was
        made again meanwhile may be shorter than it was, and never reach them; and an offset behind
        the end of a truncated log says nothing of how far the log is read.
        """
        failures = 0  # its own, told by the partitions: a commit that is refused is other trouble
        before: Offsets = {}
        while True:
            await asyncio.sleep(CATCH_UP_INTERVAL)
            try:
                found = await self.source.committed(list(ends))
                committed = {p: found.get(p) or 0 for p in ends}
                behind = any(committed[p] < end for p, end in ends.items())
                if not behind or committed == before:
                    doubted = [p for p, end in ends.items() if committed[p] != end]
                    ends_now = await self.source.end_offsets(doubted)
                    behind = any(
                        not min(ends[p], ends_now[p]) <= committed[p] <= ends_now[p]
                        for p in doubted
                    )
            except TransientError as error:
                failures += 1
                self.observer.retrying(Stage.COMMIT, error, failures, CATCH_UP_INTERVAL, ends)
                continue
            if failures:
                self.observer.recovered(Stage.COMMIT, failures, ends)
                failures = 0
            if not behind:
                return
            before = committed
