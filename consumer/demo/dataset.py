"""The conversations of the demo, what must be stored of them, and whether it is.

What must be stored is worked out from the messages alone: none of the consumer's own code takes
part, since a fault of it would be expected here as well.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain, groupby
from operator import itemgetter
from typing import Any, Final

from consumer.mongo.clients import (
    Client,
    Collection,
    database_of,
    opened_client,
)
from consumer.mongo.driver_errors import driver_errors
from consumer.settings.model import MongoSettings
from producer_tools.chitchat import DataSetMissingError, chitchat_messages
from producer_tools.conversations import small_set
from producer_tools.outgoing_message import Outgoing, encode_message

_SEED: Final = 1
_GOOD_LENGTHS: Final = range(6, 13)
_READ_SECONDS: Final = 600.0

Document = Mapping[str, Any]

_OF_THE_STORE = frozenset({"_id", "from", "createdFrom", "endedFrom"})
"""Fields that say where a document came from, and nothing about what was said."""


def fingerprint(document: Document) -> bytes:
    """Return a digest of everything in a document that its messages decide.

    Fields of objects count in their order: what was said must come back as it was written.
    """
    said = {name: document[name] for name in sorted(document) if name not in _OF_THE_STORE}
    text = json.dumps(said, default=_time, ensure_ascii=False)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _time(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds")
    raise TypeError(f"no document has a {type(value).__name__}")


class Expectation:
    """Grows with every message. Memory: a digest an event, the fields of each session."""

    def __init__(self) -> None:
        """Expect nothing yet."""
        self.events: dict[tuple[str, str], bytes] = {}
        self._sessions: dict[str, dict[str, Any]] = {}
        self.completed = 0

    @property
    def session_count(self) -> int:
        """How many sessions there are."""
        return len(self._sessions)

    def add(self, message: Document) -> None:
        """Take a well-formed message into account, in whatever order; each once."""
        session_id = message["sessionId"]
        session = self._sessions.setdefault(
            session_id, {"sessionId": session_id, "status": "initiated"}
        )
        match message["type"]:
            case "session.created":
                session["language"] = message["language"]
                session["metadata"] = message["metadata"]
                session["startedAt"] = datetime.fromisoformat(message["startedAt"])
            case "event.recorded":
                if session["status"] == "initiated":
                    session["status"] = "active"
                event = {name: message[name] for name in ("sessionId", "eventId", "payload")}
                event["type"] = message["eventType"]
                event["timestamp"] = datetime.fromisoformat(message["timestamp"])
                self.events[session_id, message["eventId"]] = fingerprint(event)
            case ended:
                session["status"] = ended.removeprefix("session.")
                session["endedAt"] = datetime.fromisoformat(message["endedAt"])
                said = ("reason", "eventCount")
                session |= {name: message[name] for name in said if name in message}
                self.completed += session["status"] == "completed"

    def sessions(self) -> dict[str, bytes]:
        """Return the digest of every session's document."""
        return {session_id: fingerprint(fields) for session_id, fields in self._sessions.items()}


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


class StoredDocuments:
    """Everything in the two collections. Its methods raise ``TransientError``."""

    def __init__(self, client: Client, settings: MongoSettings) -> None:
        """Read the collections that the settings name. No I/O yet."""
        database = database_of(client, settings)
        self._sessions = database.get_collection(settings.sessions)
        self._events = database.get_collection(settings.events)

    async def event_count(self) -> int:
        """Return how many events are stored, by a quick count."""
        with driver_errors():
            return int(await self._events.estimated_document_count())

    async def session_counts(self) -> tuple[int, int]:
        """Return how many sessions have been created, and how many of them have completed."""
        created: dict[str, Any] = {"startedAt": {"$exists": True}}
        with driver_errors():
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
    with driver_errors():
        async for document in collection.find({}):
            yield document


@asynccontextmanager
async def open_stored(settings: MongoSettings) -> AsyncIterator[StoredDocuments]:
    """Open the collections for reading, close the connections at the end."""
    # The driver's deadline holds for a cursor's whole life, and every document is read with one.
    settings = settings.model_copy(update={"timeout": _READ_SECONDS})
    async with opened_client(settings) as client:
        yield StoredDocuments(client, settings)


@dataclass(slots=True)
class Dataset:
    """Messages in the order they are published. ``shown``: the session to print at the end."""

    source: str
    messages: list[Outgoing] = field(default_factory=list)
    expected: Expectation = field(default_factory=Expectation)
    shown: str | None = None


def load_dataset(sessions: int | None) -> Dataset:
    """Return so many conversations (None: all): real ones where the data set is installed."""
    source, messages = _conversations(sessions)
    dataset = Dataset(source)
    for session_id, of_session in groupby(messages, key=itemgetter("sessionId")):
        conversation = list(of_session)
        for message in conversation:
            dataset.expected.add(message)
            dataset.messages.append(encode_message(message))
        if dataset.shown is None and _reads_well(conversation):
            dataset.shown = session_id
    return dataset


def _conversations(sessions: int | None) -> tuple[str, Iterator[Any]]:
    real: Iterator[Any] = chitchat_messages(sessions)
    try:
        return "real conversations", chain((next(real),), real)
    except DataSetMissingError:
        return "invented conversations", small_set(_SEED, 1000 if sessions is None else sessions)


def _reads_well(messages: Iterable[Document]) -> bool:
    """Whether it is short, has an end and two speakers, and its times put it in order."""
    events = [message for message in messages if message["type"] == "event.recorded"]
    return (
        len(events) in _GOOD_LENGTHS
        and len({event["timestamp"] for event in events}) == len(events)
        and {event["eventType"] for event in events} == {"user_speech", "bot_speech"}
        and any(message["type"] == "session.completed" for message in messages)
    )
