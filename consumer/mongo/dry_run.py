"""What applying would do to MongoDB, found out without doing it.

Every record is judged as the store would judge it: by the documents, or by what an earlier
record would have written in their place.
"""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import Mapping, Sequence
from functools import partial

from bson.raw_bson import RawBSONDocument

from consumer.mongo.collections import Collections
from consumer.mongo.duplicates import Asked, LookUp
from consumer.ports import WriteBatch
from consumer.state.bson_compare import raw_document
from consumer.state.guards import has_place_taken
from consumer.state.outcomes import (
    APPLIED,
    Outcome,
    Result,
    came_from,
    classify_duplicate,
    has_time_alike,
    origin_position,
)
from consumer.state.writes import Write

DIGEST_BYTES = 16
"""Of an identity: small keys make small indexes, and no two of a trillion are likely the same."""


class DryStore:
    """Predicts the outcomes of batches; implements ``Store``, and ``repair`` is a ``Repair``.

    What would have been written so far is in a scratch database: it grows with the records. What
    MongoDB itself refuses for good (a validator) cannot be foreseen; ``late`` is not marked.

    ``contradictions``: how many records differ from what a record of another partition would have
    written in their place. Which of the two comes first is not known beforehand, so that the
    run may end otherwise. Within a partition the first by offset always comes first. Where there
    are none, the counts of all outcomes are exact.
    """

    def __init__(self, collections: Collections, database: sqlite3.Connection) -> None:
        """Read from ``collections``, keep in ``database`` what would have been written."""
        self._collections = collections
        self._database = database
        self._one_at_a_time = asyncio.Lock()
        self.contradictions = 0
        database.execute("CREATE TABLE dry_run (identity BLOB PRIMARY KEY, content BLOB)")

    def prepare(self, writes: Sequence[Write]) -> WriteBatch:
        """See ``Store``. What was judged once stays: by itself, it would have been written."""
        results: list[Result] = []

        async def execute() -> Sequence[Result]:
            if not results:
                results.extend(await self.judge(writes))
            return results

        return execute

    def forget(self) -> None:
        """Nothing is remembered of sessions that a rebalance could outdate."""

    async def repair(self, write: Write) -> bool:
        """See ``Repair``: find out whether the document would be put back."""
        found: list[RawBSONDocument] = []

        def tell(stored: RawBSONDocument | None) -> None:
            if stored is not None and has_place_taken(write, stored):
                found.append(stored)

        async with self._one_at_a_time:
            earlier = self.content_of(write)
            if earlier is None:
                await _look_up(self._collections, [Asked(write, tell)])
            else:
                found.append(earlier)
            if not any(came_from(stored, write) for stored in found):
                return False
            self.put(write)
            return True

    async def judge(self, writes: Sequence[Write]) -> list[Result]:
        """Return one result for each write. Raises ``TransientError``: nothing is remembered then.

        A stored document is judged and let go, so that no batch holds them all.
        """
        judged: dict[int, Result] = {}
        asked = [Asked(one, partial(_judge, judged, at, one)) for at, one in enumerate(writes)]
        await _look_up(self._collections, asked)
        # One batch after the other: each is judged by all that those before it would have written.
        async with self._one_at_a_time:
            return await asyncio.to_thread(self.predict, writes, judged)

    def predict(self, writes: Sequence[Write], judged: Mapping[int, Result]) -> list[Result]:
        """Return how each write would end. ``judged`` holds results by what is stored.

        Of one identity the first is applied and the others are judged by it; writes of different
        identities commute.
        """
        results: list[Result] = []
        for index, write in enumerate(writes):
            earlier = self.content_of(write)
            if earlier is not None and has_place_taken(write, earlier):
                result = classify_duplicate(write, earlier)
                self.contradictions += _may_differ(write, earlier, result)
            elif index in judged and earlier is None:
                result = judged[index]
            else:
                self.put(write)
                result = APPLIED
            results.append(result)
        return results

    def content_of(self, write: Write) -> RawBSONDocument | None:
        """Return what would have been written in the place of a write."""
        row = self._database.execute(
            "SELECT content FROM dry_run WHERE identity = ?", (_digest(write),)
        ).fetchone()
        return None if row is None else raw_document(row[0])

    def put(self, write: Write) -> None:
        """Count the write as written, in the place of an earlier one."""
        self._database.execute(
            "INSERT OR REPLACE INTO dry_run VALUES (?, ?)",
            (_digest(write), bytes(write.content.raw)),
        )


async def _look_up(collections: Collections, asked: Sequence[Asked]) -> None:
    errors = await LookUp(collections).ask(asked)
    if errors:
        raise errors[0]


def _judge(
    results: dict[int, Result], index: int, write: Write, stored: RawBSONDocument | None
) -> None:
    if stored is not None and has_place_taken(write, stored):
        results[index] = classify_duplicate(write, stored)


def _may_differ(write: Write, earlier: RawBSONDocument, result: Result) -> bool:
    """Tell whether others would end otherwise, were this record the first of the two."""
    origin, position = origin_position(earlier, write), write.position
    if origin is None or origin[:2] == (position.topic, position.partition):
        return False
    return result.outcome is Outcome.CONFLICT or not has_time_alike(earlier, write)


def _digest(write: Write) -> bytes:
    """Ids hold no NUL, so it separates the parts."""
    identity = "\0".join((write.kind.part, *write.ids)).encode()
    return hashlib.blake2b(identity, digest_size=DIGEST_BYTES).digest()
