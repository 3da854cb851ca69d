"""How a record ends: the outcomes, what a duplicate key means, and the results of one batch.

Every record that is settled has exactly one outcome.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import Flag, StrEnum, auto

from bson.raw_bson import RawBSONDocument

from consumer.contract.kinds import Kind, UpsertNewest
from consumer.contract.record import Position
from consumer.contract.rejection import Reason, Rejected
from consumer.state.bson_compare import differing_fields, same_but_for_id
from consumer.state.writes import EventWrite, Write


class Outcome(StrEnum):
    """The closed set of ends; their counts add up to the records consumed."""

    APPLIED = "applied"
    REDELIVERED = "redelivered"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    DEAD_LETTERED = "dead_lettered"
    SKIPPED = "skipped"


class Mark(Flag):
    """What is counted beside a record's outcome, and changes nothing about it."""

    KEY_MISMATCH = auto()
    """The key is not the sessionId."""
    EXPIRED = auto()
    """Skipped because its document would expire at once."""
    DOUBTFUL_TIMESTAMP = auto()
    """Its timestamp cannot be right, so that it decided nothing about how long it is kept."""


NO_MARK = Mark(0)

MARK_NAMES = {
    Mark.KEY_MISMATCH: "key_mismatches",
    Mark.EXPIRED: "expired",
    Mark.DOUBTFUL_TIMESTAMP: "doubtful_timestamps",
}
"""How logs and reports name what is counted beside the outcomes."""


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of one record, with what the dead letter needs where one is due.

    ``late`` marks, best effort, an event that met an ended session; it stands
    beside the outcome and changes nothing.
    """

    outcome: Outcome
    rejected: Rejected | None = None
    late: bool = False


REDELIVERED = Result(Outcome.REDELIVERED)
DUPLICATE = Result(Outcome.DUPLICATE)
SUPERSEDED = Result(Outcome.SKIPPED)


def classify_duplicate(write: Write, stored: RawBSONDocument) -> Result:
    """Return how a record ends whose place in the store is taken by ``stored``.

    ``conflict``: other content; what is stored stays. ``redelivered``: the same content from
    this very record. ``duplicate``: the same content from another record. A position alone
    proves nothing: a topic that was created anew has the same offsets with other content.
    ``skipped``: a newer version is stored, where that is what stays.
    """
    content = write.content
    if write.is_whole and same_but_for_id(content, stored):
        return REDELIVERED
    foreign = _foreign_ids(write, stored)
    if foreign:
        return conflict(write, foreign)
    kind = write.kind
    if isinstance(kind.write, UpsertNewest) and differing_fields(content, stored, (kind.write.by,)):
        return SUPERSEDED
    fields = kind.content
    if kind.compared_time is not None and not (
        _time_defaulted(content, kind) or _time_defaulted(stored, kind)
    ):
        fields = (*fields, kind.compared_time)
    differing = differing_fields(content, stored, fields)
    if differing:
        return conflict(write, differing)
    return REDELIVERED if came_from(stored, write) else DUPLICATE


def compared_fields(write: Write) -> tuple[str, ...]:
    """Return the fields of a document by which ``classify_duplicate`` judges a write."""
    kind = write.kind
    time = () if kind.compared_time is None else (kind.compared_time,)
    return (*kind.content, *time, kind.origin)


def came_from(stored: RawBSONDocument, write: Write) -> bool:
    """Tell whether this very record wrote the document."""
    return origin_position(stored, write) == tuple(write.position)


def origin_position(stored: RawBSONDocument, write: Write) -> tuple[object, ...] | None:
    """Return topic, partition and offset of the record that wrote the document's part.

    None where it names no record: an older writer may have left no origin.
    """
    origin = _origin(stored, write.kind)
    return None if origin is None else tuple(origin.get(name) for name in Position._fields)


def has_time_alike(stored: RawBSONDocument, write: Write) -> bool:
    """Tell whether both carried a time to compare, or neither did.

    A copy without a time of its own agrees with any time, so that it agrees with records that
    contradict each other.
    """
    kind = write.kind
    return kind.compared_time is None or (
        _time_defaulted(stored, kind) == _time_defaulted(write.content, kind)
    )


def _foreign_ids(write: Write, stored: RawBSONDocument) -> tuple[str, ...]:
    """Return the ids that another writer stored in another shape.

    A unique index takes an array for each of its elements, so that it stands in our place.
    """
    ids = zip(write.kind.identity, write.ids, strict=True)
    return tuple(name for name, value in ids if stored.get(name, value) != value)


def conflict(write: Write, differing: tuple[str, ...]) -> Result:
    """Return how a record ends whose place is taken by a document that differs in these."""
    detail = f"the stored {write.kind.document} differs in {', '.join(differing)}"
    return Result(Outcome.CONFLICT, Rejected(Reason.CONFLICT, detail))


def _origin(document: RawBSONDocument, kind: Kind) -> RawBSONDocument | None:
    origin = document.get(kind.origin)
    return origin if isinstance(origin, RawBSONDocument) else None


def _time_defaulted(document: RawBSONDocument, kind: Kind) -> bool:
    origin = _origin(document, kind)
    return origin is not None and origin.get("defaulted") is True


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
        self.applied(index)  # so that those of its identity are judged alike

    def found(self, index: int, stored: RawBSONDocument, *, may_be_ours: bool) -> None:
        """The store holds ``stored`` in this record's place.

        ``may_be_ours``: an earlier attempt of this delivery may have written it, unheard.
        """
        result = classify_duplicate(self.writes[index], stored)
        if may_be_ours and result is REDELIVERED:
            result = APPLIED
        self._others[index] = result
        del self._pending[index]
        self._classify_waiting(index, stored)

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
