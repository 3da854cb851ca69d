"""One batch of writes being applied, through as many attempts as it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from consumer.errors import ConsumerError, PreconditionError, TransientError
from consumer.mongo.activities import Activities
from consumer.mongo.collections import EVENT_KEY, SESSION_KEY, BulkReply, Collections
from consumer.mongo.lane import Lanes
from consumer.mongo.lookup import LookUp
from consumer.mongo.question import Question
from consumer.mongo.sender import Sender
from consumer.mongo.session_memory import SessionMemory
from consumer.mongo.settlement import Settlement
from consumer.mongo.statements import Receipt, Statement, W
from consumer.state.batch import BatchResults
from consumer.state.outcomes import Result
from consumer.state.writes import EndWrite, EventWrite, SessionWrite, Write, update_of


class StoreApplication:
    """A batch on its way; implements ``consumer.ports.Application``.

    Works in rounds: send what is pending, settle what was acknowledged, ask about duplicate
    keys. A further round follows where a session write lost a race, where the next record of
    an identity takes the place of a refused one, or where an activity is due after all.

    What the store has acknowledged, or what has been judged, stays settled over attempts;
    everything else is sent again.
    """

    def __init__(
        self,
        writes: Sequence[Write],
        collections: Collections,
        memory: SessionMemory,
        lanes: Lanes,
        on_activity_refused: Callable[[str], None],
    ) -> None:
        """``lanes``: how much a command carries, learnt from the batches before.

        ``on_activity_refused`` is told why an activity write was refused for good.
        """
        self._collections = collections
        self._batch = BatchResults(writes)
        self._activities = Activities(writes, memory)
        self._settlement = Settlement(self._batch, self._activities, memory, on_activity_refused)
        self._question = Question(LookUp(collections, lanes), self._settlement)
        self._events: dict[int, Statement[EventWrite]] = {}
        self._sessions: dict[int, Statement[SessionWrite]] = {}
        self._event_sender = Sender(self._insert, EVENT_KEY, lanes.inserts)
        self._session_sender = Sender(self._upsert, SESSION_KEY, lanes.upserts)

    async def attempt(self) -> Sequence[Result]:
        """Apply the whole batch once; one result for each write, in their order.

        Raises ``TransientError``: nothing of the batch counts as done, call again after a pause.
        Raises ``PreconditionError``: a unique index is not the one the design relies on.
        """
        while self._batch.pending or self._activities.left():
            troubles = await self._round()
            if troubles:
                raise _worst(troubles)
        return self._batch.results(self._activities.late)

    async def _round(self) -> Sequence[ConsumerError]:
        """Send, settle, ask; return what went wrong."""
        events, sessions = self._due()
        from_events, from_sessions = await self._send(events, sessions)
        self._settlement.events_sent(from_events)
        self._settlement.sessions_sent(from_sessions)
        troubles = from_events.troubles + from_sessions.troubles
        if not (from_events.broken or from_sessions.broken):
            troubles += await self._question.ask(from_events.doubted, from_sessions.doubted)
        return troubles

    def _due(self) -> tuple[list[Statement[EventWrite]], list[Statement[SessionWrite]]]:
        """Return what this round sends."""
        events: list[Statement[EventWrite]] = []
        sessions: list[Statement[SessionWrite]] = []
        ending: set[str] = set()
        for index in self._batch.pending:
            write = self._batch.writes[index]
            if isinstance(write, EventWrite):
                events.append(_known(self._events, index, write))
            else:
                sessions.append(_known(self._sessions, index, write))
                if isinstance(write, EndWrite):
                    ending.add(write.session_id)
        return events, [*sessions, *self._activities.due(ending)]

    async def _send(
        self, events: Sequence[Statement[EventWrite]], sessions: Sequence[Statement[SessionWrite]]
    ) -> tuple[Receipt[EventWrite], Receipt[SessionWrite]]:
        """Send both kinds side by side; a lone one without the price of a task."""
        if not sessions:
            return await self._event_sender.send(events), Receipt()
        if not events:
            return Receipt(), await self._session_sender.send(sessions)
        return await asyncio.gather(
            self._event_sender.send(events), self._session_sender.send(sessions)
        )

    async def _insert(self, writes: Sequence[EventWrite]) -> BulkReply:
        return await self._collections.insert_events([write.content for write in writes])

    async def _upsert(self, writes: Sequence[SessionWrite]) -> BulkReply:
        return await self._collections.update_sessions([update_of(write) for write in writes])


def _known(statements: dict[int, Statement[W]], index: int, write: W) -> Statement[W]:
    """Return the record's statement with what it has met so far."""
    statement = statements.get(index)
    if statement is None:
        statement = statements[index] = Statement(write, index)
    return statement


def _worst(troubles: Sequence[ConsumerError]) -> ConsumerError:
    """Return the trouble to raise: one to stop for, else one that names a record."""
    for trouble in troubles:
        if isinstance(trouble, PreconditionError):
            return trouble
    for trouble in troubles:
        if isinstance(trouble, TransientError) and trouble.index is not None:
            return trouble
    return troubles[0]
