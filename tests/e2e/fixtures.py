"""A environment for each test, the consumers that work there, and proxies before the servers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.environment import Environment
from tests.e2e.processes import Fleet, running_fleet
from tests.faults.kafka.frames import Frames, framed
from tests.faults.mongodb_proxy import MongodbProxy, mongodb_proxied
from tests.faults.proxy import Proxy


@pytest.fixture
async def environment(
    kafka_bootstrap_servers: str, mongodb_uri: str, unique_name: str
) -> AsyncIterator[Environment]:
    made = Environment(kafka_bootstrap_servers, mongodb_uri, unique_name)
    await made.create_topics()
    yield made
    await made.drop_database()
    await made.delete_topics()


@pytest.fixture
async def fleet(environment: Environment, tmp_path: Path) -> AsyncIterator[Fleet]:
    """Consumers, none yet. What they said last is shown where the test fails."""
    async with running_fleet(environment.settings, tmp_path) as fleet:
        yield fleet
    print(fleet)  # noqa: T201 -- shown on failure


@pytest.fixture
async def mongodb(mongodb_uri: str) -> AsyncIterator[MongodbProxy]:
    """What stands between the database and the consumers of ``distant_fleet``."""
    async with mongodb_proxied(mongodb_uri) as proxy:
        yield proxy


@pytest.fixture
async def mongodb_proxy(mongodb: MongodbProxy) -> Proxy:
    return mongodb.proxy


@pytest.fixture
async def kafka(kafka_bootstrap_servers: str) -> AsyncIterator[Frames]:
    """What stands between the brokers and the consumers of ``distant_fleet``."""
    async with framed(kafka_bootstrap_servers) as proxy:
        yield proxy


@pytest.fixture
async def distant_fleet(
    environment: Environment, kafka: Frames, mongodb: MongodbProxy, tmp_path: Path
) -> AsyncIterator[Fleet]:
    """As ``fleet``, with proxies between the consumers and all servers."""
    seen = environment.seen_from(kafka=kafka.bootstrap_servers, mongodb=mongodb.uri)
    directory = tmp_path / "distant"
    directory.mkdir()
    async with running_fleet(seen.settings, directory) as fleet:
        yield fleet
    print(fleet)  # noqa: T201 -- shown on failure
