"""A replay does what the group would have done, says so beforehand, and disturbs nobody."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from pymongo import MongoClient

from consumer.commands.audit.verdicts import AuditResult
from consumer.commands.common.selected_ranges import LeftOut
from consumer.commands.replay import run_replay as run_replay_module
from consumer.commands.replay.replay_report import ReplayReport
from consumer.commands.replay.replay_request import ReplayRequest
from consumer.commands.replay.run_replay import run_replay
from consumer.contract.messages import MessageKind
from consumer.contract.rejection import Reason
from consumer.errors import ExitCode, PreconditionError, SettingsError
from consumer.kafka.admin import open_admin
from consumer.settings.model import DeadLetterSettings
from consumer.state.outcomes import Outcome
from tests.builders import completed, created, encoded, event
from tests.integration.replay.conftest import SMALL_BATCHES, Log
from tests.integration.replay.logs import PARTITIONS, documents, home_of
from tests.servers.topics import create_topics, delete_topic

EVERYTHING = ReplayRequest(everything=True)


def ends(report: ReplayReport) -> dict[Any, Any]:
    """How the records of each partition ended."""
    return {
        tuple(partition): (dict(ended.outcomes), dict(ended.reasons))
        for partition, ended in report.counts.items()
    }


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


# --- interruptions ----------------------------------------------------------------------


async def test_a_replay_that_is_stopped_goes_on_from_its_state(
    tidy_log: Log, tmp_path: Path
) -> None:
    log, state = tidy_log, str(tmp_path / "state")
    stop = asyncio.Event()
    slow = ReplayRequest(everything=True, state=state, rate=400, send_dead_letters=False)
    running = asyncio.ensure_future(run_replay(log.settings("b"), slow, stop))
    await log.something_is_stored("b")
    stop.set()
    stopped = await running
    assert stopped is not None
    assert not stopped.complete
    assert 0 < stopped.total.records < len(log.records)
    rest = await log.replay(
        ReplayRequest(everything=True, state=state, send_dead_letters=False), "b"
    )
    assert rest.complete
    assert rest.total.records == len(log.records) - stopped.total.records
    await log.replay(EVERYTHING, "a")
    assert documents(log.uri, f"{log.name}-b") == documents(log.uri, f"{log.name}-a")


async def test_a_replay_that_is_killed_misses_nothing_when_it_goes_on(
    tidy_log: Log, tmp_path: Path
) -> None:
    log, state = tidy_log, tmp_path / "state"
    settings = log.settings("b")
    command = [
        *(sys.executable, "-m", "consumer", "replay", "--all", "--state", str(state)),
        *("--bootstrap-servers", log.servers, "--mongo-uri", log.uri),
        *("--database", settings.mongo.database, "--dead-letters", log.letters, "--json"),
        *("--set", f"kafka.topics={','.join(log.topics)}", "--set", "engine.commit_interval=0.1"),
        *("--set", f"dead_letters.idempotent={str(not log.embedded).lower()}"),
    ]
    killed = await asyncio.create_subprocess_exec(*command, "--rate", "150")
    async with asyncio.timeout(60):
        while not progress_in(state) > 0:  # noqa: ASYNC110 -- a file tells nobody of a change
            await asyncio.sleep(0.01)
    killed.kill()
    assert await killed.wait() == -signal.SIGKILL
    assert progress_in(state) < len(log.records)
    goes_on = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await goes_on.communicate()
    assert goes_on.returncode == ExitCode.DONE
    report = json.loads(out)
    assert report["complete"]
    assert report["records"] < len(log.records)
    await log.replay(EVERYTHING, "a")
    assert documents(log.uri, f"{log.name}-b") == documents(log.uri, f"{log.name}-a")


def progress_in(state: Path) -> int:
    """How many offsets a state file says are done."""
    if not state.exists():
        return 0
    said = json.loads(state.read_text())
    done = sum(said["positions"]) - sum(part["first"] for part in said["ranges"])
    return int(done)


@pytest.mark.reliability("F90")
async def test_a_state_that_cannot_be_written_ends_the_command_before_anything_is_applied(
    log: Log, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="cannot be written"):
        await log.replay(ReplayRequest(everything=True, state=str(tmp_path / "missing" / "state")))
    assert documents(log.uri, f"{log.name}-a")["conversation_events"] == []


@pytest.mark.reliability("F90")
async def test_no_share_of_dead_letters_holds_up_a_replay(empty_log: Log) -> None:
    await empty_log.publish(*[(empty_log.topics[1], 0, b"k", b"not JSON")] * 20)
    letters = DeadLetterSettings(
        topic=empty_log.letters,
        idempotent=not empty_log.embedded,
        breaker_share=0.1,
        breaker_window=10,
        breaker_minimum=10,
    )
    async with asyncio.timeout(30):
        report = await empty_log.replay(EVERYTHING, dead_letters=letters)
    assert report.complete
    assert report.total.reasons == {Reason.UNDECODABLE: 20}


async def test_a_finished_state_has_nothing_left_to_do(log: Log, tmp_path: Path) -> None:
    request = ReplayRequest(everything=True, state=str(tmp_path / "state"))
    await log.replay(request)
    await log.publish((log.topics[1], 0, b"s", encoded(event("s", "later"))))
    again = await log.replay(request)
    assert again.complete
    assert again.total.records == 0


async def test_a_state_of_another_selection_is_refused(log: Log, tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    await log.replay(ReplayRequest(partitions=(0,), state=state))
    with pytest.raises(SettingsError, match="--partition differs"):
        await log.replay(ReplayRequest(partitions=(1,), state=state))


@pytest.mark.real_kafka
@pytest.mark.parametrize("again", [True, False])
@pytest.mark.reliability("F80")
async def test_a_topic_that_goes_while_it_is_read_ends_the_replay_with_a_finding(
    empty_log: Log,
    monkeypatch: pytest.MonkeyPatch,
    again: bool,
) -> None:
    monkeypatch.setattr(run_replay_module, "TOPICS_INTERVAL", 0.5)
    log, place = empty_log, (empty_log.topics[1], 0, b"s")
    await log.publish(*[(*place, encoded(event("s", f"e{n}"))) for n in range(300)])
    running = asyncio.ensure_future(
        run_replay(log.settings(), ReplayRequest(everything=True, rate=20), asyncio.Event())
    )
    await log.something_is_stored("a")
    await delete_topic(log.servers, place[0])
    if again:
        await create_topics(log.servers, place[0], partitions=PARTITIONS)
    async with asyncio.timeout(30):
        report = await running
    assert report is not None
    assert report.exit_code is ExitCode.FOUND
    assert {part.partition.topic for part in report.progress.unread} == {place[0]}
    assert report.total.records < 300


# --- records listed in a file -----------------------------------------------------------


def listed(path: Path, *lines: tuple[str, int, int, str]) -> str:
    names = ("topic", "partition", "offset", "problem")
    path.write_text("".join(json.dumps(dict(zip(names, one, strict=True))) + "\n" for one in lines))
    return str(path)


async def test_missing_documents_come_back_by_their_positions(log: Log, tmp_path: Path) -> None:
    await log.replay(EVERYTHING)
    complete = documents(log.uri, f"{log.name}-a")
    with MongoClient[dict[str, Any]](log.uri) as client:
        events = client[f"{log.name}-a"].conversation_events
        gone = list(events.find().limit(25))
        events.delete_many({"_id": {"$in": [one["_id"] for one in gone]}})
    origins = [one["from"] for one in gone]
    places = [(o["topic"], o["partition"], o["offset"], "missing") for o in origins]
    request = ReplayRequest(file=listed(tmp_path / "list", *reversed(places)))
    said = await log.replay(ReplayRequest(file=request.file, dry_run=True))
    done = await log.replay(request)
    assert ends(done) == ends(said)
    assert done.total.outcomes == {Outcome.APPLIED: 25}
    assert done.of_list.listed_not_found == 0
    assert documents(log.uri, f"{log.name}-a") == complete


async def altered_log(log: Log) -> tuple[list[tuple[str, int, int, str]], dict[str, Any]]:
    """Two events, a creation and an end, each altered; their positions and the true documents."""
    sessions, events = log.topics
    await log.publish(
        (sessions, 0, b"s", encoded(created("s", metadata={"n": 1}))),
        (sessions, 0, b"s", encoded(completed("s", eventCount=2))),
        (events, 0, b"s", encoded(event("s", "e1"))),
        (events, 0, b"s", encoded(event("s", "e2"))),
    )
    await log.replay(EVERYTHING)
    true = documents(log.uri, f"{log.name}-a")
    with MongoClient[dict[str, Any]](log.uri) as client:
        database = client[f"{log.name}-a"]
        database.conversation_events.update_many(
            {}, {"$set": {"payload.text": "forged", "stranger": 1}}
        )
        database.conversation_events.update_one({"eventId": "e2"}, {"$set": {"from.offset": 99}})
        database.conversation_sessions.update_one(
            {}, {"$set": {"language": "xx", "status": "failed", "reason": "forged"}}
        )
    places = [(t, 0, offset, "altered") for t in (sessions, events) for offset in (0, 1)]
    return places, true


async def test_altered_documents_are_left_alone_unless_they_are_to_be_repaired(
    empty_log: Log, tmp_path: Path
) -> None:
    places, _ = await altered_log(empty_log)
    before = documents(empty_log.uri, f"{empty_log.name}-a")
    report = await empty_log.replay(ReplayRequest(file=listed(tmp_path / "list", *places)))
    assert report.of_list.altered_left_out == 4
    assert report.total.records == 0
    assert documents(empty_log.uri, f"{empty_log.name}-a") == before


async def test_altered_documents_are_put_back_by_the_record_they_came_from(
    empty_log: Log, tmp_path: Path
) -> None:
    places, true = await altered_log(empty_log)
    file = listed(tmp_path / "list", *places)
    said = await empty_log.replay(ReplayRequest(file=file, repair=True, dry_run=True))
    done = await empty_log.replay(ReplayRequest(file=file, repair=True))
    assert ends(done) == ends(said)
    assert (done.of_list.restored, said.of_list.restored) == (3, 3)
    assert done.total.outcomes == {Outcome.APPLIED: 3, Outcome.CONFLICT: 1}
    left = documents(empty_log.uri, f"{empty_log.name}-a")
    assert left["conversation_sessions"] == true["conversation_sessions"]
    by_id = {entry["eventId"]: entry for entry in left["conversation_events"]}
    assert by_id["e1"] in true["conversation_events"]
    # It says that it came from another record, so nothing overwrites it.
    assert by_id["e2"]["payload"] == {"text": "forged"}


async def test_listed_records_that_the_log_does_not_hold_are_counted(
    log: Log, tmp_path: Path
) -> None:
    topic = log.topics[0]
    places = [(topic, 0, 0, "missing"), (topic, 0, 10**9, "missing"), (topic, 8, 1, "missing")]
    report = await log.replay(ReplayRequest(file=listed(tmp_path / "list", *places)))
    assert report.of_list.listed_not_found == 2
    assert report.total.records == 1
