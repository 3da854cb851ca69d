"""Commands that have to wait for a connection, over both drivers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from bson import Int64
from pydantic import SecretStr
from pymongo.lock import _async_cond_wait, _async_create_condition, _async_create_lock

from consumer.contract.kinds import EVENTS
from consumer.mongo.clients import close_client, open_client
from consumer.mongo.driver import MongoCollections
from consumer.mongo.duplicates import Asked, LookUp
from consumer.settings.model import MongoSettings
from consumer.settings.values import Driver
from consumer.state.writes import EventWrite
from tests.faults.mongodb_proxy import mongodb_proxied
from tests.unit.state.builders import event, write

from .conftest import Server
from .wire import NO_REPLY, ScriptedServer, scripted_server

COMMANDS = 12
ROUND_TRIP = 0.4
SOON = 0.01
TIMEOUT = 1.5
"""Seconds. Enough for any command, and for a third of them one after the other."""


@pytest.mark.reliability("F33")
async def test_commands_that_wait_for_the_only_connection_keep_all_their_time(
    prepared: Server,
) -> None:
    async with mongodb_proxied(prepared.settings.uri.get_secret_value()) as through:
        settings = prepared.settings.model_copy(
            update={"uri": SecretStr(through.uri), "timeout": TIMEOUT, "max_pool_size": 1}
        )
        client = open_client(settings)
        try:
            collections = MongoCollections(client, settings)
            through.proxy.delay = ROUND_TRIP / 2
            replies = await asyncio.gather(
                *(collections.insert(EVENTS, [document(n)]) for n in range(COMMANDS))
            )
        finally:
            through.proxy.heal()
            await close_client(client)
    assert [reply.failures for reply in replies] == [{}] * COMMANDS


def half_a_find(_: object) -> Mapping[str, Any]:
    """What a find has when it brought too much for one reply."""
    first = [{"sessionId": "s", "eventId": f"e{n}"} for n in range(COMMANDS)]
    return {"cursor": {"id": Int64(7), "ns": "d.c", "firstBatch": first}, "ok": 1}


@asynccontextmanager
async def with_open_cursors(driver: Driver) -> AsyncIterator[tuple[ScriptedServer, LookUp]]:
    """A server that begins to answer each find, and says nothing to what comes after that."""
    async with scripted_server() as server:
        server.always |= {"find": half_a_find, "getMore": NO_REPLY, "killCursors": NO_REPLY}
        settings = MongoSettings(uri=SecretStr(server.uri), driver=driver, timeout=TIMEOUT)
        client = open_client(settings)
        try:
            yield server, LookUp(MongoCollections(client, settings))
        finally:
            await close_client(client)


@pytest.mark.reliability("F171")
@pytest.mark.parametrize("driver", list(Driver), ids=str)
async def test_a_find_that_is_left_waits_for_no_server_that_keeps_silent(driver: Driver) -> None:
    planned = write(event("s", "e0"), 0)
    assert isinstance(planned, EventWrite)
    async with with_open_cursors(driver) as (server, lookup), asyncio.timeout(4 * TIMEOUT):
        assert await lookup.find_same({0: planned}) == set()
    assert server.sent("killCursors")


@pytest.mark.reliability("F171")
@pytest.mark.parametrize("driver", list(Driver), ids=str)
async def test_a_find_that_is_cancelled_waits_for_no_server_that_keeps_silent(
    driver: Driver,
) -> None:
    asked = Asked(write(event("s", "e0"), 0), lambda _: None)
    async with with_open_cursors(driver) as (server, lookup):
        asking = asyncio.ensure_future(lookup.ask([asked]))
        await server.until("getMore", 1)
        asking.cancel()
        await asyncio.wait([asking], timeout=4 * TIMEOUT)
        assert asking.cancelled()


@pytest.mark.reliability("F172")
async def test_a_cancel_leaves_nobody_behind_who_takes_the_drivers_lock() -> None:
    lock = _async_create_lock()
    condition = _async_create_condition(lock)
    timed_out = asyncio.Event()

    async def select_a_server() -> None:
        async with lock:
            timed_out.set()
            await _async_cond_wait(condition, SOON)

    selecting = asyncio.ensure_future(select_a_server())
    await timed_out.wait()
    async with lock:  # as a monitor has it: whoever selects waits for it once its time is over
        await asyncio.sleep(5 * SOON)
        selecting.cancel()
        await asyncio.wait([selecting], timeout=SOON)
        assert not selecting.done(), "it would give the lock free that another one has"
    await asyncio.wait([selecting])
    assert selecting.cancelled()
    assert not lock.locked()


def document(number: int) -> bytes:
    planned = write(event("s", f"e{number}"), number)
    assert isinstance(planned, EventWrite)
    return planned.document
