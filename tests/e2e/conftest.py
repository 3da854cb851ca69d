"""A site for each test, the consumers that work there, and a proxy before the database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pymongo.uri_parser import parse_uri

from tests.e2e.processes import Fleet, running_fleet
from tests.e2e.sites import Site
from tests.faults.proxy import LOOPBACK, Proxy, proxied


@pytest.fixture
async def site(
    kafka_bootstrap_servers: str, mongodb_uri: str, unique_name: str
) -> AsyncIterator[Site]:
    made = Site(kafka_bootstrap_servers, mongodb_uri, unique_name)
    await made.create_topics()
    yield made
    await made.drop_database()


@pytest.fixture
async def fleet(site: Site, tmp_path: Path) -> AsyncIterator[Fleet]:
    """Consumers for the site, none yet. What they said last is shown where the test fails."""
    async with running_fleet(site.settings, tmp_path) as fleet:
        yield fleet
    print(fleet)  # noqa: T201 -- shown on failure


@pytest.fixture
async def mongodb_proxy(mongodb_uri: str) -> AsyncIterator[Proxy]:
    """A proxy before the database: for whoever is told its URI, see ``uri_by_way_of``."""
    ((host, port),) = parse_uri(mongodb_uri)["nodelist"]
    async with proxied(host, port) as proxy:
        yield proxy


def uri_by_way_of(proxy: Proxy, uri: str) -> str:
    """The database's URI with the proxy in the database's place."""
    ((host, port),) = parse_uri(uri)["nodelist"]
    return uri.replace(f"{host}:{port}", f"{LOOPBACK}:{proxy.port}")


@pytest.fixture
async def distant_fleet(site: Site, mongodb_proxy: Proxy, tmp_path: Path) -> AsyncIterator[Fleet]:
    """As ``fleet``, with the proxy between the consumers and the database."""
    seen = site.seen_from(mongodb=uri_by_way_of(mongodb_proxy, site.mongodb))
    async with running_fleet(seen.settings, tmp_path) as fleet:
        yield fleet
    print(fleet)  # noqa: T201 -- shown on failure
