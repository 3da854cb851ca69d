"""Looking up what stands in the place of writes: bounded in ids, in bytes, and at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Sequence
from functools import partial

import bson
import pytest
from bson.raw_bson import RawBSONDocument

from consumer.contract.kinds import SESSIONS
from consumer.errors import TimedOutError
from consumer.mongo.bulk import BatchSizers
from consumer.mongo.duplicates import EXPECTED_BYTES, FINDS_AT_ONCE, Asked, LookUp
from consumer.mongo.store import MongoStore
from consumer.state.outcomes import Outcome
from consumer.state.writes import ActivityWrite
from tests.adapters.mongo.applying import apply
from tests.fakes.collections import Command, Fault, MemoryCollections
from tests.unit.state.builders import completed, created, event, write

MEGABYTE = 1_000_000
METADATA = {"text": "x" * MEGABYTE}


class Watched(MemoryCollections):
    """Collections that note what is asked of them and how much of it is on its way."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: list[set[str]] = []
        self.bytes_read = 0
        self.running = 0
        self.most_running = 0
        self.untold = 0
        self.most_untold = 0

    def told(self, _document: RawBSONDocument | None) -> None:
        self.untold -= 1

    async def find(
        self, collection: str, *ids: Sequence[str], fields: Collection[str] | None = None
    ) -> AsyncGenerator[Sequence[bytes], None]:
        if collection == SESSIONS:
            assert fields is not None
            self.fields.append(set(fields))
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        await asyncio.sleep(0)
        async for reply in super().find(collection, *ids, fields=fields):
            self.bytes_read += sum(map(len, reply))
            self.untold += len(reply)
            self.most_untold = max(self.untold, self.most_untold)
            yield reply
        self.running -= 1


@pytest.mark.reliability("F69")
async def test_the_sessions_of_many_events_are_read_without_what_they_hold() -> None:
    collections = Watched()
    sessions = [f"s{number}" for number in range(30)]
    for session_id in sessions:
        collections.put_session(
            {"sessionId": session_id, "status": "active", "metadata": METADATA, "startedAt": 1}
        )
    batch = [write(event(name, "e"), place) for place, name in enumerate(sessions)]
    batch += [write(completed(name), 50 + place) for place, name in enumerate(sessions)]
    results = await apply(MongoStore(collections), batch)
    assert {result.outcome for result in results} == {Outcome.APPLIED}
    results = await apply(MongoStore(collections), batch)
    assert {result.outcome for result in results} == {Outcome.REDELIVERED}
    assert all("metadata" not in fields for fields in collections.fields)
    assert collections.bytes_read < MEGABYTE


@pytest.mark.reliability("F69")
async def test_what_one_find_is_expected_to_bring_is_bounded() -> None:
    collections = Watched()
    batch = [write(created(f"s{n}", metadata=METADATA), n) for n in range(40)]
    await apply(MongoStore(collections), batch)
    results = await apply(MongoStore(collections), batch)
    assert {result.outcome for result in results} == {Outcome.REDELIVERED}
    together = collections.sizes(Command.FIND_SESSIONS)
    assert sum(together) == 40
    assert max(together) == EXPECTED_BYTES // MEGABYTE
    assert 1 < collections.most_running <= FINDS_AT_ONCE


@pytest.mark.reliability("F69")
async def test_events_are_bounded_by_their_bytes_too() -> None:
    collections = MemoryCollections()
    batch = [write(event("s", f"e{n}", METADATA), n) for n in range(10)]
    await apply(MongoStore(collections), batch)
    await apply(MongoStore(collections), batch)
    assert max(collections.sizes(Command.FIND_EVENTS)) == EXPECTED_BYTES // MEGABYTE


@pytest.mark.reliability("F69")
async def test_each_document_is_judged_before_the_next_one_of_its_find_is_read() -> None:
    collections = Watched()
    for number in range(500):
        collections.put_session({"sessionId": f"s{number}", "status": "active"})
    asked = [Asked(ActivityWrite(f"s{n}"), collections.told, ("status",)) for n in range(500)]
    assert await LookUp(collections).ask(asked) == []
    assert (collections.untold, collections.most_untold) == (0, 1)


async def test_everybody_who_asks_about_a_place_is_told_and_absence_once() -> None:
    collections = MemoryCollections()
    collections.put_session({"sessionId": "s", "status": "active"})
    told: list[tuple[str, str | None]] = []

    def tell(who: str, document: RawBSONDocument | None) -> None:
        told.append((who, None if document is None else document["status"]))

    writes = {"end": write(completed("s")), "creation": write(created("s"))}
    asked = [Asked(one, partial(tell, who), ("status",)) for who, one in writes.items()]
    asked.append(Asked(ActivityWrite("t"), partial(tell, "absent"), ("status",)))
    assert await LookUp(collections).ask(asked) == []
    assert sorted(told, key=str) == [("absent", None), ("creation", "active"), ("end", "active")]


async def test_nobody_is_told_of_absence_by_a_find_that_had_no_answer() -> None:
    collections = MemoryCollections()
    collections.script(Command.FIND_SESSIONS, Fault(TimedOutError("NetworkTimeout")))
    told: list[RawBSONDocument | None] = []
    sizers = BatchSizers()
    asked = [Asked(ActivityWrite(f"s{n}"), told.append, ("status",)) for n in range(100)]
    (trouble,) = await LookUp(collections, sizers).ask(asked)
    assert isinstance(trouble, TimedOutError)
    assert (told, sizers.sessions.limit) == ([], 50)


class Foreign(MemoryCollections):
    """Holds a document of another writer, whose id is an array."""

    def __init__(self, document: dict[str, object]) -> None:
        super().__init__()
        self._foreign = bson.encode(document)

    async def find(
        self, collection: str, *ids: Sequence[str], fields: Collection[str] | None = None
    ) -> AsyncGenerator[Sequence[bytes], None]:
        yield [self._foreign]


@pytest.mark.parametrize("ids", [["e0", "e1"], ["e1", 7, ["e0"]]])
async def test_an_array_takes_the_places_of_its_elements(ids: list[object]) -> None:
    told: list[str] = []

    def tell(name: str, found: RawBSONDocument | None) -> None:
        told.append(f"{name} {found is not None}")

    names = ("e0", "e1", "e2")
    asked = [Asked(write(event("s", name)), partial(tell, name)) for name in names]
    assert await LookUp(Foreign({"sessionId": "s", "eventId": ids})).ask(asked) == []
    assert sorted(told) == [f"{name} {name in ids}" for name in names]
