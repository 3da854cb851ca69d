"""A demo whose consumers do not run says so at once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from pymongo import MongoClient
from pymongo.collection import Collection
from rich.console import Console

from consumer.demo.consumers import ConsumerEndedError, demo_settings
from consumer.demo.dataset import Expectation, load_dataset, open_stored
from consumer.demo.demo import CrashScenario
from consumer.demo.screen import Screen
from consumer.demo.servers import embedded_servers
from consumer.kafka.admin import create_topic
from consumer.settings.model import MongoSettings
from consumer.settings.sources import load_settings
from producer_tools.outgoing_message import Topics


async def test_a_consumer_that_ends_by_itself_ends_the_demo_with_its_last_words(
    tmp_path: Path,
) -> None:
    async with embedded_servers() as servers:
        overrides = demo_settings(servers)
        settings = load_settings(overrides, variables={})
        for name in Topics().names:
            await create_topic(settings.kafka, name, 2)
        screen = Screen(Console(quiet=True))
        async with open_stored(settings.mongo) as stored:
            crash = CrashScenario(screen, settings.kafka, stored, load_dataset(2))
            with pytest.raises(ConsumerEndedError, match=r"ended by itself: .*batches_in_flight"):
                await crash.run({**overrides, "engine.batches_in_flight": 0}, tmp_path)


Documents = Collection[dict[str, Any]]
Change = Callable[[Documents, Documents], object]

MESSAGES: list[dict[str, Any]] = [
    {
        "type": "session.created",
        "sessionId": "s",
        "language": "en",
        "startedAt": "2026-01-01T12:00:00Z",
        "metadata": {"b": 1, "a": 2},
    },
    *(
        {
            "type": "event.recorded",
            "sessionId": "s",
            "eventId": event_id,
            "eventType": "system",
            "payload": {"n": 1, "x": [1.0, None]},
            "timestamp": "2026-01-01T12:00:01.500Z",
        }
        for event_id in "abc"
    ),
    {
        "type": "session.completed",
        "sessionId": "s",
        "endedAt": "2026-01-01T12:00:02Z",
        "eventCount": 3,
    },
]


async def differences(uri: str, database: str, change: Change | None) -> set[str]:
    expected = Expectation()
    for message in MESSAGES:
        expected.add(message)
    settings = MongoSettings(uri=SecretStr(uri), database=database)
    with MongoClient[dict[str, Any]](uri) as client:
        sessions = client[database][settings.sessions]
        events = client[database][settings.events]
        store(sessions, events)
        if change is not None:
            change(sessions, events)
    async with open_stored(settings) as stored:
        lines = await stored.compare(expected)
    return {line.what.strip() for line in lines if not line.agrees}


def store(sessions: Documents, events: Documents) -> None:
    """Store what the messages ask for, as another program would."""
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    sessions.insert_one(
        {
            "sessionId": "s",
            "status": "completed",
            "metadata": {"b": 1, "a": 2},
            "language": "en",
            "startedAt": noon,
            "endedAt": noon.replace(second=2),
            "eventCount": 3,
            "createdFrom": {"topic": "t", "partition": 0, "offset": 0},
        }
    )
    events.insert_many(
        {
            "sessionId": "s",
            "eventId": event_id,
            "type": "system",
            "payload": {"n": 1, "x": [1.0, None]},
            "timestamp": noon.replace(second=1, microsecond=500_000),
            "from": {"topic": "t", "partition": 0, "offset": 1},
        }
        for event_id in "abc"
    )


async def test_what_the_messages_ask_for_agrees(mongodb_uri: str, unique_name: str) -> None:
    assert await differences(mongodb_uri, unique_name, None) == set()


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda _, events: events.delete_one({"eventId": "b"}), {"events", "exactly as published"}),
        (
            lambda _, events: events.insert_one(
                {**next(events.find({"eventId": "b"})), "_id": "again"}
            ),
            {"events", "stored twice"},
        ),
        (
            lambda _, events: events.update_one({"eventId": "c"}, {"$set": {"payload.n": 1.0}}),
            {"exactly as published"},
        ),
        (
            lambda sessions, _: sessions.update_one({}, {"$set": {"metadata": {"a": 2, "b": 1}}}),
            {"exactly as published"},
        ),
        (
            lambda sessions, _: sessions.update_one({}, {"$set": {"status": "failed"}}),
            {"of them completed", "exactly as published"},
        ),
        (
            lambda sessions, _: sessions.insert_one({"sessionId": "t", "status": "active"}),
            {"sessions"},
        ),
    ],
    ids=["lost", "doubled", "number type", "field order", "status", "unasked for"],
)
async def test_every_difference_is_found(
    mongodb_uri: str, unique_name: str, change: Change, found: set[str]
) -> None:
    assert await differences(mongodb_uri, unique_name, change) == found
