"""A site for each test, and the consumers that work there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.processes import Fleet, running_fleet
from tests.e2e.sites import Site


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
