"""What the store's answers mean for the records of a batch and for the sessions known."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime

from bson.raw_bson import RawBSONDocument

from consumer.contract.rejection import Reason, Rejected
from consumer.errors import ConsumerError, TransientError
from consumer.mongo.bulk import PendingWrite, SendResult
from consumer.state.batch import BatchResults
from consumer.state.writes import (
    ENDED,
    PAST_INITIATED,
    ActivityWrite,
    EndWrite,
    EventWrite,
    SessionStatus,
    SessionWrite,
    Write,
    guard_of,
    status_of,
)

DEFAULT_SESSIONS = 50_000


class SessionStatusCache:
    """A bounded memory, the least recently met session forgotten first.

    Holds only what the store has acknowledged or shown. An optimisation and nothing else: a
    status never goes back, so what is remembered stays true while the documents stay.
    """

    def __init__(self, capacity: int = DEFAULT_SESSIONS) -> None:
        """Remember at most ``capacity`` sessions."""
        self._capacity = capacity
        self._statuses: OrderedDict[str, SessionStatus] = OrderedDict()

    def status(self, session_id: str) -> SessionStatus | None:
        """Return what the session is at least, None where it is not known."""
        status = self._statuses.get(session_id)
        if status is not None:
            self._statuses.move_to_end(session_id)
        return status

    def remember(self, session_id: str, status: SessionStatus | None) -> None:
        """Remember a status that the store acknowledged or showed."""
        if status is None or status not in PAST_INITIATED:
            return
        if self._statuses.get(session_id) not in ENDED:
            self._statuses[session_id] = status
        self._statuses.move_to_end(session_id)
        if len(self._statuses) > self._capacity:
            self._statuses.popitem(last=False)

    def forget(self) -> None:
        """Forget everything."""
        self._statuses.clear()


class Activities:
    """One for each session with events in the batch, until the session is known to be past it.

    Whatever becomes of the events themselves: a crash between the two bulks is healed by
    the redelivery, whose events are duplicates.
    """

    def __init__(self, writes: Iterable[Write], memory: SessionStatusCache) -> None:
        """Collect the sessions of the batch's events."""
        self._memory = memory
        self.late: set[str] = set()
        """Sessions that had ended before this batch's events came: best effort."""
        self._open: dict[str, PendingWrite[SessionWrite]] = {}
        for session_id, expire_at in _sessions_of_events(writes).items():
            status = memory.status(session_id)
            if status is None:
                self._open[session_id] = PendingWrite(ActivityWrite(session_id, expire_at))
            elif status in ENDED:
                self.late.add(session_id)

    def left(self) -> bool:
        """Tell whether any is still to be written."""
        return bool(self._open)

    def due(self, ending: Collection[str]) -> Sequence[PendingWrite[SessionWrite]]:
        """Return those to send now.

        The end of a session says more than its activity: where one is being sent in the same
        round, the activity waits, and is needed only if the end is refused.
        """
        for session_id in [name for name in self._open if self._memory.status(name)]:
            del self._open[session_id]
        return [statement for name, statement in self._open.items() if name not in ending]

    def settle(self, session_id: str) -> None:
        """Nothing is left to write for this session: acknowledged, or refused for good."""
        self._open.pop(session_id, None)

    def met(self, session_id: str, status: SessionStatus | None) -> None:
        """The store showed the session as somebody else left it."""
        if status in ENDED and session_id in self._open:
            self.late.add(session_id)


def _sessions_of_events(writes: Iterable[Write]) -> dict[str, datetime | None]:
    """Return the sessions with the latest expiry of their events."""
    sessions: dict[str, datetime | None] = {}
    for write in writes:
        if isinstance(write, EventWrite):
            known = sessions.get(write.session_id)
            expire_at = write.expire_at
            if known is not None and (expire_at is None or known > expire_at):
                expire_at = known
            sessions[write.session_id] = expire_at
    return sessions


MAX_LOST_RACES = 5
"""How often a session write may lose to a concurrent one before it backs off."""


class ResultRecorder:
    """Knows what each answer means for the batch, its activities and the memory of sessions."""

    def __init__(
        self,
        batch: BatchResults,
        activities: Activities,
        memory: SessionStatusCache,
        on_activity_refused: Callable[[str], None],
    ) -> None:
        """``on_activity_refused`` is told the cause; an activity belongs to no record."""
        self._batch = batch
        self._activities = activities
        self._memory = memory
        self._on_activity_refused = on_activity_refused

    def events_sent(self, sent_result: SendResult[EventWrite]) -> None:
        """Settle the events that were acknowledged or refused for good."""
        for statement in sent_result.applied:
            self._batch.applied(_index(statement))
        for statement, cause in sent_result.refused:
            self._batch.refused(_index(statement), _refusal(cause))

    def sessions_sent(self, sent_result: SendResult[SessionWrite]) -> None:
        """Settle the session writes that were acknowledged or refused for good."""
        for statement in sent_result.applied:
            self._session_applied(statement)
        for statement, cause in sent_result.refused:
            if isinstance(statement.write, ActivityWrite):
                self._activities.settle(statement.write.session_id)
                self._on_activity_refused(cause)
            else:
                self._batch.refused(_index(statement), _refusal(cause))

    def _session_applied(self, statement: PendingWrite[SessionWrite]) -> None:
        write = statement.write
        if isinstance(write, ActivityWrite):
            self._memory.remember(write.session_id, SessionStatus.ACTIVE)
            self._activities.settle(write.session_id)
            return
        if isinstance(write, EndWrite):
            self._memory.remember(write.session_id, write.status)
        self._batch.applied(_index(statement))

    def event_found(
        self, statement: PendingWrite[EventWrite], stored: RawBSONDocument | None
    ) -> Sequence[ConsumerError]:
        """Judge an event whose place was taken; return what kept it from being judged."""
        if stored is None:
            return [_vanished()]
        self._batch.found(_index(statement), stored, may_be_ours=statement.may_be_ours)
        return ()

    def session_found(
        self, statement: PendingWrite[SessionWrite], stored: RawBSONDocument | None
    ) -> Sequence[ConsumerError]:
        """Judge a session write that was rejected; return what kept it from being judged."""
        if stored is None:
            return [_vanished()]
        write = statement.write
        if guard_of(write).holds(stored):
            return self._lost_race(statement, stored)
        status = status_of(stored.get("status"))
        if isinstance(write, ActivityWrite) or statement.found_existing:
            self._activities.met(write.session_id, status)
        self._memory.remember(write.session_id, status)
        if isinstance(write, ActivityWrite):
            self._activities.settle(write.session_id)
        else:
            self._batch.found(_index(statement), stored, may_be_ours=statement.may_be_ours)
        return ()

    def _lost_race(
        self, statement: PendingWrite[SessionWrite], stored: RawBSONDocument
    ) -> Sequence[ConsumerError]:
        """Let the same guarded upsert be sent again: a concurrent one was first to insert.

        Where it is refused again and again beside a document that stays as it is, there was
        no race: another writer stored what only the server's comparison takes for a status or
        a start (an array with one in it, BSON's undefined).
        """
        # It was not this write that was met, so what is met later may well be.
        statement.found_existing = False
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


def _index(statement: PendingWrite[EventWrite] | PendingWrite[SessionWrite]) -> int:
    if statement.index is None:
        raise AssertionError("an activity write belongs to no record")
    return statement.index
