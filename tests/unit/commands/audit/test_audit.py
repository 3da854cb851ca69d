"""A whole audit over logs and documents in memory: where it looks, and what it counts."""

from __future__ import annotations

import io
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import AsyncMock

import pytest
from rich.console import Console

from consumer import wiring
from consumer.commands.audit import audit_report, judging
from consumer.commands.audit.audit import Auditor
from consumer.commands.audit.audit_report import AuditReport, print_audit
from consumer.commands.audit.judging import LogJudge, open_log_judge
from consumer.commands.audit.problems import Disagreements
from consumer.commands.audit.verdicts import AuditResult
from consumer.commands.common.record_selection import RecordSelection
from consumer.commands.common.selected_ranges import CommittedOffsets, LeftOut
from consumer.contract.record import Record, TopicPartition
from consumer.errors import PreconditionError, TransientError
from consumer.kafka.admin import GroupDescription
from consumer.mongo.store import MongoStore
from consumer.settings.model import EngineSettings, KafkaSettings, Settings
from consumer.settings.sources import load_settings
from consumer.state.retention import Retention
from tests.adapters.mongo.applying import apply
from tests.builders import EVENTS, LETTERS, SESSIONS, completed, created, encoded, event
from tests.fakes.collections import Command, MemoryCollections, not_carried_out
from tests.fakes.logs import MemoryLogs, MemorySessions
from tests.unit.commands.planning import writes_of

SETTINGS = Settings(
    engine=EngineSettings(backoff_initial=0.001, backoff_max=0.001, startup_timeout=0.05)
)


class World:
    """Two topics, their letters and what is stored of them."""

    def __init__(self) -> None:
        self.logs = MemoryLogs(1, SESSIONS, EVENTS, LETTERS)
        self.collections = MemoryCollections()
        self.sessions = MemorySessions(self.collections)
        self.committed = CommittedOffsets({})

    async def say(self, *messages: dict[str, Any], retention: Retention | None = None) -> None:
        """Publish messages and apply them."""
        records = []
        for message in messages:
            topic = EVENTS if message["type"] == "event.recorded" else SESSIONS
            key = message["sessionId"].encode()
            records.append(self.logs.publish(topic, key, encoded(message)))
        await self.apply(*records, retention=retention)

    async def apply(self, *records: Record, retention: Retention | None = None) -> None:
        await apply(MongoStore(self.collections), writes_of(records, retention))

    def forget(self) -> None:
        """Delete every document."""
        self.collections.events.clear()
        self.collections.sessions.clear()

    def add_partition(self) -> None:
        for topic in (SESSIONS, EVENTS):
            self.logs.add_partitions(topic, 2)

    async def audit(self, settings: Settings = SETTINGS, **selection: Any) -> AuditReport:
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
            log = LogJudge(
                settings,
                database,
                self.logs.reader,
                self.collections,
                self.sessions.reader,
                None,
                self.committed,
            )
            return await Auditor(log).run(RecordSelection(**selection))


@pytest.fixture
def world() -> World:
    return World()


# --- partitions added ---------------------------------------------------------------------


def moving(world: World, count: int) -> Iterator[str]:
    """Yield ids whose key leads to another partition than 0 once there are two."""
    for number in range(count):
        session_id = f"session-{number}"
        if world.logs.home(EVENTS, session_id.encode()).partition != 0:
            yield session_id


@pytest.mark.reliability("F54")
async def test_after_partitions_were_added_a_deleted_session_is_found_where_it_lies(
    world: World,
) -> None:
    for number in range(20):
        await world.say(created(f"session-{number}"), event(f"session-{number}"))
    world.add_partition()
    session_id, *_ = moving(world, 20)
    # Something of the session lies at its new home, too, and is stored.
    await world.say(event(session_id, "later"))
    for key in [key for key in world.collections.events if key == (session_id, "e")]:
        del world.collections.events[key]
    del world.collections.sessions[session_id]["createdFrom"]
    report = await world.audit(sessions=(session_id,))
    assert report.total[AuditResult.MISSING] == 1
    assert report.total.total() == 3
    assert report.left_out == LeftOut()


@pytest.mark.reliability("F54")
async def test_where_nothing_lies_where_the_key_leads_every_partition_is_read(
    world: World,
) -> None:
    world.add_partition()
    session_id, *_ = moving(world, 20)
    # Nothing tells that keys lead elsewhere: the session's is the only record.
    lonely = world.logs.publish(EVENTS, None, encoded(event(session_id)), partition=0)
    world.logs.records[TopicPartition(EVENTS, 0)] = [
        Record(EVENTS, 0, 0, lonely.timestamp_ms, world_key_of(world, 0), lonely.value)
    ]
    report = await world.audit(sessions=(session_id,))
    assert report.total == {AuditResult.MISSING: 1}
    assert report.not_in_the_log == []


def world_key_of(world: World, partition: int) -> bytes:
    """A key that leads to a partition."""
    keys = (f"key-{number}".encode() for number in range(50))
    return next(key for key in keys if world.logs.home(EVENTS, key).partition == partition)


@pytest.mark.reliability("F54")
async def test_a_session_without_a_record_is_no_all_clear(world: World) -> None:
    await world.say(created("other"))
    report = await world.audit(sessions=("nobody",))
    assert report.total.total() == 0
    assert report.not_in_the_log == ["nobody"]
    assert report.found


@pytest.mark.reliability("F54")
async def test_documents_say_where_else_to_look(world: World) -> None:
    world.add_partition()
    here, there = world_key_of(world, 0), world_key_of(world, 1)
    session_id = here.decode()
    await world.say(created(session_id), event(session_id))
    # Another producer's key: the record lies at that key's home, and so says its document.
    await world.apply(
        world.logs.publish(EVENTS, there, encoded(event(session_id, "stray"))),
    )
    world.logs.publish(EVENTS, there, encoded(event(session_id, "lost")))
    report = await world.audit(sessions=(session_id,))
    assert report.total == {AuditResult.APPLIED: 3, AuditResult.MISSING: 1}


@pytest.mark.reliability("F54")
async def test_every_partition_is_read_when_asked_for(world: World) -> None:
    world.add_partition()
    here, there = world_key_of(world, 0), world_key_of(world, 1)
    session_id = here.decode()
    await world.say(created(session_id))
    world.logs.publish(EVENTS, there, encoded(event(session_id, "lost")))
    near = await world.audit(sessions=(session_id,))
    assert (near.total.total(), near.left_out) == (1, LeftOut(partitions_left_out=2))
    everywhere = await world.audit(sessions=(session_id,), all_partitions=True)
    assert everywhere.total == {AuditResult.APPLIED: 1, AuditResult.MISSING: 1}


async def test_what_is_too_large_for_the_setting_says_nothing_of_a_session_or_of_an_event(
    world: World,
) -> None:
    await world.say(created("s"), completed("s", eventCount=1))
    world.logs.publish(EVENTS, b"t", encoded(event("s", payload={"text": "x" * 5000})))
    small = SETTINGS.model_copy(update={"kafka": KafkaSettings(max_value_bytes=4096)})
    assert (await world.audit(small, sessions=("s",))).total == {AuditResult.APPLIED: 2}
    world.committed = CommittedOffsets({TopicPartition(SESSIONS, 0): 2})
    counts = (await world.audit(small)).disagreements
    assert (counts.sessions, counts.unread) == (1, 0)


# --- counts that need not agree yet, or any more ------------------------------------------


@pytest.mark.reliability("F55")
async def test_events_that_the_group_has_not_read_are_no_disagreement(world: World) -> None:
    await world.say(created(), event("s", "1"), completed("s", eventCount=3))
    world.logs.publish(EVENTS, b"s", encoded(event("s", "2")))
    world.logs.publish(EVENTS, b"s", encoded(event("s", "3")))
    world.committed = CommittedOffsets(
        {TopicPartition(SESSIONS, 0): 2, TopicPartition(EVENTS, 0): 1}
    )
    counts = (await world.audit(topics=(SESSIONS,))).disagreements
    assert (counts.sessions, counts.unread) == (0, 1)


@pytest.mark.reliability("F55")
async def test_fewer_events_are_a_disagreement_though_others_are_unread(world: World) -> None:
    await world.say(created(), event("s", "1"), completed("s", eventCount=3))
    world.logs.publish(EVENTS, b"t", encoded(event("t", "2")))
    world.committed = CommittedOffsets(
        {TopicPartition(SESSIONS, 0): 2, TopicPartition(EVENTS, 0): 1}
    )
    counts = (await world.audit()).disagreements
    assert [(one.declared, one.stored) for one in counts.first] == [(3, 1)]
    assert counts.unread == 0


@pytest.mark.parametrize(("began_days_ago", "expired"), [(40, 1), (10, 0)])
@pytest.mark.reliability("F55")
async def test_events_that_have_expired_are_no_disagreement(
    world: World, began_days_ago: int, expired: int
) -> None:
    now = datetime.now(UTC)
    began, ended = now - timedelta(days=began_days_ago), now - timedelta(days=2)
    await world.say(
        created(startedAt=began.isoformat()),
        event(),
        completed("s", endedAt=ended.isoformat(), eventCount=2),
    )
    world.collections.sessions["s"]["expireAt"] = ended + timedelta(days=30)
    counts = (await world.audit()).disagreements
    assert (counts.sessions, counts.expired) == (1 - expired, expired)


# --- trouble that passes ------------------------------------------------------------------


@pytest.mark.reliability("F55")
async def test_trouble_of_either_server_that_passes_costs_an_audit_nothing(
    world: World,
) -> None:
    said = [created(), *[event("s", f"{number}") for number in range(5)]]
    await world.say(*said, completed("s", eventCount=5))
    quiet = await world.audit()
    away = not_carried_out(TransientError("network", "the database is away"))
    world.collections.script(Command.FIND_EVENTS, away, away)
    world.collections.script(Command.FIND_SESSIONS, away, away)
    world.logs.fails, world.sessions.fails = 3, 3
    report = await world.audit()
    assert report.counts == quiet.counts
    assert report.total == {AuditResult.APPLIED: 7}
    assert report.disagreements == quiet.disagreements
    assert (world.logs.fails, world.sessions.fails) == (0, 0)


async def test_a_slow_database_is_asked_for_fewer_sessions_at_once(world: World) -> None:
    for number in range(40):
        await world.say(created(f"s{number}"), event(f"s{number}"))
        await world.say(completed(f"s{number}", eventCount=1 + number % 2))
    world.sessions.fits = 3
    assert (await world.audit()).disagreements.sessions == 20


def test_an_audit_of_nothing_says_that_nothing_was_there(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for unread in (0, 3):
        print_audit(
            AuditReport({}, Counter(), [], 0, unread, Disagreements(0, []), 1.0), as_json=False
        )
        said = "the topics hold nothing of what is selected" in capsys.readouterr().out
        assert said is (unread == 0)


@pytest.mark.parametrize("committed", [False, True])
async def test_an_audit_of_a_group_that_has_committed_nothing_says_so(
    world: World, capsys: pytest.CaptureFixture[str], *, committed: bool
) -> None:
    """Its name may be mistyped."""
    await world.say(created("s"))
    if committed:
        world.committed = CommittedOffsets({TopicPartition(SESSIONS, 0): 1})
    report = await world.audit()
    assert report.nothing_committed is not committed
    print_audit(report, as_json=False)
    assert ("is kafka.group_id right" in capsys.readouterr().out) is not committed


def test_a_narrow_terminal_cuts_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    narrow = Console(file=written, width=60, soft_wrap=True)
    monkeypatch.setattr(audit_report, "console", lambda: narrow)
    counts = {TopicPartition("conversation.events", 7): Counter({AuditResult.APPLIED: 12_345_678})}
    print_audit(AuditReport(counts, Counter(), [], 0, 0, Disagreements(0, []), 1.0), as_json=False)
    assert "…" not in written.getvalue()


@pytest.mark.reliability("F62")
@pytest.mark.parametrize("answered", [False, True], ids=["from the start", "after an answer"])
async def test_where_mongodb_is_away_an_audit_says_so_of_mongodb(
    monkeypatch: pytest.MonkeyPatch, answered: bool
) -> None:
    class Brokers:
        async def describe_group(self, _: str) -> GroupDescription:
            return GroupDescription("Empty", "", (), {})

    @asynccontextmanager
    async def opened(_: object) -> AsyncIterator[Brokers]:
        yield Brokers()

    monkeypatch.setattr(judging, "open_range_reader", opened)
    monkeypatch.setattr(wiring, "open_admin", opened)
    if answered:
        monkeypatch.setattr(judging, "await_database", AsyncMock())
    settings = load_settings(
        {"mongo.uri": "mongodb://127.0.0.1:1", "mongo.timeout": 0.1, "engine.startup_timeout": 0.3}
    )
    with pytest.raises(PreconditionError, match=r"^MongoDB did not answer within 0\.3 s"):
        async with open_log_judge(settings):
            pass
