"""The collections in memory and on a server, over both drivers."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr

from consumer.settings.groups import MongoSettings
from consumer.settings.values import Driver
from consumer.store.clients import Client, close_client, open_client
from consumer.store.collections import Collections
from consumer.store.mongo import MongoCollections
from consumer.store.readiness import prepare
from tests.fakes.collections import MemoryCollections

_names = itertools.count()


@pytest.fixture(scope="session")
def mongodb_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server: the one that TEST_MONGODB_URI names, else an embedded one."""
    uri = os.environ.get("TEST_MONGODB_URI")
    if uri is not None:
        yield uri
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("mongodb")
    command = [
        str(Path(sys.executable).with_name("secantusd-py")),
        *("--host", "127.0.0.1", "--port", str(port), "--storage-path", str(folder / "data")),
        *("--log-level", "WARNING", "--enable-test-commands"),
    ]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            _wait_for(port, server)
            yield f"mongodb://127.0.0.1:{port}/?directConnection=true"
        finally:
            server.terminate()
            server.wait(30)


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert server.poll() is None, "the embedded server ended at once"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError("the embedded server does not answer")


@dataclass(frozen=True, slots=True)
class Server:
    """One driver's client of a server, with a database of the test's own."""

    client: Client
    settings: MongoSettings

    def collections(self) -> MongoCollections:
        return MongoCollections(self.client, self.settings)


@pytest.fixture(params=[Driver.MOTOR, Driver.PYMONGO], ids=str)
async def server(request: pytest.FixtureRequest, mongodb_uri: str) -> AsyncIterator[Server]:
    """An empty database without indexes."""
    settings = MongoSettings(
        uri=SecretStr(mongodb_uri),
        database=f"test_{os.getpid()}_{next(_names)}",
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
    await prepare(server.client, server.settings)
    return server


@pytest.fixture(params=["memory", "motor", "pymongo"])
async def collections(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Collections]:
    """Empty collections with their indexes, of each implementation."""
    if request.param == "memory":
        yield MemoryCollections()
        return
    settings = MongoSettings(
        uri=SecretStr(request.getfixturevalue("mongodb_uri")),
        database=f"test_{os.getpid()}_{next(_names)}",
        driver=Driver(request.param),
    )
    client = open_client(settings)
    try:
        await prepare(client, settings)
        yield MongoCollections(client, settings)
        await client.drop_database(settings.database)
    finally:
        await close_client(client)
