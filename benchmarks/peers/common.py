"""What every peer is given alike: its place, the documents' shape and the three indexes."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from types import FrameType
from typing import Any

from pymongo import IndexModel, MongoClient, UpdateOne, WriteConcern
from pymongo.database import Database

Document = dict[str, Any]

MAJORITY = WriteConcern("majority", j=True)
INDEXES = {
    "conversation_sessions": [IndexModel("sessionId", unique=True)],
    "conversation_events": [
        IndexModel([("sessionId", 1), ("eventId", 1)], unique=True),
        IndexModel([("sessionId", 1), ("timestamp", 1), ("eventId", 1)]),
    ],
}


@dataclass(frozen=True)
class Place:
    """Where to read and where to write."""

    kafka: str
    mongodb: str
    topics: list[str]
    group: str
    database: str


def place() -> Place:
    """Return what the benchmark says."""
    return Place(**json.loads(os.environ["BENCHMARK_PLACE"]))


def database(at: Place) -> Database[Document]:
    """Return the database, with the same indexes and write concern as everybody's."""
    found = MongoClient[Document](at.mongodb, tz_aware=True).get_database(
        at.database, write_concern=MAJORITY
    )
    for collection, indexes in INDEXES.items():
        found[collection].create_indexes(indexes)
    return found


def event(message: Document, topic: Any, partition: Any, offset: Any) -> Document:
    """Return the document of an event."""
    return {
        "sessionId": message["sessionId"],
        "eventId": message["eventId"],
        "type": message["eventType"],
        "payload": message["payload"],
        "timestamp": datetime.fromisoformat(message["timestamp"]),
        "from": {"topic": topic, "partition": partition, "offset": offset},
    }


def session(message: Document) -> UpdateOne:
    """Return the upsert of a session's message: every field that it has is set."""
    fields = {
        name: datetime.fromisoformat(value) if name.endswith("At") else value
        for name, value in message.items()
        if name not in {"type", "sessionId"}
    }
    fields["status"] = message["type"].removeprefix("session.")
    return UpdateOne({"sessionId": message["sessionId"]}, {"$set": fields}, upsert=True)


def not_only_duplicates(errors: Iterable[Document]) -> bool:
    """Whether anything else than a duplicate key has gone wrong."""
    return any(error["code"] != 11000 for error in errors)


def on_stop(stop: Callable[[], object]) -> None:
    """Call ``stop`` at SIGTERM."""

    def received(_number: int, _frame: FrameType | None) -> None:
        stop()

    signal.signal(signal.SIGTERM, received)
