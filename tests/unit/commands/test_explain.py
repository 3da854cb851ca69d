"""What an explanation of one session finds: records, letters, documents, wherever they lie."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from consumer.aio import Backoff
from consumer.commands.audit.judging import LogJudge
from consumer.commands.audit.verdicts import AuditResult
from consumer.commands.common.record_selection import RecordSelection
from consumer.commands.common.selected_ranges import CommittedOffsets, LeftOut
from consumer.commands.explain import Explanation, _events, _paged, _sent_back, find_session
from consumer.contract.dead_letter import dead_letter
from consumer.contract.record import Record, TopicPartition
from consumer.contract.rejection import Reason, Rejected
from consumer.contract.times import REDRIVE_TIMESTAMP
from consumer.errors import TransientError
from consumer.mongo.store import MongoStore
from consumer.settings.model import EngineSettings, Settings
from consumer.wiring import RetryPolicy
from tests.adapters.mongo.applying import apply
from tests.builders import EVENTS, LETTERS, SESSIONS, created, encoded, event
from tests.fakes.collections import Command, MemoryCollections, not_carried_out
from tests.fakes.logs import MemoryLogs, MemorySessions
from tests.unit.commands.planning import writes_of

SETTINGS = Settings(
    engine=EngineSettings(backoff_initial=0.001, backoff_max=0.001, startup_timeout=0.05)
)


class World:
    """Two topics of two partitions, their letters, and what is stored of them."""

    def __init__(self) -> None:
        self.logs = MemoryLogs(2, SESSIONS, EVENTS, LETTERS)
        self.collections = MemoryCollections()
        self.sessions = MemorySessions(self.collections)

    def key_of(self, partition: int) -> bytes:
        """A key that leads to a partition."""
        keys = (f"key-{number}".encode() for number in range(50))
        return next(key for key in keys if self.logs.home(EVENTS, key).partition == partition)

    async def apply(self, *records: Record) -> None:
        await apply(MongoStore(self.collections), writes_of(records))

    def letter(self, about: Record, reason: Reason, **fields: Any) -> None:
        """Put the dead letter of a record into the topic; ``fields`` of it are something else."""
        said = dead_letter(
            about._replace(**fields),
            Rejected(reason, "as the test says"),
            group=SETTINGS.kafka.group_id,
            failed_at=datetime(2026, 3, 4, 11, tzinfo=UTC),
            consumer_version="1",
        )
        letter = self.logs.publish(LETTERS, said.key, said.value)
        place = TopicPartition(LETTERS, letter.partition)
        self.logs.records[place][-1] = letter._replace(headers=said.headers)

    async def explain(self, session_id: str, **selection: Any) -> Explanation:
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
            log = LogJudge(
                SETTINGS,
                database,
                self.logs.reader,
                self.collections,
                self.sessions.reader,
                None,
                CommittedOffsets({}),
            )
            request = RecordSelection(sessions=(session_id,), **selection)
            return await find_session(log, request)


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.reliability("F54")
async def test_records_that_lie_elsewhere_are_explained_beside_their_documents(
    world: World,
) -> None:
    session_id = world.key_of(1).decode()
    # Written when each topic had one partition, and nobody else's record tells of that.
    record = world.logs.publish(EVENTS, None, encoded(event(session_id)), partition=0)
    await world.apply(record)
    found = await world.explain(session_id)
    assert [each.record for each in found.records] == [record]
    assert found.events == 1


@pytest.mark.reliability("F54")
async def test_what_was_deleted_is_missing_wherever_its_record_lies(world: World) -> None:
    session_id, other = world.key_of(1).decode(), world.key_of(0)
    world.logs.publish(SESSIONS, other, encoded(created(session_id)))
    found = await world.explain(session_id)
    assert [each.judgement.result for each in found.records] == [AuditResult.MISSING]
    assert found.left_out == LeftOut()


@pytest.mark.reliability("F54")
async def test_what_was_not_looked_at_is_told(world: World) -> None:
    session_id = world.key_of(1).decode()
    key = session_id.encode()
    await world.apply(world.logs.publish(SESSIONS, key, encoded(created(session_id))))
    found = await world.explain(session_id)
    assert set(found.looked_at) == {TopicPartition(SESSIONS, 1), TopicPartition(EVENTS, 1)}
    assert found.left_out == LeftOut(partitions_left_out=2)
    everywhere = await world.explain(session_id, all_partitions=True)
    assert (len(everywhere.looked_at), everywhere.left_out) == (4, LeftOut())


@pytest.mark.reliability("F90")
async def test_letters_under_other_keys_belong_to_the_session_they_are_about(
    world: World,
) -> None:
    session_id = world.key_of(1).decode()
    key, other = session_id.encode(), world.key_of(0)
    record = world.logs.publish(EVENTS, key, encoded(event(session_id, eventType="song")))
    # Of a record that is there, cut so that nothing but its origin tells whose it is.
    world.letter(record, Reason.UNSUPPORTED_TYPE, key=b"cut", value=b"{")
    # Of a record that was deleted since, keyed by something else.
    gone = Record(EVENTS, 0, 7, 1, other, encoded(event(session_id)))
    world.letter(gone, Reason.KEY_MISMATCH)
    # Of another session altogether.
    world.letter(Record(EVENTS, 0, 8, 1, other, b"{}"), Reason.INVALID)
    found = await world.explain(session_id)
    assert {info.origin for _, info in found.dead_letters} == {gone.position, record.position}


@pytest.mark.reliability("F55")
async def test_trouble_of_either_server_that_passes_costs_an_explanation_nothing(
    world: World,
) -> None:
    session_id = world.key_of(1).decode()
    key = session_id.encode()
    records = [
        world.logs.publish(SESSIONS, key, encoded(created(session_id))),
        *[
            world.logs.publish(EVENTS, key, encoded(event(session_id, str(number))))
            for number in range(3)
        ],
    ]
    await world.apply(*records)
    away = not_carried_out(TransientError("network", "the database is away"))
    world.collections.script(Command.FIND_EVENTS, away, away, away)
    world.logs.fails, world.sessions.fails = 2, 2
    found = await world.explain(session_id)
    assert [each.judgement.result for each in found.records] == [AuditResult.APPLIED] * 4
    assert found.events == 3


async def test_letters_that_were_sent_back_are_told_with_the_record_they_became(
    world: World,
) -> None:
    session_id = world.key_of(1).decode()
    key = session_id.encode()
    failed = [
        world.logs.publish(EVENTS, key, encoded(event(session_id, "e", eventType=kind)))
        for kind in ("song", "dance")
    ]
    for one in failed:
        world.letter(one, Reason.UNSUPPORTED_TYPE)
    back = world.logs.publish(EVENTS, key, failed[1].value)
    came = (("dlq-attempt", b"1"), (REDRIVE_TIMESTAMP, str(failed[1].timestamp_ms).encode()))
    world.logs.records[TopicPartition(EVENTS, 1)][-1] = back._replace(headers=came)
    found = await world.explain(session_id)
    told = {info.origin: _sent_back(found, letter, info) for letter, info in found.dead_letters}
    assert told[failed[0].position] is None
    sent = told[failed[1].position]
    assert sent is not None
    assert sent.record.position == back.position


@pytest.mark.reliability("F55")
async def test_trouble_between_two_events_costs_none_and_repeats_none(world: World) -> None:
    session_id = world.key_of(1).decode()
    key = session_id.encode()
    said = [encoded(event(session_id, str(number))) for number in range(5)]
    await world.apply(*[world.logs.publish(EVENTS, key, one) for one in said])
    world.sessions.fails = 3
    events = _events(world.sessions.reader, session_id, RetryPolicy(Backoff(0.001, 0.001)))
    assert [one["eventId"] async for one in events] == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize(("events", "paged"), [(3, False), (300, True)])
def test_what_is_longer_than_the_terminal_goes_through_a_pager(
    events: int, paged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr("rich.pager.SystemPager.show", lambda _, content: shown.append(content))
    out = Console(force_terminal=True, height=25, file=StringIO())
    with _paged(out, Explanation("s", [], [], [], None, events)):
        out.print("a transcript")
    assert bool(shown) is paged
