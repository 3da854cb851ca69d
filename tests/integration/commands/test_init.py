"""Making what a first run needs: once, and nothing twice."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from consumer.commands.check import check_everything
from consumer.commands.init.init import initialize
from consumer.commands.init.topic_provisions import InitRequest
from consumer.errors import ExitCode
from consumer.settings.model import DeadLetterSettings, Settings
from tests.integration.replay.conftest import Log

pytestmark = pytest.mark.real_kafka

Captured = pytest.CaptureFixture[str]
TOPICS, COLLECTIONS, INDEXES = 5, 2, 3


@pytest.fixture
def settings(empty_log: Log) -> Settings:
    """Topics and a database of which nothing is there yet."""
    name = f"{empty_log.name}.init"
    kafka = empty_log.settings().kafka
    mongo = empty_log.settings().mongo
    return empty_log.settings(
        kafka=kafka.model_copy(update={"topics": (f"{name}.sessions", f"{name}.events")}),
        dead_letters=DeadLetterSettings(topic=f"{name}.letters", parking_topic=f"{name}.parking"),
        mongo=mongo.model_copy(update={"database": f"{mongo.database}-init"}),
    )


async def initialized(
    settings: Settings, capsys: Captured, **request: Any
) -> tuple[ExitCode, Counter[str]]:
    """Run it, and count what it says by what has become of it."""
    capsys.readouterr()
    code = await initialize(settings, InitRequest(as_json=True, **request))
    rows = json.loads(capsys.readouterr().out)
    return code, Counter(row["presence"] for row in rows)


async def check_code(settings: Settings) -> ExitCode:
    return await check_everything(settings, as_json=True)


async def test_what_is_missing_is_made_once_and_a_check_is_content(
    settings: Settings, capsys: Captured
) -> None:
    everything = TOPICS + COLLECTIONS + INDEXES
    assert await check_code(settings) is ExitCode.FOUND
    made = await initialized(settings, capsys, topics=True, partitions=2, replicas=1)
    assert made == (ExitCode.DONE, {"made": everything})
    capsys.readouterr()
    assert await check_code(settings) is ExitCode.DONE
    checked = {one["name"]: one["status"] for one in json.loads(capsys.readouterr().out)}
    warned = {name for name, status in checked.items() if status != "ok"}
    assert not [name for name in warned if settings.dead_letters.topic in name]
    again = await initialized(settings, capsys, topics=True, partitions=2)
    assert again == (ExitCode.DONE, {"there": everything})


async def test_a_dry_run_makes_nothing(settings: Settings, capsys: Captured) -> None:
    for _ in range(2):
        found = await initialized(settings, capsys, topics=True, dry_run=True)
        assert found == (ExitCode.DONE, {"would be made": TOPICS + COLLECTIONS + INDEXES})
    assert await initialize(settings, InitRequest(topics=True, dry_run=True)) is ExitCode.DONE
    lines = capsys.readouterr().out.splitlines()
    assert Counter(line.split()[0] for line in lines) == {
        "#": 2,  # where mongosh is to have the URI from, and what follows from topics not there
        "kafka-topics.sh": TOPICS,
        "mongosh": COLLECTIONS + INDEXES,
    }


async def test_topics_that_are_read_are_missing_where_nobody_asks_for_them(
    settings: Settings, capsys: Captured
) -> None:
    code, found = await initialized(settings, capsys)
    assert code is ExitCode.FOUND
    assert found == {"missing": 2, "made": TOPICS - 2 + COLLECTIONS + INDEXES}


async def test_a_check_of_a_database_where_nothing_is_fails(
    empty_log: Log, capsys: Captured
) -> None:
    mongo = empty_log.settings().mongo.model_copy(update={"database": f"{empty_log.name}-typo"})
    capsys.readouterr()
    assert await check_code(empty_log.settings(mongo=mongo)) is ExitCode.FOUND
    found = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert found[f"database {mongo.database}"]["status"] == "failed"
    assert "consumer init" in found[f"database {mongo.database}"]["fix"]
