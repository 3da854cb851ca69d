"""Reading sessions back, for the commands that show and prove; the engine needs none of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from consumer.contract.kinds import EVENTS, SESSIONS, collections
from consumer.contract.record import TopicPartition
from consumer.mongo.clients import (
    Client,
    collections_of,
    database_of,
    opened_client,
)
from consumer.mongo.driver_errors import driver_errors
from consumer.settings.model import MongoSettings

PAGE = 500
"""Events read in one command: a session may have any number of them."""

Document = Mapping[str, Any]

_TIMES = ("startedAt", "endedAt", "expireAt")


@dataclass(frozen=True, slots=True)
class EndedSession:
    """A session that says how many events it has. Times are None where none is stored."""

    declared: int
    started_at: datetime | None
    ended_at: datetime | None
    expire_at: datetime | None


class SessionReader:
    """Sessions and their events as other services see them."""

    def __init__(self, client: Client, settings: MongoSettings) -> None:
        """Read the collections of all kinds. No I/O yet."""
        database = database_of(client, settings)
        self._collections = collections_of(database, settings)
        self._others = dict(self._collections)
        """Of kinds that others declared."""
        self._sessions, self._events = self._others.pop(SESSIONS), self._others.pop(EVENTS)

    async def session(self, session_id: str) -> Document | None:
        """Return the session's document, None where there is none."""
        with driver_errors():
            found: Document | None = await self._sessions.find_one({"sessionId": session_id})
        return found

    async def came_from(self, session_ids: Sequence[str]) -> set[TopicPartition]:
        """Return the partitions that the documents of these sessions say they came from."""
        condition = {"sessionId": {"$in": list(session_ids)}}
        found: set[TopicPartition] = set()
        with driver_errors():
            for name, collection in self._collections.items():
                origins = list(dict.fromkeys(kind.origin for kind in collections()[name]))
                parts = {f"{one}.{part}": 1 for one in origins for part in ("topic", "partition")}
                # Read as they come: a session may have any number of events.
                async for document in collection.find(condition, {"_id": 0, **parts}):
                    found.update(_origins(document, origins))
        return found

    async def count_others(self, session_id: str) -> dict[str, int]:
        """Count the session's documents of kinds that others declared, by collection."""
        with driver_errors():
            return {
                name: int(await collection.count_documents({"sessionId": session_id}))
                for name, collection in self._others.items()
            }

    async def others(self, session_id: str) -> AsyncIterator[tuple[str, Document]]:
        """Yield these documents, each with its collection."""
        for name, collection in self._others.items():
            with driver_errors():
                async for document in collection.find({"sessionId": session_id}):
                    yield name, document

    async def count_events(self, session_id: str) -> int:
        """Count the stored events of a session."""
        with driver_errors():
            return int(await self._events.count_documents({"sessionId": session_id}))

    async def ended(self, session_ids: Sequence[str]) -> dict[str, EndedSession]:
        """Return those of these sessions that say how many events they have."""
        condition = {"sessionId": {"$in": list(session_ids)}, "eventCount": {"$exists": True}}
        projection = {"_id": 0, "sessionId": 1, "eventCount": 1} | dict.fromkeys(_TIMES, 1)
        with driver_errors():
            cursor = self._sessions.find(condition, projection)
            found: list[Document] = await cursor.to_list(None)
        return {
            document["sessionId"]: EndedSession(
                int(document["eventCount"]), *(_time(document.get(name)) for name in _TIMES)
            )
            for document in found
            if isinstance(document["sessionId"], str)
            and isinstance(document["eventCount"], int | float)
        }

    async def event_counts(self, session_ids: Sequence[str]) -> dict[str, int]:
        """Count the stored events of each of these sessions; one without any is absent."""
        stages: list[Mapping[str, Any]] = [
            {"$match": {"sessionId": {"$in": list(session_ids)}}},
            {"$group": {"_id": "$sessionId", "events": {"$sum": 1}}},
        ]
        with driver_errors():
            cursor = self._events.aggregate(stages)
            opened = await cursor if isinstance(cursor, Awaitable) else cursor
            found: list[Document] = await opened.to_list(None)
        return {document["_id"]: int(document["events"]) for document in found}

    async def events(
        self, session_id: str, after: Document | None = None
    ) -> AsyncIterator[Document]:
        """Yield a session's events by (timestamp, eventId), those behind ``after``.

        A page begins behind the last event of the one before,
        in the index's own total order, so that a border neither skips nor repeats an event.
        """
        order = [("timestamp", 1), ("eventId", 1)]
        while True:
            condition = {"sessionId": session_id} | _behind(after)
            with driver_errors():
                cursor = self._events.find(condition).sort(order).limit(PAGE)
                found: list[Document] = await cursor.to_list(None)
            for event in found:
                yield event
            if len(found) < PAGE:
                return
            after = found[-1]


def _behind(event: Document | None) -> dict[str, Any]:
    """Return the condition of what stands behind an event of the same session."""
    if event is None:
        return {}
    time, event_id = event.get("timestamp"), event.get("eventId")
    later = [{"timestamp": {"$gt": time}}, {"timestamp": time, "eventId": {"$gt": event_id}}]
    if isinstance(time, datetime):
        return {"timestamp": {"$gte": time}, "$or": later}
    # Somebody has altered it. All times stand behind it, and no comparison with it finds them.
    return {"$or": [{"timestamp": {"$type": "date"}}, *later]}


def _time(value: object) -> datetime | None:
    return value if isinstance(value, datetime) else None


def _origins(document: Document, names: Sequence[str]) -> Iterator[TopicPartition]:
    """Yield the partitions that a document names; an older writer may have left none."""
    for name in names:
        origin = document.get(name)
        if not isinstance(origin, Mapping):
            continue
        topic, partition = origin.get("topic"), origin.get("partition")
        if isinstance(topic, str) and isinstance(partition, int):
            yield TopicPartition(topic, partition)


@asynccontextmanager
async def open_session_reader(settings: MongoSettings) -> AsyncIterator[SessionReader]:
    """Open a reader, close its connections at the end. Connects at its first command."""
    async with opened_client(settings) as client:
        yield SessionReader(client, settings)
