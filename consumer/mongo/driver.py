"""The primitives over MongoDB, for both drivers alike."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any

from bson.raw_bson import RawBSONDocument
from pymongo import InsertOne, UpdateOne
from pymongo.errors import BulkWriteError
from pymongo.results import BulkWriteResult

from consumer.errors import TransientError
from consumer.mongo.clients import Client, collection_of, database_of
from consumer.mongo.clients import Collection as MongoCollection
from consumer.mongo.collections import BulkReply, WriteFailure
from consumer.mongo.errors import driver_errors
from consumer.settings.model import MongoSettings
from consumer.state.bson_compare import RAW
from consumer.state.writes import SessionUpdate


class MongoCollections:
    """Implements ``Collections``."""

    def __init__(self, client: Client, settings: MongoSettings) -> None:
        """Work on the two collections that the settings name. No I/O yet."""
        database = database_of(client, settings)
        # Bulks must not decode the server's replies as raw documents, finds must.
        self._events = collection_of(database, settings.events)
        self._sessions = collection_of(database, settings.sessions)
        self._stored_events = collection_of(database, settings.events, RAW)
        self._stored_sessions = collection_of(database, settings.sessions, RAW)

    async def insert_events(self, documents: Sequence[RawBSONDocument]) -> BulkReply:
        """Insert, unordered. The server adds the ``_id``: what is sent is what was encoded."""
        return await _bulk(self._events, [InsertOne(document) for document in documents])

    async def update_sessions(self, updates: Sequence[SessionUpdate]) -> BulkReply:
        """Upsert, unordered."""
        return await _bulk(
            self._sessions,
            [UpdateOne(update.filter, update.update, upsert=True) for update in updates],
        )

    def find_events(
        self, session_id: str, event_ids: Sequence[str]
    ) -> AsyncIterator[RawBSONDocument]:
        """Yield these events of one session."""
        condition = {"sessionId": session_id, "eventId": {"$in": list(event_ids)}}
        return _find(self._stored_events, condition, None, len(event_ids))

    def find_sessions(
        self, session_ids: Sequence[str], fields: Collection[str] | None = None
    ) -> AsyncIterator[RawBSONDocument]:
        """Yield these sessions, ``fields`` of them."""
        condition = {"sessionId": {"$in": list(session_ids)}}
        projection = (
            None if fields is None else {"_id": 0, "sessionId": 1, **dict.fromkeys(fields, 1)}
        )
        return _find(self._stored_sessions, condition, projection, len(session_ids))


async def _bulk(
    collection: MongoCollection, statements: Sequence[InsertOne[Any]] | Sequence[UpdateOne]
) -> BulkReply:
    """Send one unordered bulk and read its answer by index."""
    with driver_errors():
        try:
            result: BulkWriteResult = await collection.bulk_write(statements, ordered=False)
        except BulkWriteError as error:
            details: Mapping[str, Any] = error.details
        else:
            details = result.bulk_api_result
    reply = _reply(details)
    if reply.write_concern_code is None:
        _check_accounted(details, len(statements), len(reply.failures))
    return reply


def _reply(details: Mapping[str, Any]) -> BulkReply:
    concerns = details["writeConcernErrors"]
    return BulkReply(
        {failed["index"]: _failure(failed) for failed in details["writeErrors"]},
        int(concerns[-1].get("code", 0)) if concerns else None,
    )


def _failure(failed: Mapping[str, Any]) -> WriteFailure:
    key = failed.get("keyPattern")
    return WriteFailure(int(failed["code"]), None if key is None else tuple(key))


def _check_accounted(details: Mapping[str, Any], sent: int, failed: int) -> None:
    """Raise ``TransientError`` unless the answer speaks of every statement that was sent.

    A statement it passes over in silence would count as applied, and its offset be committed.
    """
    done = details["nInserted"] + details["nMatched"] + details["nUpserted"]
    if done + failed != sent:
        raise TransientError("incomplete_reply", f"{sent - done - failed} statements unanswered")


async def _find(
    collection: MongoCollection,
    condition: Mapping[str, Any],
    projection: Mapping[str, int] | None,
    expected: int,
) -> AsyncIterator[RawBSONDocument]:
    with driver_errors():
        # One more than can be there, so that the first answer closes the cursor.
        cursor = collection.find(condition, projection, batch_size=expected + 1)
        async for document in cursor:
            yield document
