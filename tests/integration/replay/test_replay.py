"""A replay does what the group would have done, says so beforehand, and disturbs nobody."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from pymongo import MongoClient

from consumer.commands.audit.verdicts import AuditResult
from consumer.commands.common.selected_ranges import LeftOut
from consumer.commands.replay.replay_request import ReplayRequest
from consumer.commands.replay.run_replay import run_replay
from consumer.contract.messages import MessageKind
from consumer.errors import PreconditionError, SettingsError
from consumer.kafka.admin import open_admin
from consumer.state.outcomes import Outcome
from tests.builders import encoded, event
from tests.integration.replay.conftest import EVERYTHING, SMALL_BATCHES, Log, ends
from tests.integration.replay.logs import PARTITIONS, documents, home_of

# --- everything -------------------------------------------------------------------------


async def test_a_rebuild_in_another_database_leaves_the_same_documents(tidy_log: Log) -> None:
    log = tidy_log
    first = await log.replay(EVERYTHING, "a")
    second = await log.replay(EVERYTHING, "b")
    assert first.complete
    assert first.total.records == len(log.records)
    assert ends(second) == ends(first)
    assert documents(log.uri, f"{log.name}-b") == documents(log.uri, f"{log.name}-a")


@pytest.mark.parametrize("batches", [1, 3])
async def test_a_dry_run_predicts_exactly_what_the_next_run_does(
    tidy_log: Log, batches: int
) -> None:
    log, engine = tidy_log, SMALL_BATCHES.model_copy(update={"batches_in_flight": batches})
    # Some of the log is applied already, so that every answer is possible.
    await log.replay(ReplayRequest(to_offset=40))
    said = await log.replay(ReplayRequest(everything=True, dry_run=True), engine=engine)
    before = documents(log.uri, f"{log.name}-a")
    done = await log.replay(EVERYTHING, engine=engine)
    assert ends(done) == ends(said)
    assert said.contradictions == 0
    assert before != documents(log.uri, f"{log.name}-a")
    assert set(done.total.outcomes) == set(Outcome)


async def test_a_dry_run_says_that_partitions_contradict_each_other(log: Log) -> None:
    said = await log.replay(ReplayRequest(everything=True, dry_run=True))
    done = await log.replay(EVERYTHING)
    assert said.contradictions > 0
    assert said.total.records == done.total.records == len(log.records)


async def test_a_dry_run_writes_nothing_anywhere(log: Log) -> None:
    await log.replay(ReplayRequest(everything=True, dry_run=True))
    with MongoClient[dict[str, Any]](log.uri) as client:
        assert f"{log.name}-a" not in client.list_database_names()
    assert await log.letters_sent() == 0


@pytest.mark.real_kafka
async def test_a_second_replay_finds_everything_there_and_every_old_conflict(log: Log) -> None:
    first = await log.replay(EVERYTHING)
    left = documents(log.uri, f"{log.name}-a")
    again = await log.replay(EVERYTHING)
    outcomes = again.total.outcomes
    assert outcomes[Outcome.APPLIED] == 0
    assert outcomes[Outcome.REDELIVERED] == first.total.outcomes[Outcome.APPLIED]
    assert again.total.reasons == first.total.reasons
    assert documents(log.uri, f"{log.name}-a") == left
    assert await log.letters_sent() == 2 * first.total.reasons.total()


async def test_without_a_dead_letter_topic_they_are_only_counted(log: Log) -> None:
    report = await log.replay(ReplayRequest(everything=True, send_dead_letters=False))
    assert report.total.reasons.total() > 0
    assert report.dead_letters is None
    assert await log.letters_sent() == 0


# --- the group --------------------------------------------------------------------------


async def test_the_live_group_does_not_notice(log: Log) -> None:
    place = TopicPartition(log.topics[0], 0)
    member = AIOKafkaConsumer(
        log.topics[0],
        bootstrap_servers=log.servers,
        group_id=log.name,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await member.start()
    try:
        await member.commit({place: 7})
        assigned = member.assignment()
        await log.replay(EVERYTHING)
        assert await member.committed(place) == 7
        assert member.assignment() == assigned
        async with open_admin(log.settings().kafka) as admin:
            groups = {group[0] for group in await admin._client.list_consumer_groups()}
        assert {group for group in groups if log.name in group} == {log.name}
    finally:
        await member.stop()


async def test_records_that_come_meanwhile_are_left_to_the_group(empty_log: Log) -> None:
    place = (empty_log.topics[1], 0, b"s")
    await empty_log.publish(*[(*place, encoded(event("s", f"e{n}"))) for n in range(200)])
    stop = asyncio.Event()
    running = asyncio.ensure_future(
        run_replay(empty_log.settings(), ReplayRequest(everything=True, rate=100), stop)
    )
    await empty_log.something_is_stored("a")
    await empty_log.publish((*place, encoded(event("s", "late"))))
    report = await running
    assert report is not None
    assert report.total.records == 200


@pytest.mark.real_kafka
async def test_a_log_that_ends_in_an_aborted_transaction_is_replayed_to_its_end(
    empty_log: Log,
) -> None:
    place = (empty_log.topics[1], 0, b"s")
    await empty_log.publish((*place, encoded(event("s", "kept"))))
    producer = AIOKafkaProducer(
        bootstrap_servers=empty_log.servers, transactional_id=empty_log.name
    )
    await producer.start()
    try:
        await producer.begin_transaction()
        await producer.send_and_wait(
            place[0], encoded(event("s", "dropped")), key=b"s", partition=0
        )
        await producer.abort_transaction()
    finally:
        await producer.stop()
    async with asyncio.timeout(30):
        report = await empty_log.replay(EVERYTHING)
    assert report.complete
    assert report.total.records == 1


# --- selections -------------------------------------------------------------------------


async def test_of_one_session_only_its_partitions_are_read(tidy_log: Log) -> None:
    log = tidy_log
    # All that lies in the other topic under keys of its own would tell to look everywhere.
    report = await log.replay(ReplayRequest(sessions=("session-3",), topics=(log.topics[0],)))
    home = home_of("session-3")
    assert [part.partition for part in report.progress.ranges] == [(log.topics[0], home)]
    stored = documents(log.uri, f"{log.name}-a")
    assert {entry["sessionId"] for entries in stored.values() for entry in entries} <= {"session-3"}
    own = [one for one in log.records if b'"session-3"' in (one[3] or b"")]
    assert report.total.records == sum(one[0] == log.topics[0] for one in own)


@pytest.mark.reliability("F54")
async def test_where_keys_do_not_lead_to_a_sessions_records_every_partition_is_read(
    log: Log,
) -> None:
    report = await log.replay(ReplayRequest(sessions=("session-3",)))
    assert len(report.progress.ranges) == len(log.topics) * PARTITIONS
    own = [one for one in log.records if b'"session-3"' in (one[3] or b"")]
    assert report.total.records == len(own)


async def test_of_one_type_only_its_messages_are_applied(log: Log) -> None:
    report = await log.replay(ReplayRequest(kinds=(MessageKind.SESSION_CREATED,)))
    of_type = [one for one in log.records if b'"session.created"' in (one[3] or b"")]
    assert report.total.records == len(of_type)
    assert documents(log.uri, f"{log.name}-a")["conversation_events"] == []


async def test_offsets_topics_and_partitions_narrow_it_down(log: Log) -> None:
    request = ReplayRequest(topics=log.topics[1:], partitions=(1,), from_offset=3, to_offset=9)
    report = await log.replay(request)
    assert [(part.partition, part.first, part.end) for part in report.progress.ranges] == [
        ((log.topics[1], 1), 3, 9)
    ]
    assert report.total.records == 6


async def test_a_time_selects_the_records_stamped_since_then(empty_log: Log) -> None:
    place = (empty_log.topics[1], 0, b"s")
    await empty_log.publish((*place, encoded(event("s", "before"))))
    border = time.time_ns() // 1_000_000 + 1
    while time.time_ns() // 1_000_000 <= border:
        pass
    await empty_log.publish((*place, encoded(event("s", "after"))))
    moment = (
        f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(border // 1000))}.{border % 1000:03}Z"
    )
    await empty_log.replay(ReplayRequest(from_time=moment), "a")
    await empty_log.replay(ReplayRequest(to_time=moment), "b")
    for database, event_id in (("a", "after"), ("b", "before")):
        (entry,) = documents(empty_log.uri, f"{empty_log.name}-{database}")["conversation_events"]
        assert entry["eventId"] == event_id


async def stamped(log: Log, stamps: Sequence[int]) -> None:
    """Events e0, e1, … of one session, each with its timestamp in milliseconds."""
    producer = AIOKafkaProducer(bootstrap_servers=log.servers, acks="all")
    await producer.start()
    try:
        for number, stamp in enumerate(stamps):
            value = encoded(event("s", f"e{number}"))
            await producer.send_and_wait(
                log.topics[1], value, key=b"s", partition=0, timestamp_ms=stamp
            )
    finally:
        await producer.stop()


def written(milliseconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(milliseconds / 1000))


async def oddly_stamped(log: Log) -> ReplayRequest:
    """Twenty events of a time, one after a fast clock's; the request is for that time."""
    first = (int(time.time()) - 7200) * 1000
    stamps = [first + number * 1000 for number in range(20)]
    stamps[3] += 3_000_000
    await stamped(log, [first - 5000, *stamps, first + 60_000, first + 7000])
    return ReplayRequest(from_time=written(first), to_time=written(first + 20_000))


@pytest.mark.reliability("F81")
async def test_a_fast_clock_hides_no_record_from_a_replay(empty_log: Log) -> None:
    report = await empty_log.replay(await oddly_stamped(empty_log))
    assert report.total.records == 20
    # Only a broker that has an index of times leaves the first record unread.
    assert report.left_out.outside_times + report.left_out.before_times == 3


@pytest.mark.real_kafka
@pytest.mark.reliability("F81")
async def test_a_fast_clock_hides_no_record_from_an_audit(empty_log: Log) -> None:
    log, inside = empty_log, await oddly_stamped(empty_log)
    await log.replay(EVERYTHING)
    with MongoClient[dict[str, Any]](log.uri) as client:
        client[f"{log.name}-a"].conversation_events.delete_one({"eventId": "e22"})
    found = await log.audit(inside)
    assert found.total[AuditResult.MISSING] == 1
    assert found.total.total() == 20
    assert found.left_out == LeftOut(outside_times=2, before_times=1)


def begun_anew(state: Path, to_ms: int) -> None:
    """As if the replay had been asked for at another time, and had done nothing yet."""
    said = json.loads(state.read_text())
    said["positions"] = [part["first"] for part in said["ranges"]]
    said["bounds"]["to_ms"] = to_ms
    state.write_text(json.dumps(said))


@pytest.mark.reliability("F81")
async def test_a_time_so_long_ago_is_the_one_it_was_when_the_replay_began(
    empty_log: Log, tmp_path: Path
) -> None:
    log, state, now = empty_log, tmp_path / "state", int(time.time() * 1000)
    await stamped(log, [now - 1000 * number for number in range(5)])
    request = ReplayRequest(to_time="0s ago", state=str(state), send_dead_letters=False)
    await log.replay(request)
    begun_anew(state, now - 2500)
    assert (await log.replay(request)).left_out.outside_times == 3


async def test_an_empty_selection_is_done_at_once(log: Log) -> None:
    report = await log.replay(ReplayRequest(from_offset=1_000_000))
    assert report.complete
    assert report.total.records == 0


async def test_a_missing_topic_or_partition_is_named(log: Log) -> None:
    with pytest.raises(PreconditionError, match="no such topic: missing"):
        await log.replay(ReplayRequest(topics=("missing",)))
    with pytest.raises(SettingsError, match="--partition 7"):
        await log.replay(ReplayRequest(partitions=(0, 7)))
