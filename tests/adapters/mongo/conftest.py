"""The collections in memory and on a server, over both drivers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from pydantic import SecretStr

from consumer.mongo.clients import Client, close_client, open_client
from consumer.mongo.collections import Collections
from consumer.mongo.driver import MongoCollections
from consumer.mongo.preflight import run_preflight
from consumer.settings.model import MongoSettings
from consumer.settings.values import Driver
from tests.fakes.collections import MemoryCollections


@dataclass(frozen=True, slots=True)
class Server:
    """One driver's client of a server, with a database of the test's own."""

    client: Client
    settings: MongoSettings

    def collections(self) -> MongoCollections:
        return MongoCollections(self.client, self.settings)


@pytest.fixture(params=[Driver.MOTOR, Driver.PYMONGO], ids=str)
async def server(
    request: pytest.FixtureRequest, mongodb_uri: str, unique_name: str
) -> AsyncIterator[Server]:
    """An empty database without indexes."""
    settings = MongoSettings(
        uri=SecretStr(mongodb_uri),
        database=unique_name,
        driver=request.param,
    )
    client = open_client(settings)
    try:
        yield Server(client, settings)
        await client.drop_database(settings.database)
    finally:
        await close_client(client)


@pytest.fixture
async def prepared(server: Server) -> Server:
    """An empty database that is ready."""
    await run_preflight(server.client, server.settings)
    return server


@pytest.fixture(params=["memory", "motor", "pymongo"])
async def collections(
    request: pytest.FixtureRequest, unique_name: str
) -> AsyncIterator[Collections]:
    """Empty collections with their indexes, of each implementation."""
    if request.param == "memory":
        yield MemoryCollections()
        return
    settings = MongoSettings(
        uri=SecretStr(request.getfixturevalue("mongodb_uri")),
        database=unique_name,
        driver=Driver(request.param),
    )
    client = open_client(settings)
    try:
        await run_preflight(client, settings)
        yield MongoCollections(client, settings)
        await client.drop_database(settings.database)
    finally:
        await close_client(client)
