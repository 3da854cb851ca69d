"""What stands in the place of a collection and is none: named at once, and left as it is."""

from __future__ import annotations

from typing import Any

import pytest

from consumer.checks import CheckStatus
from consumer.errors import PreconditionError
from consumer.mongo.clients import database_of
from consumer.mongo.collection_provisions import collection_provisions
from consumer.mongo.preflight import indexes_of, inspect_database, run_preflight

from .conftest import Server

KINDS: dict[str, dict[str, Any]] = {
    "view": {"viewOn": "others", "pipeline": []},
    "capped": {"capped": True, "size": 4096},
    "collation": {"collation": {"locale": "en", "strength": 1}},
}


@pytest.mark.reliability("F149")
@pytest.mark.parametrize("kind", KINDS)
async def test_no_start_waits_for_what_can_hold_no_unique_index(server: Server, kind: str) -> None:
    database, events = database_of(server.client, server.settings), server.settings.events
    await database.create_collection(events, **KINDS[kind])
    before = [] if kind == "view" else await indexes_of(database, events)
    with pytest.raises(PreconditionError, match=rf"collection {events}: .*{kind}"):
        await run_preflight(server.client, server.settings)
    results = await inspect_database(server.client, server.settings, before_a_run=True)
    (failed,) = [found for found in results if events in found.name]
    assert (failed.status, failed.name) == (CheckStatus.FAILED, f"collection {events}")

    provisions = await collection_provisions(server.client, server.settings)
    (wrong,) = [found for found in provisions if events in found.name]
    assert wrong.wrong
    assert wrong.make is None
    for found in provisions:
        if found.make is not None:
            await found.make()
    after = [] if kind == "view" else await indexes_of(database, events)
    assert after == before
