"""The guarded upserts of sessions: each says when it applies, and each owns its fields.

So creation, activity and end commute, and none of them applies twice. Where a guard fails
on an existing document, the upsert tries to insert and the unique index rejects it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, assert_never

from bson.raw_bson import RawBSONDocument

from consumer.state.sessions import ENDED, PAST_INITIATED, Status
from consumer.state.writes import ActivityWrite, CreateWrite, EndWrite

SessionWrite = CreateWrite | EndWrite | ActivityWrite


@dataclass(frozen=True, slots=True)
class SessionUpdate:
    """One upsert in MongoDB's own terms."""

    filter: Mapping[str, Any]
    update: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Guard:
    """A write applies unless ``field`` has one of the ``refused`` values; None: any value.

    No field goes back, so a guard that has failed once fails for ever.
    """

    field: str
    refused: frozenset[Status] | None

    def condition(self) -> dict[str, Any]:
        """Return the guard as part of a filter."""
        if self.refused is None:
            return {self.field: None}
        return {self.field: {"$nin": sorted(status.value for status in self.refused)}}

    def holds(self, stored: RawBSONDocument) -> bool:
        """Tell whether the write applies to what is stored: the same as ``condition`` matching."""
        value = stored.get(self.field)
        if self.refused is None:
            return value is None
        return not (isinstance(value, str) and value in self.refused)


_CREATE = Guard("startedAt", None)
_ACTIVITY = Guard("status", PAST_INITIATED)
_END = Guard("status", ENDED)


def guard_of(write: SessionWrite) -> Guard:
    """Return the guard of a write."""
    match write:
        case CreateWrite():
            return _CREATE
        case ActivityWrite():
            return _ACTIVITY
        case EndWrite():
            return _END
        case _:
            assert_never(write)


def update_of(write: SessionWrite) -> SessionUpdate:
    """Return the guarded upsert of a write."""
    condition = {"sessionId": write.session_id, **guard_of(write).condition()}
    update: dict[str, Any]
    match write:
        case CreateWrite():
            update = {
                "$set": write.content,
                "$setOnInsert": {"status": Status.INITIATED.value},
            }
        case ActivityWrite():
            update = {"$set": {"status": Status.ACTIVE.value}}
        case EndWrite():
            update = {"$set": write.content}
        case _:
            assert_never(write)
    if write.expire_at is not None:
        # The latest of all the records that wrote the session, in whichever order they came.
        update["$max"] = {"expireAt": write.expire_at}
    return SessionUpdate(condition, update)
