"""What applying would do to MongoDB, found out without doing it.

Every record is judged as the store would judge it: by the documents, or by what an earlier
record would have written in their place.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Protocol

from bson.raw_bson import RawBSONDocument

from consumer.mongo.collections import Collections
from consumer.mongo.duplicates import Asked, LookUp, judged_session_fields
from consumer.state.batch import APPLIED
from consumer.state.bson_compare import raw_document
from consumer.state.duplicates import classify_duplicate
from consumer.state.outcomes import Result
from consumer.state.writes import EventWrite, Write, guard_of

Identity = tuple[str, ...]
"""What may be there once: an event, a session's creation, a session's end."""


class Memory(Protocol):
    """What would have been written so far. Grows with the records: keep it on a disk."""

    async def recall(self, identities: Collection[Identity]) -> Mapping[Identity, bytes]:
        """Return the encoded contents that are remembered of these."""
        ...

    async def remember(self, contents: Mapping[Identity, bytes]) -> None:
        """Remember encoded contents, in the place of older ones."""
        ...


class DryStore:
    """Predicts the outcomes of batches; implements ``consumer.ports.Store``.

    Batches that touch the same session must not be under way at once. What the database
    itself refuses for good (a validator) cannot be foreseen; ``late`` is not marked.
    """

    def __init__(self, collections: Collections, memory: Memory) -> None:
        """Read from ``collections``, remember in ``memory``."""
        self._collections = collections
        self._memory = memory

    def prepare(self, writes: Sequence[Write]) -> DryWriteBatch:
        """Start judging ``writes``, in offset order within each partition. No I/O yet."""
        return DryWriteBatch(writes, self._collections, self._memory)

    def forget(self) -> None:
        """Nothing is remembered of sessions that a rebalance could outdate."""


class DryWriteBatch:
    """A batch being judged; implements ``consumer.ports.WriteBatch``."""

    def __init__(self, writes: Sequence[Write], collections: Collections, memory: Memory) -> None:
        """See ``DryStore``."""
        self._writes = writes
        self._collections = collections
        self._memory = memory
        self._results: list[Result] | None = None

    async def execute(self) -> Sequence[Result]:
        """Judge the whole batch; one result for each write, in their order.

        Raises ``TransientError``: nothing is remembered then, call again after a pause.
        """
        if self._results is None:
            remembered, judged = await remembered_or_judged(
                self._writes, self._collections, self._memory
            )
            results, applied = predict(self._writes, remembered, judged)
            await self._memory.remember(applied)
            self._results = results
        return self._results


def predict(
    writes: Sequence[Write],
    remembered: Mapping[Identity, RawBSONDocument],
    judged: Mapping[int, Result],
) -> tuple[list[Result], dict[Identity, bytes]]:
    """Return how each write would end, and the contents that would be new. Pure.

    ``remembered`` would have been written earlier; ``judged`` holds results by what is stored.
    One after the other is the same as all at once: of one identity the first is applied and
    the others are judged by it, and writes of different identities commute.
    """
    results: list[Result] = []
    taken = dict(remembered)
    applied: dict[Identity, bytes] = {}
    for index, write in enumerate(writes):
        stored = taken.get(write.identity)
        if stored is not None:
            results.append(classify_duplicate(write, stored))
        elif index in judged:
            results.append(judged[index])
        else:
            taken[write.identity] = write.content
            applied[write.identity] = bytes(write.content.raw)
            results.append(APPLIED)
    return results, applied


async def remembered_or_judged(
    writes: Sequence[Write], collections: Collections, memory: Memory
) -> tuple[dict[Identity, RawBSONDocument], dict[int, Result]]:
    """Return what is remembered of the writes' identities, and the results by what is stored.

    A stored document is judged and let go, so that no batch holds them all.
    Raises ``TransientError``.
    """
    remembered = await memory.recall({write.identity for write in writes})
    judged: dict[int, Result] = {}
    asked = [
        asking(write, partial(_judged, judged, index, write))
        for index, write in enumerate(writes)
        if write.identity not in remembered
    ]
    troubles = await LookUp(collections).ask(asked)
    if troubles:
        raise troubles[0]
    return {identity: raw_document(content) for identity, content in remembered.items()}, judged


def asking(write: Write, tell: Callable[[RawBSONDocument | None], None]) -> Asked:
    """Ask for what a write is judged by."""
    fields = () if isinstance(write, EventWrite) else judged_session_fields(write)
    return Asked(write, tell, fields)


def is_taken(write: Write, stored: RawBSONDocument) -> bool:
    """A session may be there without its creation, or without its end: a stub, an open one."""
    return isinstance(write, EventWrite) or not guard_of(write).holds(stored)


def _judged(
    results: dict[int, Result], index: int, write: Write, stored: RawBSONDocument | None
) -> None:
    if stored is not None and is_taken(write, stored):
        results[index] = classify_duplicate(write, stored)
