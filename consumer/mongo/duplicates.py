"""Looking up the documents that stand in the place of writes, and what follows from them.

Bounded in the ids of one find, in the bytes that are expected of it, and in the finds that
run at once. Each document is told as it comes and then let go: a find of 500 documents of
16 MiB holds no more than one reply of the server's, which is at most as large as one of them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Generic, TypeVar

from bson.raw_bson import RawBSONDocument

from consumer.contract.kinds import EVENTS, SESSION_CREATED, SESSIONS, key_of
from consumer.errors import ConsumerError, TimedOutError
from consumer.mongo.bulk import MAX_IN_ONE_FIND, BatchSizer, BatchSizers, WriteKey
from consumer.mongo.collections import Collections
from consumer.mongo.results import ResultRecorder
from consumer.state.bson_compare import behind_id, behind_length, raw_document
from consumer.state.guards import guard_of
from consumer.state.outcomes import compared_fields
from consumer.state.writes import ActivityWrite, AnyWrite, EventWrite, content_bytes

K = TypeVar("K")

FINDS_AT_ONCE = 4

EXPECTED_BYTES = 4 * 1024 * 1024
"""What the contents of the writes asked for by one find may weigh: what is stored in their
places is mostly the same."""

MAX_FIRST_FINDS = 16
"""How many finds of events of several sessions may ask for those of a batch."""

OWN_FIND = 100
"""From so many events on, a session has finds of its own: with several sessions in one find each
may be searched for the ids of all, and a server that uses the index by ``sessionId`` alone reads
all of each."""

OWN_FIND_BYTES = 64 * 1024
"""What else gives a session finds of its own: a further find costs less than reading so much in
vain. So their number is bounded, by how many events a batch has and what they weigh."""


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A write whose place is looked at.

    ``tell`` gets each document that is found there: one, as long as the unique indexes hold.
    Where there is none it gets None, once. ``fields``: what is read of a session's document
    besides its id and what the write is judged by; others are read whole.
    """

    write: AnyWrite
    tell: Callable[[RawBSONDocument | None], None]
    fields: tuple[str, ...] = ()


Places = dict[str, list[Asked]]
"""What is asked about, by the id that tells the documents of one find apart."""


class LookUp:
    """Finds documents over a store's collections."""

    def __init__(self, collections: Collections, sizers: BatchSizers | None = None) -> None:
        """``sizers``: how many ids a find carries; smaller where finds time out."""
        self.collections = collections
        self._sizers = BatchSizers() if sizers is None else sizers

    async def ask(self, asked: Iterable[Asked]) -> list[ConsumerError]:
        """Have all of them told; return what went wrong.

        After a find that had no answer no further one is started: then some have not been
        told, and some may have been told of a part of what is there.
        """
        groups: dict[tuple[str, tuple[str, ...], bool], Places] = {}
        for one in asked:
            write = one.write
            *same, name = write.ids
            # Only creations are judged by metadata, which may be as large as a document.
            group = (
                SESSIONS if isinstance(write, ActivityWrite) else write.kind.collection,
                tuple(same),
                not isinstance(write, ActivityWrite) and write.kind.name == SESSION_CREATED.name,
            )
            groups.setdefault(group, {}).setdefault(name, []).append(one)
        return await _run_bounded(
            [
                find.run
                for (collection, same_ids, _), places in groups.items()
                for find in self._finds(collection, same_ids, places)
            ]
        )

    async def find_same(self, events: Mapping[K, EventWrite]) -> set[K]:
        """Return those in whose place one document stands alone, byte for byte the write's.

        It only saves asking for each session by itself: of the others nothing is known.
        """
        same: set[K] = set()

        async def look(find: CrossedFind[K]) -> None:
            alike: list[K] = []
            others: set[K] = set()
            if await find.run(alike.append, lambda key, _: others.add(key)):
                same.update(k for k, n in Counter(alike).items() if n == 1 and k not in others)

        finds = crossed_finds(self.collections, events)
        await _run_bounded([partial(look, find) for find in finds])
        return same

    def _finds(self, collection: str, same_ids: tuple[str, ...], places: Places) -> Iterator[_Find]:
        """Yield finds for documents that differ in the last of their ids."""
        sizer = self._sizers.events if same_ids else self._sizers.sessions
        key, same = key_of(collection)[-1], [[one] for one in same_ids]

        def weight(name: str) -> int:
            return max(content_bytes(one.write) for one in places[name])

        for names in sizer.chunks(list(places), weight, EXPECTED_BYTES):
            part = {name: places[name] for name in names}
            fields: Sequence[str] | None = None
            if collection == SESSIONS:
                asked = chain.from_iterable(part.values())
                fields = sorted({field for one in asked for field in _fields(one)})
            replies = self.collections.find(collection, *same, names, fields=fields)
            yield _Find(sizer, key, part, replies)


@dataclass(frozen=True, slots=True, eq=False)
class _Find:
    sizer: BatchSizer
    key: str
    places: Places
    replies: AsyncIterator[Sequence[bytes]]

    async def run(self) -> None:
        """Tell everybody. Raises ``TransientError`` where the database could not be asked."""
        missing = dict.fromkeys(self.places)
        try:
            async for reply in self.replies:
                for document in map(raw_document, reply):
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


def _fields(asked: Asked) -> Iterable[str]:
    """Return what is read of a session's document: by what a write is judged, and more."""
    write, guard = asked.write, guard_of(asked.write)
    compared = () if isinstance(write, ActivityWrite) else compared_fields(write)
    return ("status", *([guard.field] if guard else ()), *compared, *asked.fields)


async def _run_bounded(finds: Sequence[Callable[[], Awaitable[object]]]) -> list[ConsumerError]:
    """Run the finds, a few at once; after one had no answer no further one is started."""
    errors: list[ConsumerError] = []
    waiting = iter(finds)

    async def work_off() -> None:
        for find in waiting:
            try:
                await find()
            except ConsumerError as error:
                errors.append(error.with_traceback(None))  # it holds this call, which has the list
            if errors:
                return

    await asyncio.gather(*(work_off() for _ in finds[:FINDS_AT_ONCE]))
    return errors


async def resolve_duplicates(
    lookup: LookUp, recorder: ResultRecorder, writes: Iterable[WriteKey]
) -> list[ConsumerError]:
    """Settle what was refused for a duplicate key; return what went wrong."""
    errors: list[ConsumerError] = []
    told: set[WriteKey] = set()

    def tell(key: WriteKey, document: RawBSONDocument | None) -> None:
        if key not in told:
            told.add(key)
            errors.extend(recorder.found(key, document))

    asked = [Asked(recorder.write(key), partial(tell, key)) for key in writes]
    return errors + await lookup.ask(asked)


async def ask_first(
    lookup: LookUp, recorder: ResultRecorder, due: Mapping[str, Mapping[WriteKey, AnyWrite]]
) -> None:
    """Settle what is there before anything is sent; an error only costs the saving.

    What is not found says nothing: it is sent, and the unique index decides.
    """
    told: set[WriteKey] = set()

    def alike(key: WriteKey) -> None:
        if key not in told:
            told.add(key)
            recorder.is_there(key)

    def tell(key: WriteKey, document: RawBSONDocument | None) -> None:
        if document is not None and key not in told:
            told.add(key)
            recorder.found_before(key, document)

    others = dict(chain.from_iterable(writes.items() for writes in due.values()))
    events = {key: one for key, one in others.items() if isinstance(one, EventWrite)}
    finds = crossed_finds(lookup.collections, events)
    await _run_bounded([partial(find.run, alike, tell) for find in finds])
    await lookup.ask(
        Asked(one, partial(tell, key)) for key, one in others.items() if key not in events
    )


def crossed_finds(
    collections: Collections, events: Mapping[K, EventWrite]
) -> Sequence[CrossedFind[K]]:
    """Return finds for events; none where those of several sessions would be too many.

    By all their sessions and all their event ids at once: a condition of pairs is slow, and
    a find for each session is many. An id of two sessions would bring what nobody asked for.
    A session of which much is asked for is not crossed with others.
    """
    by_session: dict[str, list[tuple[K, EventWrite]]] = {}
    for key, event in events.items():
        by_session.setdefault(event.session_id, []).append((key, event))
    crossed: list[CrossedFind[K]] = []
    alone: list[CrossedFind[K]] = []
    for session_id, some in by_session.items():
        much = len(some) >= OWN_FIND or sum(len(one.document) for _, one in some) >= OWN_FIND_BYTES
        finds = alone if much else crossed
        taken = crossed[-1].take(session_id, some) if finds is crossed and crossed else 0
        while taken < len(some):
            if finds is crossed and len(crossed) == MAX_FIRST_FINDS:
                return ()
            finds.append(CrossedFind(collections))
            taken += finds[-1].take(session_id, some[taken:])
    return alone + crossed


class CrossedFind(Generic[K]):
    """One find for events of several sessions that have no event id in common.

    Each is known by a key, and no two stand in one place.
    """

    def __init__(self, collections: Collections) -> None:
        """Begin without events."""
        self._collections = collections
        self._keys: dict[str, K] = {}
        self._ours: dict[bytes | None, K] = {}
        self._session_of: dict[str, str] = {}
        self._bytes = 0

    def take(self, session_id: str, events: Iterable[tuple[K, EventWrite]]) -> int:
        """Take events of one session while they fit, one at least; return how many."""
        keys, taken = self._keys, 0
        for key, (_, event_id, document, _) in events:
            if event_id in keys or len(keys) == MAX_IN_ONE_FIND:
                break
            self._bytes += len(document)
            if self._bytes > EXPECTED_BYTES and keys:
                break
            keys[event_id] = key
            self._session_of[event_id] = session_id
            self._ours[behind_length(document)] = key
            taken += 1
        return taken

    async def run(
        self, alike: Callable[[K], None], other: Callable[[K, RawBSONDocument], None]
    ) -> bool:
        """Tell of each document that stands in a place: by its bytes, or of what it says.

        False where not all was read: their ids are those of other sessions too.
        Raises ``TransientError`` where the database could not be asked.
        """
        read, most = 0, 2 * len(self._keys)
        sessions = list(dict.fromkeys(self._session_of.values()))
        replies = self._collections.find(EVENTS, sessions, list(self._session_of))
        async with aclosing(replies):
            async for reply in replies:
                for document in reply:
                    key = self._ours.get(behind_id(document))
                    if key is None:
                        self._tell(raw_document(document), other)
                    else:
                        alike(key)
                read += len(reply)
                if read > most:
                    return False
        return True

    def _tell(self, found: RawBSONDocument, other: Callable[[K, RawBSONDocument], None]) -> None:
        sessions = set(ids_in(found.get("sessionId")))
        for event_id in ids_in(found.get("eventId")):
            if self._session_of.get(event_id) in sessions:
                other(self._keys[event_id], found)
