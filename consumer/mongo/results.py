"""What the store's answers mean for the records of a batch and for the sessions it touches."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from bson.raw_bson import RawBSONDocument

from consumer.contract.kinds import EVENTS, SESSIONS
from consumer.contract.rejection import Reason, Rejected
from consumer.errors import ConsumerError, TransientError
from consumer.mongo.bulk import PendingWrite, SendResult, WriteKey
from consumer.state.guards import guard_of, has_place_taken
from consumer.state.outcomes import BatchResults, Result
from consumer.state.writes import (
    ENDED,
    PAST_INITIATED,
    ActivityWrite,
    AnyWrite,
    DocumentWrite,
    EventWrite,
    SessionStatus,
    Write,
    status_of,
)

DEFAULT_SESSIONS = 50_000

MAX_LOST_RACES = 5
"""How often a session write may lose to a concurrent one before it backs off."""


class SessionStatusCache:
    """Which sessions are known to be past ``initiated``: saves repeating the activity write.

    Bounded, the least recently met session forgotten first. Holds only what the store has
    acknowledged or shown. An optimisation and nothing else: a status never goes back, so what
    is remembered stays true while the documents stay.
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


class ResultRecorder:
    """The records of one batch until each has its result, and the activity writes beside them.

    An activity is due for each session with events in the batch until the session is known to
    be past ``initiated``, whatever becomes of the events themselves: a crash between the two
    commands is healed by the redelivery, whose events are duplicates.
    """

    def __init__(
        self,
        writes: Sequence[Write],
        cache: SessionStatusCache,
        on_activity_refused: Callable[[str], None],
    ) -> None:
        """``on_activity_refused`` is told the cause; an activity belongs to no record.

        ``events`` counts the records that are events, ``existing_events`` those of them that
        were there already.
        """
        self._writes = writes
        self.pending: defaultdict[WriteKey, PendingWrite] = defaultdict(PendingWrite)
        """What the writes have met that were not applied at once."""
        self._batch = BatchResults(writes)
        self._cache = cache
        self._on_activity_refused = on_activity_refused
        self._activities: dict[str, ActivityWrite] = {}
        self._late: set[str] = set()
        """Sessions that had ended before this batch's events came: best effort."""
        self.events, expiries = _events_and_sessions(writes)
        for session_id, expire_at in expiries.items():
            status = cache.status(session_id)
            if status is None:
                self._activities[session_id] = ActivityWrite(session_id, expire_at)
            elif status in ENDED:
                self._late.add(session_id)
        self.existing_events = 0

    @property
    def left(self) -> bool:
        """Whether anything is still to be written."""
        return bool(self._batch.pending or self._activities)

    def results(self) -> list[Result]:
        """Return one result for each write, in their order, when nothing is left."""
        return self._batch.results(self._late)

    def due(self) -> dict[str, dict[WriteKey, AnyWrite]]:
        """Return what is to be sent now, by collection.

        The end of a session says more than its activity: where one is being sent in the same
        round, the activity waits, and is needed only if the end is refused.
        """
        events: dict[WriteKey, AnyWrite] = {}
        sessions: dict[WriteKey, AnyWrite] = {}
        due = {EVENTS: events, SESSIONS: sessions}
        ending: set[str] = set()
        for index in self._batch.pending:
            write = self._writes[index]
            if isinstance(write, EventWrite):
                events[index] = write
            else:
                due.setdefault(write.kind.collection, {})[index] = write
                if write.ends_as is not None:
                    ending.add(write.session_id)
        for session_id in [name for name in self._activities if self._cache.status(name)]:
            del self._activities[session_id]
        sessions.update({k: v for k, v in self._activities.items() if k not in ending})
        return {name: writes for name, writes in due.items() if writes}

    def write(self, key: WriteKey) -> AnyWrite:
        """Return a write of ``due``."""
        return self._activities[key] if isinstance(key, str) else self._writes[key]

    def sent(self, result: SendResult) -> None:
        """Settle the writes that were acknowledged or refused for good."""
        for key in result.applied:
            if isinstance(key, str):
                self._cache.remember(key, SessionStatus.ACTIVE)
                del self._activities[key]
                continue
            self._batch.applied(key)
            write = self._writes[key]
            if isinstance(write, DocumentWrite) and write.ends_as is not None:
                self._cache.remember(write.session_id, write.ends_as)
        for key, cause in result.refused:
            if isinstance(key, str):
                self._give_up(key, cause)
            else:
                detail = f"the database refuses the document: {cause}"
                self._batch.refused(key, Rejected(Reason.UNSTORABLE, detail))

    def is_there(self, key: WriteKey) -> None:
        """Settle an event whose very bytes were stored before anything was sent."""
        self.existing_events += 1
        self._batch.redelivered(int(key))

    def found_before(self, key: WriteKey, stored: RawBSONDocument) -> None:
        """Settle a write by what was stored in its place before anything was sent.

        A session may be there without its creation, or without its end: then nothing is settled.
        """
        write = self.write(key)
        if has_place_taken(write, stored):
            self.pending[key].found_existing = True
            self.found(key, stored)

    def found(self, key: WriteKey, stored: RawBSONDocument | None) -> Sequence[ConsumerError]:
        """Settle a write whose place is taken; return what kept it from being settled."""
        if stored is None:
            # It was deleted in between, or the read went to a primary that has been deposed.
            return [TransientError("stored_document_not_found")]
        write, pending = self.write(key), self.pending[key]
        guard = guard_of(write)
        if isinstance(write, EventWrite):
            self.existing_events += 1
        elif guard is not None and guard.holds(stored):
            return self._lost_race(key, guard.field, stored)
        elif isinstance(write, ActivityWrite) or not write.is_whole:
            status = status_of(stored.get("status"))
            foreign = isinstance(write, ActivityWrite) or pending.found_existing
            if foreign and status in ENDED and write.session_id in self._activities:
                self._late.add(write.session_id)
            self._cache.remember(write.session_id, status)
        if isinstance(key, str):
            del self._activities[key]
        else:
            self._batch.found(key, stored, may_be_ours=not pending.found_existing)
        return ()

    def _lost_race(
        self, key: WriteKey, field: str, stored: RawBSONDocument
    ) -> Sequence[ConsumerError]:
        """Let the same guarded upsert be sent again: a concurrent one was first to insert.

        Where it is refused again and again beside a document that stays as it is, there was
        no race: another writer stored what only the server's comparison takes for a status or
        a start (an array with one in it, BSON's undefined).
        """
        pending = self.pending[key]
        # It was not this write that was met, so what is met later may well be.
        pending.found_existing = False
        pending.raced_with.append(hash(bytes(stored.raw)))
        if len(pending.raced_with) <= MAX_LOST_RACES:
            return ()
        changed = len(set(pending.raced_with)) > 1
        pending.raced_with.clear()
        if changed:
            return [TransientError("lost_race")]
        if isinstance(key, str):
            self._give_up(key, "ForeignDocument")
        else:
            self._batch.foreign(key, field)
        return ()

    def _give_up(self, session_id: str, cause: str) -> None:
        del self._activities[session_id]
        self._on_activity_refused(cause)


def _events_and_sessions(writes: Iterable[Write]) -> tuple[int, dict[str, datetime | None]]:
    """Count the events; return their sessions, each with the latest expiry of its events."""
    events = 0
    sessions: dict[str, datetime | None] = {}
    for write in writes:
        if isinstance(write, EventWrite):
            events += 1
            known = sessions.get(write.session_id)
            expire_at = write.expire_at
            if known is not None and (expire_at is None or known > expire_at):
                expire_at = known
            sessions[write.session_id] = expire_at
    return events, sessions
