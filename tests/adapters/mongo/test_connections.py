"""Commands that have to wait for a connection, over both drivers."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import SecretStr

from consumer.contract.kinds import EVENTS
from consumer.mongo.clients import close_client, open_client
from consumer.mongo.driver import MongoCollections
from consumer.state.writes import EventWrite
from tests.faults.mongodb_proxy import mongodb_proxied
from tests.unit.state.builders import event, write

from .conftest import Server

COMMANDS = 12
ROUND_TRIP = 0.4
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


def document(number: int) -> bytes:
    planned = write(event("s", f"e{number}"), number)
    assert isinstance(planned, EventWrite)
    return planned.document
