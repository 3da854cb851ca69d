"""What applying would do to MongoDB, found out without doing it.

Every record is judged as the store would judge it: by the documents, or by what an earlier
record would have written in their place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Protocol, TypeVar

from bson.raw_bson import RawBSONDocument

from consumer.state.batch import APPLIED
from consumer.state.bson_content import raw_document
from consumer.state.guards import guard_of
from consumer.state.outcomes import Result
from consumer.state.verdict import judge
from consumer.state.writes import EventWrite, Write
from consumer.store.collections import Collections

T = TypeVar("T")

MAX_IN_ONE_FIND = 500
FINDS_AT_ONCE = 8

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

    def begin(self, writes: Sequence[Write]) -> DryApplication:
        """Start judging ``writes``, in offset order within each partition. No I/O yet."""
        return DryApplication(writes, self._collections, self._memory)

    def forget(self) -> None:
        """Nothing is remembered of sessions that a rebalance could outdate."""


class DryApplication:
    """A batch being judged; implements ``consumer.ports.Application``."""

    def __init__(self, writes: Sequence[Write], collections: Collections, memory: Memory) -> None:
        """See ``DryStore``."""
        self._writes = writes
        self._collections = collections
        self._memory = memory
        self._results: list[Result] | None = None

    async def attempt(self) -> Sequence[Result]:
        """Judge the whole batch; one result for each write, in their order.

        Raises ``TransientError``: nothing is remembered then, call again after a pause.
        """
        if self._results is None:
            taken = await taken_places(self._writes, self._collections, self._memory)
            results, applied = predict(self._writes, taken)
            await self._memory.remember(applied)
            self._results = results
        return self._results


def predict(
    writes: Sequence[Write], taken: Mapping[Identity, RawBSONDocument]
) -> tuple[list[Result], dict[Identity, bytes]]:
    """Return how each write would end, and the contents that would be new. Pure.

    One after the other is the same as all at once: of one identity the first is applied and
    the others are judged by it, and writes of different identities commute.
    """
    results: list[Result] = []
    applied: dict[Identity, RawBSONDocument] = {}
    for write in writes:
        stored = applied.get(write.identity)
        if stored is None:
            stored = taken.get(write.identity)
        if stored is None:
            applied[write.identity] = write.content
            results.append(APPLIED)
        else:
            results.append(judge(write, stored))
    return results, {identity: bytes(content.raw) for identity, content in applied.items()}


async def taken_places(
    writes: Sequence[Write], collections: Collections, memory: Memory
) -> dict[Identity, RawBSONDocument]:
    """Return what stands in the place of each write's identity, where anything does.

    Raises ``TransientError``.
    """
    first_of = {write.identity: write for write in reversed(writes)}
    remembered = await memory.recall(first_of)
    taken = {identity: raw_document(content) for identity, content in remembered.items()}
    asked = [write for identity, write in first_of.items() if identity not in taken]
    stored = await asyncio.gather(
        _stored_events([write for write in asked if isinstance(write, EventWrite)], collections),
        _stored_sessions(
            [write for write in asked if not isinstance(write, EventWrite)], collections
        ),
    )
    return taken | stored[0] | stored[1]


async def _stored_events(
    writes: Sequence[EventWrite], collections: Collections
) -> dict[Identity, RawBSONDocument]:
    by_session: dict[str, list[EventWrite]] = {}
    for write in writes:
        by_session.setdefault(write.session_id, []).append(write)
    found: dict[Identity, RawBSONDocument] = {}
    finds = iter([(session, part) for session, own in by_session.items() for part in _parts(own)])

    async def work_off() -> None:
        for session_id, part in finds:
            identities = {write.event_id: write.identity for write in part}
            for document in await collections.find_events(session_id, list(identities)):
                found[identities[document["eventId"]]] = document

    async with asyncio.TaskGroup() as group:
        for _ in range(FINDS_AT_ONCE):
            group.create_task(work_off())
    return found


async def _stored_sessions(
    writes: Sequence[Write], collections: Collections
) -> dict[Identity, RawBSONDocument]:
    by_session: dict[str, list[Write]] = {}
    for write in writes:
        by_session.setdefault(write.session_id, []).append(write)
    found: dict[Identity, RawBSONDocument] = {}
    for part in _parts(by_session):
        for document in await collections.find_sessions(part):
            for write in by_session[document["sessionId"]]:
                if _is_taken(write, document):
                    found[write.identity] = document
    return found


def _is_taken(write: Write, session: RawBSONDocument) -> bool:
    """A session may be there without its creation, or without its end: a stub, an open one."""
    return not isinstance(write, EventWrite) and not guard_of(write).holds(session)


def _parts(items: Iterable[T]) -> Iterator[list[T]]:
    waiting = iter(items)
    while part := list(islice(waiting, MAX_IN_ONE_FIND)):
        yield part
