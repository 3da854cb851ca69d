"""The records of one batch by identity: who is sent, who waits, how each one ended.

Of several records with one identity only the first is sent; when it is settled the others
are judged, in their order, against what is then stored. So the borders of batches never
change an outcome, and what the server does with two of a kind in one command is no matter.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from bson.raw_bson import RawBSONDocument

from consumer.contract.rejection import Rejected
from consumer.state.duplicates import REDELIVERED, classify_duplicate, conflict
from consumer.state.outcomes import Outcome, Result
from consumer.state.writes import EventWrite, Write

APPLIED = Result(Outcome.APPLIED)


class BatchResults:
    """Keeps the results. Knows nothing of commands, attempts or errors."""

    def __init__(self, writes: Sequence[Write]) -> None:
        """Group the writes, which come in offset order within each partition."""
        self.writes = writes
        self._others: dict[int, Result] = {}
        """The results that are not ``APPLIED``, as most are."""
        self._waiting: dict[int, list[int]] = {}
        first_of: dict[tuple[str, ...], int] = {}
        for index, write in enumerate(writes):
            first = first_of.setdefault(write.identity, index)
            if first != index:
                self._waiting.setdefault(first, []).append(index)
        self._pending = dict.fromkeys(first_of.values())

    @property
    def pending(self) -> Collection[int]:
        """The records to send: the first of each identity that is not settled."""
        return self._pending.keys()

    def applied(self, index: int) -> None:
        """The store has acknowledged this record's write."""
        del self._pending[index]
        if index in self._waiting:
            self._classify_waiting(index, self.writes[index].content)

    def redelivered(self, index: int) -> None:
        """The store holds what this very record writes, byte for byte."""
        self._others[index] = REDELIVERED
        del self._pending[index]
        if index in self._waiting:
            self._classify_waiting(index, self.writes[index].content)

    def found(self, index: int, stored: RawBSONDocument, *, may_be_ours: bool) -> Result:
        """The store holds ``stored`` in this record's place; return what that makes of it.

        ``may_be_ours``: an earlier attempt of this delivery may have written it, unheard.
        """
        result = classify_duplicate(self.writes[index], stored)
        if may_be_ours and result is REDELIVERED:
            result = APPLIED
        self._others[index] = result
        del self._pending[index]
        self._classify_waiting(index, stored)
        return result

    def foreign(self, index: int, field: str) -> None:
        """What is stored in this record's place holds a value of another writer for good.

        Neither the record nor those of its identity can be written over it.
        """
        del self._pending[index]
        for one in (index, *self._waiting.pop(index, ())):
            self._others[one] = conflict(self.writes[one], (field,))

    def refused(self, index: int, rejected: Rejected) -> None:
        """The store refuses this record for good; the next of its identity takes its place."""
        self._others[index] = Result(Outcome.DEAD_LETTERED, rejected)
        del self._pending[index]
        waiting = self._waiting.pop(index, None)
        if waiting:
            successor, *others = waiting
            self._pending[successor] = None
            if others:
                self._waiting[successor] = others

    def results(self, late_sessions: Collection[str]) -> list[Result]:
        """Return one result for each write, events of ``late_sessions`` marked.

        Raises ``AssertionError`` while a record is not settled: it would be lost.
        """
        left = len(self._pending) + len(self._waiting)
        if left:
            raise AssertionError(f"{left} records of the batch are not settled")
        results = [APPLIED] * len(self.writes)
        for index, result in self._others.items():
            results[index] = result
        if late_sessions:
            late: dict[int, tuple[Result, Result]] = {}  # of the few that many records share
            for index, write in enumerate(self.writes):
                if isinstance(write, EventWrite) and write.session_id in late_sessions:
                    result = results[index]
                    if id(result) not in late:
                        late[id(result)] = result, replace(result, late=True)
                    results[index] = late[id(result)][1]
        return results

    def _classify_waiting(self, index: int, stored: RawBSONDocument) -> None:
        for one in self._waiting.pop(index, ()):
            self._others[one] = classify_duplicate(self.writes[one], stored)
