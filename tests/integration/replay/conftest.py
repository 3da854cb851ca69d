"""A log of its own for each test, and what it takes to replay it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest
from pydantic import SecretStr
from pymongo import MongoClient

from consumer.commands.audit.audit import Auditor
from consumer.commands.audit.audit_report import AuditReport
from consumer.commands.audit.judging import open_log_judge
from consumer.commands.common.record_selection import RecordSelection
from consumer.commands.replay.replay_report import ReplayReport
from consumer.commands.replay.replay_request import ReplayRequest
from consumer.commands.replay.run_replay import run_replay
from consumer.kafka.range_reader import open_range_reader
from consumer.settings.model import (
    DeadLetterSettings,
    EngineSettings,
    KafkaSettings,
    MongoSettings,
    Settings,
)
from consumer.terminal import open_result_file
from tests.integration.replay.logs import PARTITIONS, Placed, messy_log, publish
from tests.servers.provision import Kind, Server
from tests.servers.topics import create_topics

SESSIONS_IN_LOG = 120
SMALL_BATCHES = EngineSettings(max_poll_records=60)
EVERYTHING = ReplayRequest(everything=True)


def ends(report: ReplayReport) -> dict[Any, Any]:
    """How the records of each partition ended."""
    return {
        tuple(partition): (dict(ended.outcomes), dict(ended.reasons))
        for partition, ended in report.counts.items()
    }


@dataclass
class Log:
    """Topics with a messy log in them, and databases to replay it into."""

    servers: str
    uri: str
    name: str
    embedded: bool
    """The embedded broker serves no idempotent producer, and no batch of several records."""
    records: list[Placed] = field(default_factory=list)

    @property
    def topics(self) -> tuple[str, str]:
        return f"{self.name}.sessions", f"{self.name}.events"

    @property
    def letters(self) -> str:
        return f"{self.name}.letters"

    async def audit(self, selection: RecordSelection, emit: Path | None = None) -> AuditReport:
        """What an audit reports of the first database; its list goes to ``emit``."""
        async with open_log_judge(self.settings()) as judge:
            auditor = Auditor(judge)
            report = await auditor.run(selection)
            if emit is not None:
                with open_result_file("--emit", emit) as write:
                    write(one.line() for one in auditor.problems.listed())
        return report

    def settings(self, database: str = "a", **groups: Any) -> Settings:
        usual: dict[str, Any] = {
            "kafka": KafkaSettings(
                bootstrap_servers=tuple(self.servers.split(",")),
                topics=self.topics,
                group_id=self.name,
            ),
            "dead_letters": DeadLetterSettings(topic=self.letters, idempotent=not self.embedded),
            "mongo": MongoSettings(uri=SecretStr(self.uri), database=f"{self.name}-{database}"),
            "engine": SMALL_BATCHES,
        }
        return Settings(**(usual | groups))

    async def replay(
        self, request: ReplayRequest, database: str = "a", **groups: Any
    ) -> ReplayReport:
        report = await run_replay(self.settings(database, **groups), request, asyncio.Event())
        assert report is not None
        return report

    async def publish(self, *records: Placed) -> None:
        await publish(self.servers, records, one_by_one=self.embedded)

    async def letters_sent(self) -> int:
        async with open_range_reader(self.settings().kafka) as reader:
            ranges = await reader.ranges([self.letters])
        return sum(part.offsets for part in ranges)

    async def something_is_stored(self, database: str) -> None:
        """Return as soon as an event is there."""
        async with asyncio.timeout(30):
            with MongoClient[dict[str, Any]](self.uri) as client:
                events = client[f"{self.name}-{database}"].conversation_events
                while events.find_one() is None:  # noqa: ASYNC110 -- nobody tells when it is there
                    await asyncio.sleep(0)

    def drop(self, database: str) -> None:
        with MongoClient[dict[str, Any]](self.uri) as client:
            client.drop_database(f"{self.name}-{database}")


@pytest.fixture
async def empty_log(kafka_server: Server, mongodb_uri: str, unique_name: str) -> AsyncIterator[Log]:
    embedded = kafka_server.kind is Kind.EMBEDDED
    log = Log(kafka_server.address, mongodb_uri, unique_name, embedded=embedded)
    await create_topics(log.servers, *log.topics, log.letters, partitions=PARTITIONS)
    yield log
    for database in ("a", "b"):
        log.drop(database)


@pytest.fixture
async def log(empty_log: Log, rng: Random) -> Log:
    empty_log.records = messy_log(rng, empty_log.topics, SESSIONS_IN_LOG)
    await empty_log.publish(*empty_log.records)
    return empty_log


@pytest.fixture
async def tidy_log(empty_log: Log, rng: Random) -> Log:
    """A log whose contradictions each have an order: they are in one partition."""
    empty_log.records = messy_log(rng, empty_log.topics, SESSIONS_IN_LOG, strays=0)
    await empty_log.publish(*empty_log.records)
    return empty_log
