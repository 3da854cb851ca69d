"""What the database has to be like before the first record is consumed."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from consumer.checks import CheckResult, CheckStatus
from consumer.errors import PreconditionError, SettingsError, TransientError
from consumer.mongo.clients import (
    LONGEST_NAME,
    _servers,
    close_client,
    database_of,
    open_client,
    target,
    target_of,
)
from consumer.mongo.indexes import Index, check_index, check_others, required_indexes
from consumer.mongo.preflight import (
    check_collection,
    check_deployment,
    check_version,
    inspect_database,
    run_preflight,
)
from consumer.mongo.store import open_store
from consumer.settings.model import MongoSettings
from consumer.settings.values import Driver
from tests.adapters.mongo.applying import apply
from tests.unit.state.builders import event, write

from .conftest import Server

SESSIONS, EVENTS = MongoSettings().sessions, MongoSettings().events
UNIQUE_EVENTS = Index(EVENTS, ("sessionId", "eventId"), unique=True)
DOUBLED_ID = "session-of-the-doubles"


def listed(key: dict[str, Any], **options: Any) -> dict[str, Any]:
    """An index as listIndexes tells it."""
    name = "_".join(f"{field}_{order}" for field, order in key.items())
    return {"v": 2, "key": key, "name": name, **options}


def failures(results: Any) -> list[str]:
    return [f"{f.name} {f.detail}" for f in results if f.status is CheckStatus.FAILED]


class TestTarget:
    """Which database it is."""

    @pytest.mark.reliability("F53")
    async def test_a_database_is_the_same_by_whichever_way_it_is_reached(
        self, server: Server
    ) -> None:
        await run_preflight(server.client, server.settings)
        found = await target_of(server.client, server.settings)
        uri = server.settings.uri.get_secret_value()
        other_way = uri + ("&" if "?" in uri else "/?") + "appname=other"
        settings = server.settings.model_copy(update={"uri": SecretStr(other_way)})
        client = open_client(settings)
        try:
            assert await target_of(client, settings) == found
        finally:
            await close_client(client)
        assert found.key.startswith("c-")
        assert settings.database in found.name

    @pytest.mark.reliability("F53")
    async def test_another_database_is_another_target(self, server: Server) -> None:
        other = server.settings.model_copy(update={"database": server.settings.database + "-b"})
        for settings in (server.settings, other):
            await run_preflight(server.client, settings)
        try:
            keys = {(await target_of(server.client, s)).key for s in (server.settings, other)}
            assert len(keys) == 2
        finally:
            await server.client.drop_database(other.database)

    @pytest.mark.reliability("F53")
    async def test_a_database_without_the_collections_is_no_target_of_stored_records(
        self, server: Server
    ) -> None:
        before = await target_of(server.client, server.settings)
        await run_preflight(server.client, server.settings)
        made = await target_of(server.client, server.settings)
        assert before.key != made.key
        assert before.key[0] == made.key[0] == "c"  # keys of one kind, so that they tell

    @pytest.mark.parametrize("ids", [None, ["1", "2"]])
    @pytest.mark.reliability("F53")
    def test_a_target_tells_no_secret(self, ids: list[str] | None) -> None:
        uri = "mongodb://user:pa%40ss@one:1,two:2/admin?replicaSet=rs"
        settings = MongoSettings(uri=SecretStr(uri), database="d" * 60)
        one = target(settings, _servers({}, settings), ids)
        assert "one:1,two:2" in one.name
        assert "user" not in str(one)
        assert "pa" not in str(one)
        assert len(target(settings, "h" * 500, ids).name) <= LONGEST_NAME

    @pytest.mark.reliability("F53")
    def test_servers_that_tell_no_ids_go_by_their_names(self) -> None:
        settings = MongoSettings()
        hosts = {"setName": "rs", "hosts": ["b:1", "a:1"]}
        one = target(settings, _servers(hosts, settings), None)
        assert one.key.startswith("s-")
        assert one.name.endswith(" at rs/a:1,b:1")
        assert target(settings, "rs/c:1", None).key != one.key
        assert target(settings, "rs/c:1", ["1", "2"]).key == target(settings, "x", ["1", "2"]).key


class TestPreparing:
    """On a server, over both drivers."""

    async def test_an_empty_database_is_made_ready(self, server: Server) -> None:
        assert failures(await inspect_database(server.client, server.settings)) != []
        results = await run_preflight(server.client, server.settings)
        assert {result.status for result in results} == {CheckStatus.OK}
        assert await run_preflight(server.client, server.settings) == results

    async def test_without_the_leave_to_create_them_missing_indexes_are_a_refusal(
        self, server: Server
    ) -> None:
        settings = server.settings.model_copy(update={"create_indexes": False})
        with pytest.raises(PreconditionError) as caught:
            await run_preflight(server.client, settings)
        assert f"index sessionId_1_eventId_1 of {EVENTS}: is missing" in str(caught.value)
        assert 'createIndex({"sessionId": 1, "eventId": 1}, {"unique": true})' in str(caught.value)
        names = await database_of(server.client, settings).list_collection_names()
        assert names == []

    async def test_doubles_from_before_are_named_with_a_query_and_without_ids(
        self, server: Server
    ) -> None:
        events = database_of(server.client, server.settings)[EVENTS]
        double = {"sessionId": DOUBLED_ID, "eventId": "e"}
        await events.insert_many([dict(double), dict(double)])
        with pytest.raises(PreconditionError) as caught:
            await run_preflight(server.client, server.settings)
        text = str(caught.value)
        assert f"sessionId_1_eventId_1 of {EVENTS} cannot be built" in text
        assert f'db.getCollection("{EVENTS}").aggregate([' in text
        assert DOUBLED_ID not in text
        assert caught.value.__suppress_context__
        assert await events.count_documents({}) == 2
        await events.delete_one(double)
        await run_preflight(server.client, server.settings)

    @pytest.mark.parametrize(
        ("options", "flaw"),
        [
            ({}, "it is not unique"),
            ({"unique": True, "sparse": True}, "it is sparse"),
            (
                {"unique": True, "partialFilterExpression": {"payload": {"$exists": True}}},
                "it is partial",
            ),
        ],
    )
    async def test_an_index_that_is_there_but_cannot_keep_the_promise_is_a_refusal(
        self, server: Server, options: dict[str, Any], flaw: str
    ) -> None:
        events = database_of(server.client, server.settings)[EVENTS]
        key = [("sessionId", 1), ("eventId", 1)]
        await events.create_index(key, **options)
        with pytest.raises(PreconditionError) as caught:
            await run_preflight(server.client, server.settings)
        assert f"of {EVENTS}: is there, but {flaw}" in str(caught.value)
        await events.drop_index("sessionId_1_eventId_1")
        await run_preflight(server.client, server.settings)

    async def test_documents_get_an_expiry_index_only_where_they_expire(
        self, server: Server
    ) -> None:
        settings = server.settings.model_copy(update={"retention_days": 30.0})
        await run_preflight(server.client, server.settings)
        assert len(failures(await inspect_database(server.client, settings))) == 2
        assert failures(await run_preflight(server.client, settings)) == []
        without = await run_preflight(server.client, server.settings)
        warned = [found.name for found in without if found.status is CheckStatus.WARNING]
        assert warned == [f"index expireAt_1 of {name}" for name in (SESSIONS, EVENTS)]

    async def test_a_validator_is_warned_of(self, server: Server) -> None:
        database = database_of(server.client, server.settings)
        await database.create_collection(SESSIONS, validator={"language": {"$exists": True}})
        results = await run_preflight(server.client, server.settings)
        (warned,) = [found for found in results if found.status is CheckStatus.WARNING]
        assert (warned.name, warned.detail) == (f"collection {SESSIONS}", "has a validator")

    async def test_a_store_that_is_opened_prepares_itself_and_applies(self, server: Server) -> None:
        async with open_store(server.settings) as store:
            await store.run_preflight()
            (result,) = await apply(store, [write(event())])
            assert result.outcome == "applied"
            assert failures(await store.inspect()) == []

    @pytest.mark.parametrize("driver", list(Driver))
    async def test_a_database_that_does_not_answer_is_trouble_that_passes(
        self, driver: Driver
    ) -> None:
        settings = MongoSettings.model_validate(
            {
                "uri": "mongodb://127.0.0.1:9/?directConnection=true",
                "timeout": 0.2,
                "driver": driver,
            }
        )
        async with open_store(settings) as store:
            with pytest.raises(TransientError):
                await store.run_preflight()


class TestOpening:
    """A client of either driver."""

    @pytest.mark.parametrize("driver", list(Driver))
    async def test_the_uri_cannot_weaken_what_acknowledged_means(self, driver: Driver) -> None:
        settings = MongoSettings.model_validate(
            {
                "uri": "mongodb://h/?w=1&journal=false&readPreference=secondary"
                "&readConcernLevel=local&retryWrites=false",
                "driver": driver,
            }
        )
        client = open_client(settings)
        database = database_of(client, settings)
        options: Any = client.options
        assert options.retry_writes
        assert database.write_concern.document == {"w": "majority", "j": True}
        assert database.read_concern.document == {"level": "majority"}
        assert database.read_preference.name == "Primary"
        collection = database.get_collection("x")
        assert collection.write_concern.document == {"w": "majority", "j": True}
        await close_client(client)

    @pytest.mark.parametrize("driver", list(Driver))
    @pytest.mark.parametrize(
        "uri",
        [
            "mongodb://user:p@ss@h",
            "mongodb://user:secret@h:port",
            "mongodb://u:secret@h/?journal=perhaps&x",
        ],
    )
    async def test_a_uri_that_is_none_is_refused_without_quoting_it(
        self, driver: Driver, uri: str
    ) -> None:
        settings = MongoSettings.model_construct(
            **{**dict(MongoSettings()), "driver": driver, "uri": _Secret(uri)}
        )
        with pytest.raises(SettingsError, match=r"mongo\.uri") as caught:
            open_client(settings)
        assert "ss@h" not in str(caught.value)
        assert "secret" not in str(caught.value)
        assert caught.value.__suppress_context__


class _Secret:
    """A URI that the settings would have refused."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def get_secret_value(self) -> str:
        return self._uri


class TestIndexes:
    """Judged by what listIndexes tells."""

    def test_the_exact_keys_in_the_exact_order_are_asked_for(self) -> None:
        present = [
            listed({"_id": 1}),
            listed({"eventId": 1, "sessionId": 1}, unique=True),
            listed({"sessionId": 1, "eventId": -1}, unique=True),
            listed({"sessionId": 1, "eventId": 1, "x": 1}, unique=True),
            listed({"sessionId": "hashed", "eventId": 1}),
        ]
        assert check_index(UNIQUE_EVENTS, present).detail == "is missing"
        ours = listed({"sessionId": 1, "eventId": 1}, unique=True)
        assert check_index(UNIQUE_EVENTS, [*present, ours]).status is CheckStatus.OK

    @pytest.mark.parametrize(
        ("options", "flaw"),
        [
            ({"unique": False}, "it is not unique"),
            ({"hidden": True}, "it is hidden"),
            ({"sparse": True}, "it is sparse"),
            ({"partialFilterExpression": {}}, "it is partial"),
            ({"collation": {"locale": "de"}}, "its collation is not simple"),
            ({"hidden": True, "sparse": True}, "it is hidden and it is sparse"),
        ],
    )
    def test_what_weakens_an_index_is_told(self, options: dict[str, Any], flaw: str) -> None:
        present = listed({"sessionId": 1, "eventId": 1}, **{"unique": True, **options})
        result = check_index(UNIQUE_EVENTS, [present])
        assert (result.status, result.detail) == (CheckStatus.FAILED, f"is there, but {flaw}")
        assert ("drop it" in result.fix) is (flaw != "it is not unique")

    def test_a_second_index_on_the_same_keys_may_be_the_good_one(self) -> None:
        collated = listed({"sessionId": 1, "eventId": 1}, unique=True, collation={"locale": "de"})
        good = listed({"sessionId": 1, "eventId": 1}, unique=True, collation={"locale": "simple"})
        assert check_index(UNIQUE_EVENTS, [collated, good]).status is CheckStatus.OK

    def test_an_expiry_index_has_to_delete_at_the_stored_time(self) -> None:
        required = Index(EVENTS, ("expireAt",), expires=True)
        late = listed({"expireAt": 1}, expireAfterSeconds=60)
        assert check_index(required, [late]).status is CheckStatus.FAILED
        exact = listed({"expireAt": 1}, expireAfterSeconds=0)
        assert check_index(required, [exact]).status is CheckStatus.OK

    def test_another_unique_index_that_rejects_what_is_no_double_is_a_refusal(self) -> None:
        required = required_indexes(MongoSettings())
        others = [
            listed({"_id": 1}),
            listed({"sessionId": 1, "eventId": 1}, unique=True),
            listed({"sessionId": 1, "eventId": 1, "payload.x": 1}, unique=True),
            listed({"payload.x": 1}),
            listed({"eventId": 1}, unique=True),
        ]
        (result,) = check_others(EVENTS, required, others)
        assert result.name == f"index eventId_1 of {EVENTS}"
        assert result.status is CheckStatus.FAILED

    def test_an_index_that_deletes_by_another_rule_is_warned_of(self) -> None:
        required = required_indexes(MongoSettings())
        other = listed({"timestamp": 1}, expireAfterSeconds=86400)
        (result,) = check_others(EVENTS, required, [other])
        assert result.status is CheckStatus.WARNING


class TestServer:
    """Judged by what buildInfo, hello and listCollections tell."""

    @pytest.mark.parametrize(
        ("version", "ok"),
        [
            ([6, 0, 20, 0], False),
            ([7, 0, 5, 0], False),
            ([7, 0, 6, 0], True),
            ([7, 1, 0, 0], True),
            ([8, 2, 11, 0], True),
        ],
    )
    def test_a_server_that_may_hide_a_write_concern_error_is_refused(
        self, version: list[int], ok: bool
    ) -> None:
        result = check_version({"versionArray": version})
        assert (result.status is CheckStatus.OK) is ok

    @pytest.mark.parametrize(
        ("hello", "status"),
        [
            ({"setName": "rs", "hosts": ["a", "b", "c"]}, CheckStatus.OK),
            ({"msg": "isdbgrid"}, CheckStatus.OK),
            ({"setName": "rs", "hosts": ["a", "b"], "arbiters": ["c"]}, CheckStatus.WARNING),
            ({}, CheckStatus.WARNING),
        ],
    )
    def test_a_deployment_without_a_real_majority_is_warned_of(
        self, hello: dict[str, Any], status: CheckStatus
    ) -> None:
        assert check_deployment(hello).status is status

    @pytest.mark.parametrize(
        ("info", "status"),
        [
            (None, CheckStatus.OK),
            ({"type": "collection", "options": {}}, CheckStatus.OK),
            (
                {"type": "collection", "options": {"collation": {"locale": "simple"}}},
                CheckStatus.OK,
            ),
            ({"type": "view", "options": {}}, CheckStatus.FAILED),
            ({"type": "timeseries", "options": {}}, CheckStatus.FAILED),
            ({"type": "collection", "options": {"capped": True}}, CheckStatus.FAILED),
            (
                {"type": "collection", "options": {"collation": {"locale": "en"}}},
                CheckStatus.FAILED,
            ),
            ({"type": "collection", "options": {"validator": {"a": 1}}}, CheckStatus.WARNING),
        ],
    )
    def test_a_collection_has_to_be_plain_and_compare_byte_by_byte(
        self, info: Any, status: CheckStatus
    ) -> None:
        (result,) = check_collection("c", info)
        assert result.status is status
        assert isinstance(result, CheckResult)
