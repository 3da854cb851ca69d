"""What is stored, set beside what was expected."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from consumer.demo.expectation import Document, Expectation, fingerprint
from consumer.mongo.clients import (
    Client,
    Collection,
    close_client,
    collection_of,
    database_of,
    open_client,
)
from consumer.mongo.failures import translated
from consumer.settings import MongoSettings

_READ_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """One line of the result."""

    what: str
    expected: int
    found: int

    @property
    def agrees(self) -> bool:
        """Whether it is as it must be."""
        return self.expected == self.found


class Stored:
    """Everything in the two collections. Its methods raise ``TransientError``."""

    def __init__(self, client: Client, settings: MongoSettings) -> None:
        """Read the collections that the settings name. No I/O yet."""
        database = database_of(client, settings)
        self._sessions = collection_of(database, settings.sessions)
        self._events = collection_of(database, settings.events)

    async def event_count(self) -> int:
        """Return how many events are stored, by a quick count."""
        with translated():
            return int(await self._events.estimated_document_count())

    async def session_counts(self) -> tuple[int, int]:
        """Return how many sessions have been created, and how many of them have completed."""
        created: dict[str, Any] = {"startedAt": {"$exists": True}}
        with translated():
            return (
                int(await self._sessions.count_documents(created)),
                int(await self._sessions.count_documents({**created, "status": "completed"})),
            )

    async def compare(self, expected: Expectation) -> list[Comparison]:
        """Read every document and compare it with the one that the messages ask for."""
        sessions, completed, same_sessions = 0, 0, set[str]()
        fingerprints = expected.sessions()
        async for document in _all(self._sessions):
            sessions += 1
            completed += document.get("status") == "completed"
            if fingerprints.get(document["sessionId"]) == fingerprint(document):
                same_sessions.add(document["sessionId"])
        events, ids, same_events = 0, set[tuple[str, str]](), 0
        async for document in _all(self._events):
            events += 1
            key = document["sessionId"], document["eventId"]
            same_events += key not in ids and expected.events.get(key) == fingerprint(document)
            ids.add(key)
        return [
            Comparison("sessions", expected.session_count, sessions),
            Comparison("  of them completed", expected.completed, completed),
            Comparison("  exactly as published", expected.session_count, len(same_sessions)),
            Comparison("events", len(expected.events), events),
            Comparison("  exactly as published", len(expected.events), same_events),
            Comparison("  stored twice", 0, events - len(ids)),
        ]


async def _all(collection: Collection) -> AsyncIterator[Document]:
    with translated():
        async for document in collection.find({}):
            yield document


@asynccontextmanager
async def open_stored(settings: MongoSettings) -> AsyncIterator[Stored]:
    """Open the collections for reading, close the connections at the end."""
    # The driver's deadline holds for a cursor's whole life, and every document is read with one.
    settings = settings.model_copy(update={"timeout": _READ_SECONDS})
    client = open_client(settings)
    try:
        yield Stored(client, settings)
    finally:
        await close_client(client)
