"""Reading sessions back, for the commands that show and prove; the engine needs none of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from consumer.settings import MongoSettings
from consumer.store.clients import Client, close_client, collection_of, database_of, open_client
from consumer.store.failures import translated

PAGE = 500
"""Events read in one command: a session may have any number of them."""

Document = Mapping[str, Any]


class SessionReader:
    """Sessions and their events as other services see them."""

    def __init__(self, client: Client, settings: MongoSettings) -> None:
        """Read the two collections that the settings name. No I/O yet."""
        database = database_of(client, settings)
        self._sessions = collection_of(database, settings.sessions)
        self._events = collection_of(database, settings.events)

    async def session(self, session_id: str) -> Document | None:
        """Return the session's document, None where there is none."""
        with translated():
            found: Document | None = await self._sessions.find_one({"sessionId": session_id})
        return found

    async def count_events(self, session_id: str) -> int:
        """Count the stored events of a session."""
        with translated():
            return int(await self._events.count_documents({"sessionId": session_id}))

    async def declared_counts(self, session_ids: Sequence[str]) -> dict[str, int]:
        """Return, of these sessions, the eventCount of each that has one."""
        condition = {"sessionId": {"$in": list(session_ids)}, "eventCount": {"$exists": True}}
        with translated():
            cursor = self._sessions.find(condition, {"sessionId": 1, "eventCount": 1})
            found: list[Document] = await cursor.to_list(None)
        return {document["sessionId"]: int(document["eventCount"]) for document in found}

    async def event_counts(self, session_ids: Sequence[str]) -> dict[str, int]:
        """Count the stored events of each of these sessions; one without any is absent."""
        stages: list[Mapping[str, Any]] = [
            {"$match": {"sessionId": {"$in": list(session_ids)}}},
            {"$group": {"_id": "$sessionId", "events": {"$sum": 1}}},
        ]
        with translated():
            cursor = self._events.aggregate(stages)
            opened = await cursor if isinstance(cursor, Awaitable) else cursor
            found: list[Document] = await opened.to_list(None)
        return {document["_id"]: int(document["events"]) for document in found}

    async def events(self, session_id: str, page: int = PAGE) -> AsyncIterator[Document]:
        """Yield a session's events by (timestamp, eventId), ``page`` at a time.

        A page begins behind the last event of the one before, in the index's own total order,
        so that a border neither skips nor repeats an event.
        """
        order = [("timestamp", 1), ("eventId", 1)]
        condition: dict[str, Any] = {"sessionId": session_id}
        while True:
            with translated():
                cursor = self._events.find(condition).sort(order).limit(page)
                found: list[Document] = await cursor.to_list(None)
            for event in found:
                yield event
            if len(found) < page:
                return
            last = found[-1]
            condition = {
                "sessionId": session_id,
                "timestamp": {"$gte": last["timestamp"]},
                "$or": [
                    {"timestamp": {"$gt": last["timestamp"]}},
                    {"timestamp": last["timestamp"], "eventId": {"$gt": last["eventId"]}},
                ],
            }


@asynccontextmanager
async def open_session_reader(settings: MongoSettings) -> AsyncIterator[SessionReader]:
    """Open a reader, close its connections at the end. Connects at its first command."""
    client = open_client(settings)
    try:
        yield SessionReader(client, settings)
    finally:
        await close_client(client)
