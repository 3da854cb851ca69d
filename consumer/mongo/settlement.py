"""Turns the store's answers into results, one statement at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bson.raw_bson import RawBSONDocument

from consumer.contract.rejection import Reason, Rejected
from consumer.errors import ConsumerError, TransientError
from consumer.mongo.activities import Activities
from consumer.mongo.session_memory import SessionMemory
from consumer.mongo.statements import Receipt, Statement
from consumer.state.batch import BatchResults
from consumer.state.writes import (
    ActivityWrite,
    EndWrite,
    EventWrite,
    SessionStatus,
    SessionWrite,
    guard_of,
    status_of,
)

MAX_LOST_RACES = 5
"""How often a session write may lose to a concurrent one before it backs off."""


class Settlement:
    """Knows what each answer means for the batch, its activities and the memory of sessions."""

    def __init__(
        self,
        batch: BatchResults,
        activities: Activities,
        memory: SessionMemory,
        on_activity_refused: Callable[[str], None],
    ) -> None:
        """``on_activity_refused`` is told the cause; an activity belongs to no record."""
        self._batch = batch
        self._activities = activities
        self._memory = memory
        self._on_activity_refused = on_activity_refused

    def events_sent(self, receipt: Receipt[EventWrite]) -> None:
        """Settle the events that were acknowledged or refused for good."""
        for statement in receipt.applied:
            self._batch.applied(_index(statement))
        for statement, cause in receipt.refused:
            self._batch.refused(_index(statement), _refusal(cause))

    def sessions_sent(self, receipt: Receipt[SessionWrite]) -> None:
        """Settle the session writes that were acknowledged or refused for good."""
        for statement in receipt.applied:
            self._session_applied(statement)
        for statement, cause in receipt.refused:
            if isinstance(statement.write, ActivityWrite):
                self._activities.settle(statement.write.session_id)
                self._on_activity_refused(cause)
            else:
                self._batch.refused(_index(statement), _refusal(cause))

    def _session_applied(self, statement: Statement[SessionWrite]) -> None:
        write = statement.write
        if isinstance(write, ActivityWrite):
            self._memory.learn(write.session_id, SessionStatus.ACTIVE)
            self._activities.settle(write.session_id)
            return
        if isinstance(write, EndWrite):
            self._memory.learn(write.session_id, write.status)
        self._batch.applied(_index(statement))

    def event_found(
        self, statement: Statement[EventWrite], stored: RawBSONDocument | None
    ) -> Sequence[ConsumerError]:
        """Judge an event whose place was taken; return what kept it from being judged."""
        if stored is None:
            return [_vanished()]
        self._batch.found(_index(statement), stored, own_possible=statement.own_possible)
        return ()

    def session_found(
        self, statement: Statement[SessionWrite], stored: RawBSONDocument | None
    ) -> Sequence[ConsumerError]:
        """Judge a session write that was rejected; return what kept it from being judged."""
        if stored is None:
            return [_vanished()]
        write = statement.write
        if guard_of(write).holds(stored):
            return self._lost_race(statement, stored)
        status = status_of(stored.get("status"))
        if isinstance(write, ActivityWrite) or statement.met_stored:
            self._activities.met(write.session_id, status)
        self._memory.learn(write.session_id, status)
        if isinstance(write, ActivityWrite):
            self._activities.settle(write.session_id)
        else:
            self._batch.found(_index(statement), stored, own_possible=statement.own_possible)
        return ()

    def _lost_race(
        self, statement: Statement[SessionWrite], stored: RawBSONDocument
    ) -> Sequence[ConsumerError]:
        """Let the same guarded upsert be sent again: a concurrent one was first to insert.

        Where it is refused again and again beside a document that stays as it is, there was
        no race: another writer stored what only the server's comparison takes for a status or
        a start (an array with one in it, BSON's undefined).
        """
        # It was not this write that was met, so what is met later may well be.
        statement.met_stored = False
        statement.raced_with.append(hash(bytes(stored.raw)))
        if len(statement.raced_with) <= MAX_LOST_RACES:
            return ()
        changed = len(set(statement.raced_with)) > 1
        statement.raced_with.clear()
        if changed:
            return [TransientError("lost_race")]
        write = statement.write
        if isinstance(write, ActivityWrite):
            self._activities.settle(write.session_id)
            self._on_activity_refused("ForeignDocument")
        else:
            self._batch.foreign(_index(statement), guard_of(write).field)
        return ()


def _vanished() -> TransientError:
    """Return the trouble of a duplicate key without a document.

    It was deleted in between, or the read went to a primary that has been deposed.
    """
    return TransientError("stored_document_not_found")


def _refusal(cause: str) -> Rejected:
    return Rejected(Reason.UNSTORABLE, f"the database refuses the document: {cause}")


def _index(statement: Statement[EventWrite] | Statement[SessionWrite]) -> int:
    if statement.index is None:
        raise AssertionError("an activity write belongs to no record")
    return statement.index
