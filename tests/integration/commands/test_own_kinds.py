"""A package of two kinds, installed, through every command: init, run, audit, replay, explain."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from consumer.errors import ExitCode
from consumer.settings.own_kinds import GROUP
from consumer.settings.sources import environment_name
from consumer.settings.values import Driver
from tests.builders import created, encoded
from tests.integration.replay.conftest import Log
from tests.integration.replay.logs import home_of
from tests.known_tests import ROOT
from tests.own_kinds import rated, summarized

pytestmark = pytest.mark.real_kafka

SAID = [
    created("s"),
    rated("s", "r1", comment="fine"),
    rated("s", "r1", comment="fine"),
    rated("s", "r1", comment="not at all"),
    rated("s", "r2", ratedAt=None),
    summarized("s", 2, topics=["a"]),
    summarized("s", 1, text="too late"),
    summarized("s", 3, text="newest"),
    rated("s", "r3", stars=9),
]


def install(folder: Path) -> None:
    """Put the package where Python finds it, as pip leaves it."""
    module = ROOT / "tests" / "own_kinds" / "acme_kinds.py"
    (folder / "acme_kinds.py").write_text(module.read_text("utf-8"), "utf-8")
    info = folder / "acme_kinds-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-kinds\nVersion: 1.0\n")
    entries = "rated = acme_kinds:RATED\nsummarized = acme_kinds:SUMMARIZED\n"
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{entries}")


@dataclass(frozen=True, slots=True)
class Acme:
    """The service of a team that has installed its kinds."""

    log: Log
    folder: Path
    driver: Driver
    client: MongoClient[dict[str, Any]]

    def documents(self, collection: str) -> list[dict[str, Any]]:
        database = self.client[self.log.settings().mongo.database]
        return list(database[collection].find({}, {"_id": 0}).sort("ratingId"))

    async def consumer(self, *command: str) -> tuple[ExitCode, str]:
        """Run a command to its end; return its exit code and what it printed."""
        settings = {
            "kafka.bootstrap_servers": self.log.servers,
            "kafka.topics": ",".join(self.log.topics),
            "kafka.group_id": self.log.name,
            "dead_letters.topic": self.log.letters,
            "mongo.uri": self.log.uri,
            "mongo.database": self.log.settings().mongo.database,
            "mongo.driver": self.driver.value,
            "log.format": "json",
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "consumer", *command),
            cwd=ROOT,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(self.folder),
                **{environment_name(name): value for name, value in settings.items()},
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        printed, logged = await process.communicate()
        assert process.returncode in set(ExitCode), logged.decode()
        return ExitCode(process.returncode), printed.decode()


@pytest.fixture(params=list(Driver))
def acme(empty_log: Log, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Acme]:
    folder = tmp_path / "site-packages"
    folder.mkdir()
    install(folder)
    with closing(MongoClient[dict[str, Any]](empty_log.uri)) as client:
        yield Acme(empty_log, folder, request.param, client)


@pytest.mark.reliability("F140")
@pytest.mark.timeout(300)
async def test_own_kinds_go_through_every_command(acme: Acme, tmp_path: Path) -> None:
    log, home = acme.log, home_of("s")
    assert (await acme.consumer("init"))[0] is ExitCode.DONE
    await log.publish(*[(log.topics[0], home, b"s", encoded(message)) for message in SAID])
    assert (await acme.consumer("run", "--exit-when-caught-up"))[0] is ExitCode.DONE

    ratings = acme.documents("session_ratings")
    assert [(one["ratingId"], one["stars"]) for one in ratings] == [("r1", 4), ("r2", 4)]
    assert ratings[0]["ratedAt"].replace(tzinfo=UTC) == datetime(2026, 3, 4, 10, 9, 0, 500_000, UTC)
    assert "comment" not in ratings[1]
    assert ratings[1]["from"]["defaulted"] is True
    (summary,) = acme.documents("session_summaries")
    origin = summary.pop("from")
    assert summary == {"sessionId": "s", "revision": 3, "text": "newest"}
    assert origin["offset"] == 7

    code, printed = await acme.consumer("audit", "--json")
    assert code is ExitCode.DONE, printed
    problems = tmp_path / "problems.ndjson"
    database = acme.client[log.settings().mongo.database]
    database["session_ratings"].update_one({"ratingId": "r2"}, {"$set": {"stars": 1}})
    database["session_summaries"].delete_many({})
    assert (await acme.consumer("audit", "--emit", str(problems)))[0] is ExitCode.FOUND
    listed = [json.loads(line) for line in problems.read_text("utf-8").splitlines()]
    found = {(one["problem"], *one["document"]) for one in listed}
    assert found == {
        ("altered", "session.rated", "s", "r2"),
        ("missing", "session.summarized", "s"),
    }
    repair = ("replay", "--file", str(problems), "--repair", "--json")
    assert (await acme.consumer(*repair))[0] is ExitCode.DONE
    assert acme.documents("session_ratings") == ratings
    assert acme.documents("session_summaries") == [summary | {"from": origin}]
    assert (await acme.consumer("audit"))[0] is ExitCode.DONE


@pytest.mark.timeout(300)
async def test_own_kinds_are_replayed_explained_and_checked(acme: Acme) -> None:
    log, home = acme.log, home_of("s")
    await log.publish(*[(log.topics[0], home, b"s", encoded(message)) for message in SAID])
    replay = ("replay", "--all", "--json")
    _, printed = await acme.consumer(*replay, "--dry-run")
    foreseen = json.loads(printed)["outcomes"]
    assert acme.documents("session_ratings") == []
    _, printed = await acme.consumer(*replay)
    assert json.loads(printed)["outcomes"] == foreseen
    before = acme.documents("session_ratings"), acme.documents("session_summaries")
    _, printed = await acme.consumer("replay", "--type", "session.summarized", "--json")
    assert json.loads(printed)["outcomes"]["skipped"] == 2
    await acme.consumer(*replay)
    assert (acme.documents("session_ratings"), acme.documents("session_summaries")) == before

    _, printed = await acme.consumer("explain", "s", "--json")
    explained = json.loads(printed)
    kinds = [(one["kind"], one["outcome"]) for one in explained["records"]]
    assert ("session.rated r1", "applied") in kinds
    assert ("session.summarized", "skipped") in kinds
    assert explained["stored_documents"] == {"session_ratings": 2, "session_summaries": 1}
    assert "newest" in (await acme.consumer("explain", "s"))[1]
    code, printed = await acme.consumer("check", "--json")
    assert "session_summaries" in printed
    assert code is ExitCode.DONE, printed
    assert "session.rated" in (await acme.consumer("contract", "--json-schema", "session.rated"))[1]
    assert (await acme.consumer("contract", "--json-schema", "nothing"))[0] is ExitCode.USAGE
