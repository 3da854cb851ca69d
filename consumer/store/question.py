"""The question after duplicate keys: reads the documents in doubt and has each one judged.

Few commands, several at once, none of them unbounded. What a find brought is judged before
its place is taken by the next, so that only a few answers are held at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

from consumer.errors import ConsumerError, TimedOutError
from consumer.state.guards import SessionWrite
from consumer.state.writes import EventWrite
from consumer.store.collections import Collections
from consumer.store.lane import Lane
from consumer.store.settlement import Settlement
from consumer.store.statements import Statement

MAX_IN_ONE_FIND = 500
FINDS_AT_ONCE = 8

Find = Callable[[], Awaitable[Sequence[ConsumerError]]]


class Question:
    """Asked again and again over the attempts of one batch; smaller where finds time out."""

    def __init__(self, collections: Collections, settlement: Settlement) -> None:
        """Read from ``collections``, have ``settlement`` judge."""
        self._collections = collections
        self._settlement = settlement
        self._event_lane = Lane(MAX_IN_ONE_FIND)
        self._session_lane = Lane(MAX_IN_ONE_FIND)

    async def ask(
        self,
        events: Sequence[Statement[EventWrite]],
        sessions: Sequence[Statement[SessionWrite]],
    ) -> list[ConsumerError]:
        """Settle what can be judged; return what went wrong."""
        finds: list[Find] = []
        for session_id, asked in _events_by_session(events).items():
            finds += [
                self._events(session_id, part, asked) for part in self._event_lane.cut(list(asked))
            ]
        by_session = _by_session(sessions)
        finds += [
            self._sessions(part, by_session) for part in self._session_lane.cut(list(by_session))
        ]
        return await _run_bounded(finds)

    def _events(
        self,
        session_id: str,
        event_ids: Sequence[str],
        asked: Mapping[str, Statement[EventWrite]],
    ) -> Find:
        async def find() -> Sequence[ConsumerError]:
            try:
                found = await self._collections.find_events(session_id, event_ids)
            except TimedOutError:
                self._event_lane.timed_out(len(event_ids))
                raise
            stored = {document["eventId"]: document for document in found}
            return [
                trouble
                for event_id in event_ids
                for trouble in self._settlement.event_found(asked[event_id], stored.get(event_id))
            ]

        return find

    def _sessions(
        self,
        session_ids: Sequence[str],
        asked: Mapping[str, Sequence[Statement[SessionWrite]]],
    ) -> Find:
        async def find() -> Sequence[ConsumerError]:
            try:
                found = await self._collections.find_sessions(session_ids)
            except TimedOutError:
                self._session_lane.timed_out(len(session_ids))
                raise
            stored = {document["sessionId"]: document for document in found}
            return [
                trouble
                for session_id in session_ids
                for statement in asked[session_id]
                for trouble in self._settlement.session_found(statement, stored.get(session_id))
            ]

        return find


def _events_by_session(
    statements: Sequence[Statement[EventWrite]],
) -> dict[str, dict[str, Statement[EventWrite]]]:
    grouped: dict[str, dict[str, Statement[EventWrite]]] = {}
    for statement in statements:
        write = statement.write
        grouped.setdefault(write.session_id, {})[write.event_id] = statement
    return grouped


def _by_session(
    statements: Sequence[Statement[SessionWrite]],
) -> dict[str, list[Statement[SessionWrite]]]:
    grouped: dict[str, list[Statement[SessionWrite]]] = {}
    for statement in statements:
        grouped.setdefault(statement.write.session_id, []).append(statement)
    return grouped


async def _run_bounded(finds: Sequence[Find]) -> list[ConsumerError]:
    """Run the finds, a few at once; after one had no answer no further one is started."""
    troubles: list[ConsumerError] = []
    waiting: Iterator[Find] = iter(finds)
    broken = False

    async def work_off() -> None:
        nonlocal broken
        for find in waiting:
            try:
                troubles.extend(await find())
            except ConsumerError as error:
                troubles.append(error)
                broken = True
            if broken:
                return

    await asyncio.gather(*(work_off() for _ in range(min(FINDS_AT_ONCE, len(finds)))))
    return troubles
