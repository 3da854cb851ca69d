"""Faults that the server itself plays, over both drivers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from pydantic import SecretStr

from consumer.errors import PreconditionError, TimedOutError, TransientError
from consumer.mongo.clients import database_of
from consumer.mongo.preflight import run_preflight
from consumer.mongo.store import MongoStore, OpenStore, open_store
from consumer.state.outcomes import Outcome
from consumer.state.writes import Write
from tests.unit.state.builders import completed, created, event, write

from .applying import outcomes, persist
from .conftest import Server

pytestmark = pytest.mark.fail_command

TIMEOUT = 0.5
"""Seconds. With a deadline the driver itself retries until it has passed."""

BATCH: list[Write] = [
    write(created(), 0),
    write(event("s", "e1"), 1),
    write(event("s", "e2"), 2),
    write(completed(), 3),
]


@asynccontextmanager
async def failing(server: Server, command: str, mode: Any, **how: Any) -> AsyncIterator[None]:
    """Let the server fail a command for as long as ``mode`` says."""
    admin: Any = server.client.get_database("admin")
    point = {"configureFailPoint": "failCommand"}
    data = {"failCommands": [command], **how}
    await admin.command({**point, "mode": mode, "data": data})
    try:
        yield
    finally:
        await admin.command({**point, "mode": "off"})


def impatient_store(server: Server) -> AbstractAsyncContextManager[OpenStore]:
    """The store of the same database with a short deadline.

    It looks often whether there is a primary again: not every server tells at once.
    """
    uri = server.settings.uri.get_secret_value()
    joint = "&" if "?" in uri else "/?"
    often = f"{uri}{joint}heartbeatFrequencyMS=500&serverMonitoringMode=poll"
    return open_store(
        server.settings.model_copy(update={"timeout": TIMEOUT, "uri": SecretStr(often)})
    )


async def assert_all_is_stored_once(server: Server) -> None:
    database: Any = database_of(server.client, server.settings)
    assert await database[server.settings.events].count_documents({}) == 2
    (session,) = await database[server.settings.sessions].find({}).to_list(None)
    assert (session["status"], session["language"]) == ("completed", "en")


@pytest.mark.parametrize("command", ["insert", "update"])
@pytest.mark.parametrize(
    "how",
    [
        {"errorCode": 10107},
        {"errorCode": 11600},
        {"errorCode": 13},
        {"errorCode": 16500},
        {"errorCode": 14031},
        {"closeConnection": True},
        {"writeConcernError": {"code": 91, "errmsg": "shutting down"}},
        {"writeConcernError": {"code": 64, "errmsg": "timed out"}},
        {"writeConcernError": {"code": 100, "errmsg": "no majority"}},
    ],
    ids=str,
)
async def test_trouble_that_passes_holds_the_batch_until_it_is_over(
    prepared: Server, command: str, how: dict[str, Any]
) -> None:
    async with impatient_store(prepared) as store:
        write_batch = store.prepare(BATCH)
        async with failing(prepared, command, "alwaysOn", **how):
            for _ in range(2):
                with pytest.raises(TransientError):
                    await write_batch()
        results = await persist(write_batch)
    assert [result.outcome for result in results] == [Outcome.APPLIED] * 4
    await assert_all_is_stored_once(prepared)


async def test_one_cut_connection_is_healed_at_once(prepared: Server) -> None:
    async with failing(prepared, "insert", {"times": 1}, closeConnection=True):
        assert await outcomes(MongoStore(prepared.collections()), *BATCH) == [Outcome.APPLIED] * 4
    await assert_all_is_stored_once(prepared)


async def test_a_question_without_answer_is_asked_again(prepared: Server) -> None:
    await outcomes(MongoStore(prepared.collections()), *BATCH)
    async with impatient_store(prepared) as store:
        write_batch = store.prepare(BATCH)
        async with failing(prepared, "find", "alwaysOn", errorCode=11600):
            with pytest.raises(TransientError):
                await write_batch()
        results = await persist(write_batch)
    assert [result.outcome for result in results] == [Outcome.REDELIVERED] * 4


async def test_a_command_that_takes_too_long_is_told_apart(prepared: Server) -> None:
    async with impatient_store(prepared) as store:
        write_batch = store.prepare(BATCH)
        slow = {"blockConnection": True, "blockTimeMS": 1500}
        async with failing(prepared, "insert", "alwaysOn", **slow):
            with pytest.raises(TimedOutError):
                await write_batch()
        results = await persist(write_batch)
    assert [result.outcome for result in results] == [Outcome.APPLIED] * 4
    await assert_all_is_stored_once(prepared)


@pytest.mark.reliability("F94")
async def test_a_start_without_the_grants_ends_at_once(prepared: Server) -> None:
    async with impatient_store(prepared) as store:
        for command, ask in (
            ("ping", store.answer),
            ("listCollections", store.run_preflight),
            ("listCollections", store.inspect),
        ):
            async with failing(prepared, command, "alwaysOn", errorCode=13):
                with pytest.raises(PreconditionError, match=r"fix: a user in mongo\.uri, with the"):
                    await ask()


async def test_indexes_that_may_not_be_created_are_checked_all_the_same(server: Server) -> None:
    async with failing(server, "createIndexes", "alwaysOn", errorCode=13):
        with pytest.raises(PreconditionError, match="is missing"):
            await run_preflight(server.client, server.settings)
    await run_preflight(server.client, server.settings)


@pytest.mark.reliability("F73")
async def test_indexes_that_are_there_are_asked_for_all_the_same(prepared: Server) -> None:
    async with impatient_store(prepared) as store:
        async with failing(prepared, "createIndexes", "alwaysOn", errorCode=16500):
            with pytest.raises(TransientError, match="code_16500"):
                await store.run_preflight()
        await store.run_preflight()


async def test_an_index_build_that_is_interrupted_is_trouble_that_passes(server: Server) -> None:
    async with impatient_store(server) as store:
        async with failing(server, "createIndexes", "alwaysOn", errorCode=11600):
            with pytest.raises(TransientError):
                await store.run_preflight()
        await run_preflight(server.client, server.settings)
