"""When a write applies to what is stored, and the guarded upserts that say so to MongoDB."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, assert_never

from bson.datetime_ms import DatetimeMS

from consumer.contract.kinds import InsertOnce, SetOnce, UpsertNewest
from consumer.state.writes import (
    PAST_INITIATED,
    ActivityWrite,
    AnyWrite,
    DocumentWrite,
    SessionStatus,
)


@dataclass(frozen=True, slots=True)
class Upsert:
    """One upsert in MongoDB's own terms."""

    filter: Mapping[str, Any]
    update: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class OlderThan:
    """A write applies where ``field`` has a lower value than its own, or none to compare.

    What is stored only ever gets a higher one, so a guard that has failed once fails for ever.
    """

    field: str
    value: int | DatetimeMS

    def condition(self) -> dict[str, Any]:
        """Return the guard as part of a filter."""
        return {self.field: {"$not": {"$gte": self.value}}}

    def holds(self, stored: Mapping[str, Any]) -> bool:
        """Tell whether the write applies to what is stored: the same as ``condition`` matching."""
        theirs = stored.get(self.field)
        if isinstance(self.value, DatetimeMS):
            return not (isinstance(theirs, DatetimeMS) and theirs >= self.value)
        if isinstance(theirs, bool) or not isinstance(theirs, int | float):
            return True
        return not theirs >= self.value  # a NaN is below all numbers


_ACTIVITY = SetOnce("status", frozenset(status.value for status in PAST_INITIATED))


def guard_of(write: AnyWrite) -> SetOnce | OlderThan | None:
    """Return the guard of a write, None for what is inserted."""
    if isinstance(write, ActivityWrite):
        return _ACTIVITY
    match write.kind.write:
        case InsertOnce():
            return None
        case SetOnce() as guard:
            return guard
        case UpsertNewest(by=field):
            return OlderThan(field, write.content[field])
        case other:
            assert_never(other)


def has_place_taken(write: AnyWrite, stored: Mapping[str, Any]) -> bool:
    """Tell whether ``stored`` stands in the place of a write.

    A session may be there without its creation, or without its end: a stub, an open one. A document
    may be there in an older version.
    """
    guard = guard_of(write)
    return guard is None or not guard.holds(stored)


def update_of(write: DocumentWrite | ActivityWrite) -> Upsert:
    """Return the guarded upsert of a write."""
    guard = guard_of(write)
    condition = {"sessionId": write.session_id, **(guard.condition() if guard else {})}
    update: dict[str, Any]
    if isinstance(write, ActivityWrite):
        update = {"$set": {"status": SessionStatus.ACTIVE.value}}
    elif write.is_whole:
        # The document as a whole: nothing of an older version is left in it.
        ids = zip(write.kind.identity, write.ids, strict=True)
        return Upsert(dict(ids) | condition, write.content)
    else:
        update = {"$set": write.content}
        if write.ends_as is None:
            update["$setOnInsert"] = {"status": SessionStatus.INITIATED.value}
    if write.expire_at is not None:
        # The latest of all the records that wrote the session, in whichever order they came.
        update["$max"] = {"expireAt": write.expire_at}
    return Upsert(condition, update)
