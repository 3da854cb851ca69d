"""The primitives over MongoDB, for both drivers alike."""

from __future__ import annotations

from asyncio import Semaphore
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from typing import Any

import pymongo

from consumer.aio import stop_quietly
from consumer.contract.kinds import key_of
from consumer.errors import TransientError
from consumer.mongo.clients import (
    ACKNOWLEDGED,
    CLOSE_SECONDS,
    Client,
    collections_of,
    database_of,
)
from consumer.mongo.clients import Collection as MongoCollection
from consumer.mongo.collections import BulkReply, WriteFailure
from consumer.mongo.driver_errors import driver_errors
from consumer.settings.model import MongoSettings
from consumer.state.guards import Upsert

_LENGTH_BYTES = 4
"""How a document of BSON begins: with its length, these bytes included."""


class EncodedDocument:
    """One encoded document on its way to the server.

    The drivers send such an object's bytes as they are: they know it by the mark of their own
    raw documents, which cost three times as much to make. It prints nothing of what it holds.
    """

    __slots__ = ("raw",)
    _type_marker = 101

    def __init__(self, raw: bytes) -> None:
        """Wrap the bytes."""
        self.raw = raw


class MongoCollections:
    """Implements ``Collections``.

    Writes are sent as plain commands, which no driver sends a second time by itself: what may
    have been written without an answer is known to whoever sent it, and asked about.
    """

    def __init__(self, client: Client, settings: MongoSettings) -> None:
        """Work on the collections of all kinds. No I/O yet."""
        self._database = database_of(client, settings)
        self._collections = collections_of(self._database, settings)
        self._turns = Semaphore(settings.max_pool_size)
        self._timeout = settings.timeout

    async def insert(self, collection: str, documents: Sequence[bytes]) -> BulkReply:
        """Insert, unordered. The server adds the ``_id``: what is sent is what was encoded."""
        encoded = [EncodedDocument(document) for document in documents]
        command = {"insert": self._collections[collection].name}
        return await self._write(command, "documents", encoded)

    async def upsert(self, collection: str, upserts: Sequence[Upsert]) -> BulkReply:
        """Upsert, unordered."""
        statements = [{"q": one.filter, "u": one.update, "upsert": True} for one in upserts]
        command = {"update": self._collections[collection].name}
        return await self._write(command, "updates", statements)

    def find(
        self, collection: str, *ids: Sequence[str], fields: Collection[str] | None = None
    ) -> AsyncGenerator[Sequence[bytes], None]:
        """Yield what has one of ``ids`` in each field of the unique index, ``fields`` of it."""
        key = key_of(collection)
        projection = None if fields is None else {"_id": 0, key[0]: 1, **dict.fromkeys(fields, 1)}
        condition = {name: _any_of(some) for name, some in zip(key, ids, strict=True)}
        return self._find(self._collections[collection], condition, projection, len(ids[-1]))

    async def _write(
        self, command: Mapping[str, str], field: str, statements: Sequence[object]
    ) -> BulkReply:
        """Send one write command and read its answer by index."""
        whole = {
            **command,
            "ordered": False,
            "writeConcern": ACKNOWLEDGED.document,  # commands do not take the database's
            field: statements,
        }
        async with self._turns:
            with driver_errors():
                answer: Mapping[str, Any] = await self._database.command(whole)
        failures = {failed["index"]: _failure(failed) for failed in answer.get("writeErrors", ())}
        concern = answer.get("writeConcernError")
        if concern is not None:
            return BulkReply(failures, int(concern.get("code", 0)))
        _check_accounted(int(answer.get("n", 0)), len(statements), len(failures))
        return BulkReply(failures)

    async def _find(
        self,
        collection: MongoCollection,
        condition: Mapping[str, Any],
        projection: Mapping[str, int] | None,
        expected: int,
    ) -> AsyncGenerator[Sequence[bytes], None]:
        # One more than can be there, so that the first answer closes the cursor.
        cursor = collection.find_raw_batches(condition, projection, batch_size=expected + 1)
        with driver_errors():
            try:
                while (reply := await self._next_reply(cursor)) is not None:
                    yield documents_in(reply)
            finally:
                if cursor.alive:  # Motor asks a thread to close it, whatever is left of it
                    with pymongo.timeout(self._timeout):  # of its own accord it has none
                        await stop_quietly(cursor.close(), CLOSE_SECONDS)

    async def _next_reply(self, cursor: AsyncIterator[bytes]) -> bytes | None:
        """Return the cursor's next reply; whoever handles it may send commands meanwhile."""
        async with self._turns:
            with pymongo.timeout(self._timeout):  # also for what the driver does after a cancel
                reply: bytes | None = await anext(cursor, None)
        return reply


def _any_of(ids: Sequence[str]) -> object:
    return ids[0] if len(ids) == 1 else {"$in": list(ids)}


def _failure(failed: Mapping[str, Any]) -> WriteFailure:
    key = failed.get("keyPattern")
    return WriteFailure(int(failed.get("code", 0)), None if key is None else tuple(key))


def _check_accounted(done: int, sent: int, failed: int) -> None:
    """Raise ``TransientError`` unless the answer speaks of every statement that was sent.

    A statement it passes over in silence would count as applied, and its offset be committed.
    """
    if done + failed != sent:
        raise TransientError("incomplete_reply", f"{sent - done - failed} statements unanswered")


def documents_in(reply: bytes) -> Sequence[bytes]:
    """Cut what a cursor brought into its documents; nothing of them is decoded."""
    found: list[bytes] = []
    start = 0
    while start < len(reply):
        end = start + int.from_bytes(reply[start : start + _LENGTH_BYTES], "little")
        found.append(reply[start:end])
        start = end
    return found
