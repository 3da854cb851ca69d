"""Answers as MongoDB's own sources give them, over both drivers, from a scripted server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import bson
import pytest
from bson.raw_bson import RawBSONDocument
from pydantic import SecretStr

from consumer.checks import CheckStatus
from consumer.errors import PreconditionError, TransientError
from consumer.mongo.indexes import Index, required_indexes
from consumer.mongo.store import OpenStore, open_store
from consumer.settings.model import MongoSettings
from consumer.settings.values import Driver
from consumer.state.outcomes import Outcome
from tests.adapters.mongo.applying import apply
from tests.unit.state.builders import created, event, write

from .wire import PRIMARY, ROUTER, Answer, ScriptedServer, cursor, refusal, scripted_server
from .wire import for_each_statement as router_says

SETTINGS = MongoSettings()
PATIENCE = 10.0
"""Seconds after which a watch that notices nothing fails its test."""

DOUBLED_ID = "session-of-the-doubles"
BUILDING = {"buildUUID": bson.Binary(b"0123456789abcdef", 4)}
UNKNOWN_FIELD = refusal(40415)

Entry = dict[str, Any]


def specification(index: Index, **options: Any) -> Entry:
    return {"v": 2, **index.specification(), **options}


def answering(
    *, without: str = "", building: str = "", options: Mapping[str, Any] | None = None
) -> Answer:
    """ListIndexes of collections with all indexes but those that are said otherwise."""

    def answer(command: Entry) -> Mapping[str, Any]:
        entries: list[Entry] = [{"spec": {"v": 2, "key": {"_id": 1}, "name": "_id_"}}]
        for index in required_indexes(SETTINGS):
            if index.collection != command["listIndexes"] or index.name == without:
                continue
            entry = {"spec": {**specification(index), **(options or {}).get(index.name, {})}}
            if index.name == building:
                entry["indexBuildInfo"] = BUILDING
            entries.append(entry)
        if not command.get("includeIndexBuildInfo"):
            return cursor(*[entry["spec"] for entry in entries])
        return cursor(*entries)

    return answer


@pytest.fixture
async def mongod() -> AsyncIterator[ScriptedServer]:
    async with scripted_server(PRIMARY) as server:
        server.always["listIndexes"] = answering()
        yield server


@pytest.fixture
async def mongos() -> AsyncIterator[ScriptedServer]:
    async with scripted_server(ROUTER) as server:
        server.always["listIndexes"] = answering()
        yield server


@pytest.fixture(params=list(Driver), ids=str)
def driver(request: pytest.FixtureRequest) -> Driver:
    chosen: Driver = request.param
    return chosen


@asynccontextmanager
async def store_on(
    server: ScriptedServer, driver: Driver, **settings: Any
) -> AsyncIterator[OpenStore]:
    chosen = {"uri": SecretStr(server.uri), "driver": driver, "timeout": 2.0, **settings}
    async with open_store(SETTINGS.model_copy(update=chosen)) as store:
        yield store


class TestBuilding:
    """An index that is being built is listed like one that is there."""

    @pytest.mark.reliability("F73")
    async def test_an_index_that_is_still_being_built_is_not_there_yet(
        self, mongod: ScriptedServer, driver: Driver
    ) -> None:
        mongod.always["listIndexes"] = answering(building="sessionId_1_eventId_1")
        async with store_on(mongod, driver, create_indexes=False) as store:
            with pytest.raises(PreconditionError, match=r"sessionId_1_eventId_1 of .*being built"):
                await store.run_preflight()
            mongod.always["listIndexes"] = answering()
            assert all(
                found.status is not CheckStatus.FAILED for found in await store.run_preflight()
            )
        assert mongod.sent("createIndexes") == []

    @pytest.mark.reliability("F73")
    async def test_what_is_listed_is_asked_for_all_the_same(
        self, mongod: ScriptedServer, driver: Driver
    ) -> None:
        # The server waits there for a build that is under way.
        async with store_on(mongod, driver) as store:
            await store.run_preflight()
        made = [index["name"] for one in mongod.sent("createIndexes") for index in one["indexes"]]
        assert made == [index.name for index in required_indexes(SETTINGS)]

    @pytest.mark.reliability("F73")
    async def test_a_unique_index_on_one_shard_alone_does_not_pass(
        self, mongos: ScriptedServer, driver: Driver
    ) -> None:
        # A router lists the indexes of one shard; another one refuses to make it.
        doubled = {"sessionId": DOUBLED_ID}
        doubles = refusal(11000, keyPattern={"sessionId": 1}, keyValue=doubled)
        mongos.always["createIndexes"] = doubles
        async with store_on(mongos, driver) as store:
            for _start in range(2):
                with pytest.raises(PreconditionError, match="cannot be built") as caught:
                    await store.run_preflight()
                assert DOUBLED_ID not in str(caught.value)

    async def test_a_server_that_knows_no_builds_is_asked_without_them(
        self, mongod: ScriptedServer, driver: Driver
    ) -> None:
        plain = answering()

        def old(command: Entry) -> Mapping[str, Any] | None:
            if "includeIndexBuildInfo" in command:
                return UNKNOWN_FIELD
            return plain(command) if callable(plain) else plain

        mongod.always["listIndexes"] = old
        async with store_on(mongod, driver, create_indexes=False) as store:
            await store.run_preflight()

    async def test_before_a_run_that_waits_for_it_a_build_is_a_warning(
        self, mongod: ScriptedServer, driver: Driver
    ) -> None:
        mongod.always["listIndexes"] = answering(building="sessionId_1")
        async with store_on(mongod, driver) as store:
            statuses = {found.name: found.status for found in await store.inspect()}
        assert statuses[f"index sessionId_1 of {SETTINGS.sessions}"] is CheckStatus.WARNING


class TestShardedFirst:
    """sh.shardCollection makes an index of the shard key, which is not unique."""

    @pytest.mark.reliability("F74")
    async def test_the_fix_converts_the_index_that_cannot_be_dropped(
        self, mongos: ScriptedServer, driver: Driver
    ) -> None:
        not_unique = {"sessionId_1": {"unique": False}}
        mongos.always["listIndexes"] = answering(options=not_unique)
        mongos.script("createIndexes", refusal(86))
        async with store_on(mongos, driver) as store:
            with pytest.raises(PreconditionError) as caught:
                await store.run_preflight()
        text = str(caught.value)
        assert f"index sessionId_1 of {SETTINGS.sessions}: is there, but it is not unique" in text
        pattern = f'collMod: "{SETTINGS.sessions}", index: {{keyPattern: {{"sessionId": 1}}, '
        assert f"{pattern}prepareUnique: true}}" in text
        assert f"{pattern}unique: true}}" in text
        assert '{unique: true, name: "sessionId_1_unique"}' in text
        assert "drop" not in text

    @pytest.mark.reliability("F74")
    async def test_a_unique_index_of_another_name_beside_it_will_do(
        self, mongos: ScriptedServer, driver: Driver
    ) -> None:
        plain = answering(options={"sessionId_1": {"unique": False}})

        def both(command: Entry) -> Mapping[str, Any]:
            assert callable(plain)
            reply = plain(command)
            assert reply is not None
            if command["listIndexes"] == SETTINGS.sessions:
                key = {"v": 2, "key": {"sessionId": 1}, "name": "sessionId_1_unique"}
                reply["cursor"]["firstBatch"].append({"spec": {**key, "unique": True}})
            return reply

        mongos.always["listIndexes"] = both
        mongos.script("createIndexes", refusal(86))
        async with store_on(mongos, driver) as store:
            await store.run_preflight()


class TestStrangers:
    """Documents that another writer has stored."""

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ({"sessionId": None}, ["lack sessionId", 'find({"$or": [{"sessionId": null}]})']),
            ({"sessionId": DOUBLED_ID}, ["have the same sessionId", ".aggregate(["]),
        ],
    )
    @pytest.mark.reliability("F78")
    async def test_documents_without_an_id_are_said_to_lack_it(
        self,
        mongod: ScriptedServer,
        driver: Driver,
        value: Mapping[str, Any],
        expected: list[str],
    ) -> None:
        reply = refusal(11000, keyPattern={"sessionId": 1}, keyValue=value)
        mongod.script("createIndexes", reply)
        async with store_on(mongod, driver) as store:
            with pytest.raises(PreconditionError) as caught:
                await store.run_preflight()
        assert all(part in str(caught.value) for part in expected)
        assert DOUBLED_ID not in str(caught.value)

    @pytest.mark.reliability("F77")
    async def test_an_undefined_start_is_no_race_without_end(
        self, mongod: ScriptedServer, driver: Driver
    ) -> None:
        # From 8.0 on null does not match it, and drivers read it as null.
        stored = bson.encode({"sessionId": "s", "startedAt": None})
        undefined = RawBSONDocument(stored.replace(b"\x0astartedAt", b"\x06startedAt"))
        taken = {"index": 0, "code": 11000, "errmsg": "", "keyPattern": {"sessionId": 1}}
        mongod.always["update"] = {"ok": 1, "n": 0, "nModified": 0, "writeErrors": [taken]}
        mongod.always["find"] = cursor(undefined)
        async with store_on(mongod, driver) as store:
            (result,) = await apply(store, [write(created("s"))])
        assert result.outcome is Outcome.CONFLICT
        assert result.rejected is not None
        assert result.rejected.detail == "the stored session differs in startedAt"


class TestRouter:
    """A router gives the failure of a shard to each statement."""

    @pytest.mark.parametrize("code", [189, 91, 10107, 365])
    @pytest.mark.reliability("F75")
    async def test_each_retry_sends_what_the_first_attempt_sent(
        self, mongos: ScriptedServer, driver: Driver, code: int
    ) -> None:
        mongos.script("insert", *[router_says(code)] * 5)
        mongos.script("update", *[router_says(code)] * 5)
        async with store_on(mongos, driver) as store:
            write_batch = store.prepare([write(event("s", f"e{n}"), n) for n in range(300)])
            for _ in range(5):
                with pytest.raises(TransientError, match=f"code_{code}") as caught:
                    await write_batch()
                assert caught.value.index is None
            results = await write_batch()
        assert {result.outcome for result in results} == {Outcome.APPLIED}
        assert [len(one["documents"]) for one in mongos.sent("insert")] == [300] * 6
        assert len(mongos.sent("update")) == 6


@asynccontextmanager
async def watched(
    store: OpenStore, troubles: list[TransientError], every: float
) -> AsyncIterator[asyncio.Future[None]]:
    watch = store.watch_indexes(troubles.append, every)
    watching = asyncio.ensure_future(asyncio.wait_for(watch, PATIENCE))
    try:
        yield watching
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def goes_on(watching: asyncio.Future[None], server: ScriptedServer, looks: int) -> None:
    """Wait until the indexes were asked for so often."""
    asked = asyncio.ensure_future(server.until("listIndexes", looks))
    done, _ = await asyncio.wait({watching, asked}, return_when=asyncio.FIRST_COMPLETED)
    assert done == {asked}


class TestWatching:
    """The unique indexes while the service runs."""

    @pytest.mark.reliability("F56")
    async def test_an_index_that_was_dropped_ends_the_service(
        self, mongod: ScriptedServer, driver: Driver
    ) -> None:
        async with store_on(mongod, driver) as store, watched(store, [], 0.01) as watching:
            await goes_on(watching, mongod, 6)
            mongod.always["listIndexes"] = answering(without="sessionId_1_eventId_1")
            with pytest.raises(PreconditionError, match=r"sessionId_1_eventId_1 .*is missing"):
                await watching

    @pytest.mark.reliability("F56")
    async def test_it_is_looked_for_at_each_assignment(
        self, mongod: ScriptedServer, driver: Driver
    ) -> None:
        async with store_on(mongod, driver) as store, watched(store, [], 3600.0) as watching:
            store.forget()
            await goes_on(watching, mongod, 2)
            mongod.always["listIndexes"] = answering(building="sessionId_1")
            store.forget()
            with pytest.raises(PreconditionError, match="being built"):
                await watching

    @pytest.mark.parametrize("hiccup", [refusal(91), refusal(13), None], ids=["91", "13", "cut"])
    @pytest.mark.reliability("F56")
    async def test_a_database_that_cannot_be_asked_is_asked_again(
        self, mongod: ScriptedServer, driver: Driver, hiccup: Mapping[str, Any] | None
    ) -> None:
        troubles: list[TransientError] = []
        mongod.script("listIndexes", *[lambda _: hiccup] * 4)
        async with store_on(mongod, driver) as store, watched(store, troubles, 0.01) as watching:
            await goes_on(watching, mongod, 8)
        assert len(troubles) == 1

    async def test_the_index_for_reading_may_be_made_again_meanwhile(
        self, mongod: ScriptedServer, driver: Driver
    ) -> None:
        mongod.always["listIndexes"] = answering(without="sessionId_1_timestamp_1_eventId_1")
        async with store_on(mongod, driver) as store, watched(store, [], 0.01) as watching:
            await goes_on(watching, mongod, 6)

    async def test_whether_it_answers_is_told_again_and_again(
        self, mongod: ScriptedServer, driver: Driver
    ) -> None:
        told: list[bool] = []
        mongod.script("ping", refusal(91), refusal(18))
        mongod.always["ping"] = {"ok": 1}
        async with store_on(mongod, driver) as store:
            watching = asyncio.ensure_future(store.watch_answers(told.append, 0.01))
            await mongod.until("ping", 4)
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        assert told[:3] == [False, False, True]
