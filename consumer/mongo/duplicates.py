"""Looking up the documents that stand in the place of writes, and what follows from them.

Bounded in the ids of one find, in the bytes that are expected of it, and in the finds that
run at once. Each document is told as it comes and then let go: a find of 500 documents of
16 MiB holds no more than one reply of the server's, which is at most as large as one of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bson.raw_bson import RawBSONDocument

from consumer.errors import ConsumerError, TimedOutError
from consumer.mongo.bulk import BatchSizer, BatchSizers, PendingWrite, W
from consumer.mongo.collections import Collections
from consumer.mongo.results import ResultRecorder
from consumer.state.duplicates import compared_fields
from consumer.state.writes import ActivityWrite, CreateWrite, EventWrite, SessionWrite, guard_of

FINDS_AT_ONCE = 4

EXPECTED_BYTES = 4 * 1024 * 1024
"""What the contents of the writes asked for by one find may weigh: what is stored in their
places is mostly the same."""


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A write whose place is looked at.

    ``tell`` gets each document that is found there: one, as long as the unique indexes hold.
    Where there is none it gets None, once. ``fields``: what is read of a session's document
    besides its id; an event's is read whole.
    """

    write: EventWrite | SessionWrite
    tell: Callable[[RawBSONDocument | None], None]
    fields: tuple[str, ...] = ()


Places = dict[str, list[Asked]]
"""What is asked about, by the id that tells the documents of one find apart."""


def judged_session_fields(write: SessionWrite) -> tuple[str, ...]:
    """Return the fields of a session by which a write is judged whose place is taken."""
    judged = () if isinstance(write, ActivityWrite) else compared_fields(write)
    return ("status", guard_of(write).field, *judged)


class LookUp:
    """Finds documents over a store's two collections."""

    def __init__(self, collections: Collections, sizers: BatchSizers | None = None) -> None:
        """``sizers``: how many ids a find carries; smaller where finds time out."""
        self._collections = collections
        self._sizers = BatchSizers() if sizers is None else sizers

    async def ask(self, asked: Iterable[Asked]) -> list[ConsumerError]:
        """Have all of them told; return what went wrong.

        After a find that had no answer no further one is started: then some have not been
        told, and some may have been told of a part of what is there.
        """
        events: dict[str, Places] = {}
        sessions: Places = {}
        for one in asked:
            write = one.write
            if isinstance(write, EventWrite):
                of_session = events.setdefault(write.session_id, {})
                of_session.setdefault(write.event_id, []).append(one)
            else:
                sessions.setdefault(write.session_id, []).append(one)
        return await _run_bounded(
            [
                *self._event_finds(events),
                *self._session_finds({k: v for k, v in sessions.items() if not _created(v)}),
                # Only these read metadata, which may be as large as a document.
                *self._session_finds({k: v for k, v in sessions.items() if _created(v)}),
            ]
        )

    def _event_finds(self, by_session: Mapping[str, Places]) -> Iterator[_Find]:
        sizer = self._sizers.events
        for session_id, places in by_session.items():
            for part in _parts(places, sizer):
                documents = self._collections.find_events(session_id, list(part))
                yield _Find(sizer, "eventId", part, documents)

    def _session_finds(self, places: Places) -> Iterator[_Find]:
        sizer = self._sizers.sessions
        for part in _parts(places, sizer):
            fields = {field for asked in part.values() for one in asked for field in one.fields}
            documents = self._collections.find_sessions(list(part), sorted(fields))
            yield _Find(sizer, "sessionId", part, documents)


@dataclass(frozen=True, slots=True, eq=False)
class _Find:
    sizer: BatchSizer
    key: str
    places: Places
    documents: AsyncIterator[RawBSONDocument]

    async def run(self) -> None:
        """Tell everybody. Raises ``TransientError`` where the database could not be asked."""
        missing = dict.fromkeys(self.places)
        try:
            async for document in self.documents:
                for taken in ids_in(document.get(self.key)):
                    missing.pop(taken, None)
                    for one in self.places.get(taken, ()):
                        one.tell(document)
        except TimedOutError:
            self.sizer.timed_out(len(self.places))
            raise
        self.sizer.fitted(len(self.places))
        for absent in missing:
            for one in self.places[absent]:
                one.tell(None)


def ids_in(value: object) -> Iterator[str]:
    """Yield the ids whose place a stored value takes: an array takes one for each element."""
    for one in value if isinstance(value, list) else (value,):
        if isinstance(one, str):
            yield one


def _created(asked: Sequence[Asked]) -> bool:
    return any(isinstance(one.write, CreateWrite) for one in asked)


def _parts(places: Places, sizer: BatchSizer) -> Iterator[Places]:
    """Cut into finds, by the ids and by what is expected to be found."""
    part: Places = {}
    expected = 0
    for name, asked in places.items():
        weight = max((_weight(one.write) for one in asked), default=0)
        if part and (len(part) >= sizer.limit or expected + weight > EXPECTED_BYTES):
            yield part
            part, expected = {}, 0
        part[name] = asked
        expected += weight
    if part:
        yield part


def _weight(write: EventWrite | SessionWrite) -> int:
    return 0 if isinstance(write, ActivityWrite) else len(write.content.raw)


async def _run_bounded(finds: Sequence[_Find]) -> list[ConsumerError]:
    """Run the finds, a few at once; after one had no answer no further one is started."""
    errors: list[ConsumerError] = []
    waiting = iter(finds)

    async def work_off() -> None:
        for find in waiting:
            try:
                await find.run()
            except ConsumerError as error:
                errors.append(error)
            if errors:
                return

    await asyncio.gather(*(work_off() for _ in range(min(FINDS_AT_ONCE, len(finds)))))
    return errors


Judge = Callable[[PendingWrite[W], RawBSONDocument | None], Sequence[ConsumerError]]


class DuplicateResolver:
    """Asked again and again over the attempts of one batch."""

    def __init__(self, lookup: LookUp, settlement: ResultRecorder) -> None:
        """Read by ``lookup``, have ``settlement`` judge."""
        self._lookup = lookup
        self._settlement = settlement

    async def ask(
        self,
        events: Sequence[PendingWrite[EventWrite]],
        sessions: Sequence[PendingWrite[SessionWrite]],
    ) -> list[ConsumerError]:
        """Settle what can be judged; return what went wrong."""
        errors: list[ConsumerError] = []
        asked = [
            Asked(one.write, _judging(one, self._settlement.event_found, errors)) for one in events
        ]
        asked += [
            Asked(
                one.write,
                _judging(one, self._settlement.session_found, errors),
                judged_session_fields(one.write),
            )
            for one in sessions
        ]
        return errors + await self._lookup.ask(asked)


def _judging(
    statement: PendingWrite[W], judge: Judge[W], errors: list[ConsumerError]
) -> Callable[[RawBSONDocument | None], None]:
    """Return what judges a statement by the first document that is found in its place."""
    judged = False

    def tell(document: RawBSONDocument | None) -> None:
        nonlocal judged
        if not judged:
            judged = True
            errors.extend(judge(statement, document))

    return tell
