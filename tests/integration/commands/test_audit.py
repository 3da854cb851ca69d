"""An audit accounts for every record, and finds exactly what was lost or changed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, RecordsToDelete
from pymongo import MongoClient

from consumer.commands.audit.audit import show_audit
from consumer.commands.audit.audit_report import AuditReport
from consumer.commands.audit.verdicts import AuditResult
from consumer.commands.common.record_selection import RecordSelection
from consumer.commands.replay.replay_request import ReplayRequest
from consumer.errors import SettingsError
from consumer.state.outcomes import Outcome
from tests.builders import completed, created, encoded, event, failed
from tests.integration.replay.conftest import Log
from tests.integration.replay.logs import documents, home_of

pytestmark = pytest.mark.real_kafka

EVERYTHING = ReplayRequest(everything=True)


async def audit(log: Log, *, emit: Path | None = None, **selection: Any) -> AuditReport:
    return await log.audit(RecordSelection(**selection), emit)


def found_of(report: AuditReport) -> dict[AuditResult, int]:
    return {kind: count for kind, count in report.documents.items() if count}


async def test_after_everything_was_applied_every_record_is_accounted_for(log: Log) -> None:
    applied = await log.replay(EVERYTHING)
    report = await audit(log)
    ended, found = applied.total.outcomes, report.total
    assert not report.found
    assert found.total() == len(log.records)
    assert found[AuditResult.APPLIED] == ended[Outcome.APPLIED]
    assert found[AuditResult.DUPLICATE] == ended[Outcome.DUPLICATE]
    assert found[AuditResult.CONFLICT] == ended[Outcome.CONFLICT]
    assert found[AuditResult.DEAD] == ended[Outcome.DEAD_LETTERED]
    assert found[AuditResult.SKIPPED] == ended[Outcome.SKIPPED]


async def test_an_audit_changes_nothing(log: Log) -> None:
    await log.replay(EVERYTHING)
    before, letters = documents(log.uri, f"{log.name}-a"), await log.letters_sent()
    await audit(log)
    assert documents(log.uri, f"{log.name}-a") == before
    assert await log.letters_sent() == letters


async def test_what_was_deleted_and_what_was_altered_is_found_exactly_and_brought_back(
    tidy_log: Log, rng: Random, tmp_path: Path
) -> None:
    log = tidy_log
    await log.replay(EVERYTHING)
    original = documents(log.uri, f"{log.name}-a")
    damage(log, rng, deleted=10, altered=5)
    found = tmp_path / "problems.ndjson"
    report = await audit(log, emit=found)
    assert found_of(report) == {AuditResult.MISSING: 10, AuditResult.ALTERED: 5}
    await log.replay(ReplayRequest(file=str(found)))
    report = await audit(log)
    assert found_of(report) == {AuditResult.ALTERED: 5}
    await log.replay(ReplayRequest(file=str(found), repair=True))
    report = await audit(log)
    assert not report.found
    assert documents(log.uri, f"{log.name}-a") == original


def damage(log: Log, rng: Random, *, deleted: int, altered: int) -> None:
    """Delete and alter documents of both collections, each at most once."""
    with MongoClient[dict[str, Any]](log.uri) as client:
        database = client[f"{log.name}-a"]
        events = list(database.conversation_events.find())
        sessions = list(database.conversation_sessions.find({"createdFrom": {"$exists": True}}))
        rng.shuffle(events)
        rng.shuffle(sessions)
        gone = sessions[:3]
        for session in gone:
            database.conversation_sessions.delete_one({"_id": session["_id"]})
        for one in events[: deleted - 3]:
            database.conversation_events.delete_one({"_id": one["_id"]})
        for one in events[deleted - 3 : deleted - 3 + altered - 2]:
            database.conversation_events.update_one(
                {"_id": one["_id"]}, {"$set": {"payload": {"text": "forged"}}}
            )
        for session in sessions[3:5]:
            database.conversation_sessions.update_one(
                {"_id": session["_id"]}, {"$set": {"language": "forged"}}
            )


async def test_a_rejected_record_without_its_dead_letter_is_missing(log: Log) -> None:
    applied = await log.replay(ReplayRequest(everything=True, send_dead_letters=False))
    report = await audit(log)
    ended = applied.total.outcomes
    assert (
        report.total[AuditResult.MISSING] == ended[Outcome.DEAD_LETTERED] + ended[Outcome.CONFLICT]
    )
    assert report.total[AuditResult.ALTERED] == 0


async def test_a_session_that_is_gone_is_one_document_however_many_events_it_has(
    empty_log: Log, tmp_path: Path
) -> None:
    home = home_of("s")
    said = [created("s"), *[event("s", f"e{n}") for n in range(5)], completed("s", eventCount=5)]
    await empty_log.publish(
        *[(empty_log.topics[0], home, b"s", encoded(message)) for message in said]
    )
    await empty_log.replay(EVERYTHING)
    original = documents(empty_log.uri, f"{empty_log.name}-a")
    with MongoClient[dict[str, Any]](empty_log.uri) as client:
        client[f"{empty_log.name}-a"].conversation_sessions.delete_many({})
    found = tmp_path / "problems.ndjson"
    report = await audit(empty_log, emit=found)
    assert report.documents[AuditResult.MISSING] == 1
    await empty_log.replay(ReplayRequest(file=str(found)))
    assert documents(empty_log.uri, f"{empty_log.name}-a") == original


async def test_a_copy_of_a_record_whose_document_was_altered_is_no_second_problem(
    empty_log: Log, tmp_path: Path
) -> None:
    place = (empty_log.topics[1], home_of("s"), b"s", encoded(event("s", "e")))
    await empty_log.publish(place, place)
    await empty_log.replay(EVERYTHING)
    with MongoClient[dict[str, Any]](empty_log.uri) as client:
        client[f"{empty_log.name}-a"].conversation_events.update_one(
            {}, {"$set": {"payload": {"text": "forged"}}}
        )
    found = tmp_path / "problems.ndjson"
    report = await audit(empty_log, emit=found)
    assert found_of(report) == {AuditResult.ALTERED: 1}
    assert [json.loads(line)["offset"] for line in found.read_text().splitlines()] == [0]


@pytest.mark.parametrize(
    ("said", "altered", "conflict"),
    [
        (
            [created("s"), created("s", language="de"), failed("s", reason="lost")],
            {"reason": "forged"},
            1,
        ),
        (
            [created("s"), failed("s", reason="lost"), completed("s")],
            {"language": "forged"},
            2,
        ),
    ],
    ids=["creation", "end"],
)
async def test_a_conflict_of_one_half_of_a_session_is_not_explained_by_the_other_one_altered(
    empty_log: Log, tmp_path: Path, said: list[dict[str, Any]], altered: Any, conflict: int
) -> None:
    home = home_of("s")
    await empty_log.publish(
        *[(empty_log.topics[0], home, b"s", encoded(message)) for message in said]
    )
    await empty_log.replay(ReplayRequest(everything=True, send_dead_letters=False))
    with MongoClient[dict[str, Any]](empty_log.uri) as client:
        client[f"{empty_log.name}-a"].conversation_sessions.update_one({}, {"$set": altered})
    found = tmp_path / "problems.ndjson"
    report = await audit(empty_log, emit=found)
    assert (report.total[AuditResult.MISSING], report.total[AuditResult.ALTERED]) == (1, 1)
    listed = [json.loads(line) for line in found.read_text().splitlines()]
    assert {one["offset"] for one in listed if one["problem"] == "missing"} == {conflict}
    assert {tuple(one["document"]) for one in listed} == {("session", "s")}


async def test_a_list_that_cannot_be_written_in_the_end_does_not_take_the_report_with_it(
    empty_log: Log, capsys: pytest.CaptureFixture[str]
) -> None:
    await empty_log.publish((empty_log.topics[0], home_of("s"), b"s", encoded(created("s"))))
    with pytest.raises(SettingsError, match="--emit /dev/full cannot be written"):
        await show_audit(empty_log.settings(), RecordSelection(), emit="/dev/full", as_json=True)
    assert json.loads(capsys.readouterr().out)["total"]["missing"] == 1


async def test_sessions_that_have_fewer_events_than_they_say_are_listed(empty_log: Log) -> None:
    home = home_of("s")
    said = [created("s"), event("s", "e"), completed("s", eventCount=3)]
    await empty_log.publish(
        *[(empty_log.topics[0], home, b"s", encoded(message)) for message in said]
    )
    await empty_log.replay(EVERYTHING)
    report = await audit(empty_log)
    assert not report.found
    (disagreement,) = report.disagreements.first
    assert (disagreement.session_id, disagreement.declared, disagreement.stored) == ("s", 3, 1)


async def test_what_the_group_has_not_read_yet_is_left_out(log: Log) -> None:
    place = TopicPartition(log.topics[0], 0)
    member = AIOKafkaConsumer(
        bootstrap_servers=log.servers, group_id=log.name, enable_auto_commit=False
    )
    await member.start()
    try:
        member.assign([place])
        await member.commit({place: 0})
    finally:
        await member.stop()
    report = await audit(log)
    assert report.total.total() == 0
    assert report.unread == len(log.records)


@pytest.mark.reliability("F45")
async def test_once_letters_have_expired_only_theirs_are_unknown_and_a_replay_sends_them_again(
    log: Log, tmp_path: Path
) -> None:
    applied = await log.replay(EVERYTHING)
    ended = applied.total.outcomes
    rejected = ended[Outcome.DEAD_LETTERED] + ended[Outcome.CONFLICT]
    with MongoClient[dict[str, Any]](log.uri) as client:
        client[f"{log.name}-a"].conversation_events.delete_one({})
    await _delete_letters(log)
    emitted = tmp_path / "problems.ndjson"
    report = await audit(log, emit=emitted)
    assert report.found
    assert report.documents[AuditResult.MISSING] == 1
    assert report.total[AuditResult.UNKNOWN] + report.total[AuditResult.MISSING] >= rejected + 1
    await log.replay(ReplayRequest(file=str(emitted)))
    assert not (await audit(log)).found


@pytest.mark.reliability("F46")
async def test_what_was_altered_is_found_after_a_plain_replay_has_passed_over_it(
    log: Log, tmp_path: Path
) -> None:
    await log.replay(EVERYTHING)
    original = documents(log.uri, f"{log.name}-a")
    with MongoClient[dict[str, Any]](log.uri) as client:
        client[f"{log.name}-a"].conversation_events.update_one(
            {}, {"$set": {"payload": {"text": "forged"}}}
        )
    await log.replay(EVERYTHING)
    emitted = tmp_path / "problems.ndjson"
    report = await audit(log, emit=emitted)
    assert found_of(report) == {AuditResult.ALTERED: 1}
    await log.replay(ReplayRequest(file=str(emitted), repair=True))
    assert documents(log.uri, f"{log.name}-a") == original


async def _delete_letters(log: Log) -> None:
    """Delete every dead letter, as the broker's retention does."""
    admin = AIOKafkaAdminClient(bootstrap_servers=log.servers)
    await admin.start()
    try:
        await asyncio.wait_for(
            admin.delete_records(
                {TopicPartition(log.letters, number): RecordsToDelete(-1) for number in range(3)}
            ),
            30,
        )
    finally:
        await admin.close()


async def test_only_what_is_selected_is_audited(tidy_log: Log) -> None:
    log = tidy_log
    topic, home, key, _ = next(one for one in log.records if one[0] == log.topics[0])
    assert key is not None
    report = await audit(log, sessions=(key.decode(),), topics=(topic,))
    assert set(report.counts) == {(topic, home)}


@pytest.mark.reliability("F54")
async def test_after_partitions_were_added_sessions_are_found_where_they_lie(
    empty_log: Log,
) -> None:
    log = empty_log
    names = [f"s-{number}" for number in range(20)]
    await log.publish(
        *[
            (log.topics[1], home_of(name), name.encode(), encoded(event(name, "e")))
            for name in names
        ]
    )
    await log.replay(EVERYTHING)
    admin = AIOKafkaAdminClient(bootstrap_servers=log.servers)
    await admin.start()
    try:
        await admin.create_partitions({topic: NewPartitions(8) for topic in log.topics})
    finally:
        await admin.close()
    moved = [name for name in names if home_of(name, 8) != home_of(name)]
    log.drop("a")
    report = await audit(log, sessions=(moved[0],))
    assert report.total == {AuditResult.MISSING: 1}
    replayed = await log.replay(ReplayRequest(sessions=(moved[0],)))
    assert replayed.total.outcomes == {Outcome.APPLIED: 1}
    report = await audit(log, sessions=(moved[0],))
    assert report.total == {AuditResult.APPLIED: 1}
    assert not report.found


@pytest.mark.reliability("F56")
async def test_documents_that_are_there_twice_are_found(empty_log: Log) -> None:
    log = empty_log
    await log.publish((log.topics[1], home_of("s"), b"s", encoded(event("s", "e"))))
    await log.replay(EVERYTHING)
    with MongoClient[dict[str, Any]](log.uri) as client:
        events = client[f"{log.name}-a"].conversation_events
        (copy,) = events.find({}, {"_id": 0})
        events.drop_indexes()
        events.insert_one(copy)
    report = await audit(log)
    assert report.total == {AuditResult.REPEATED: 1}
