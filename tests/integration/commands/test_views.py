"""What the commands that only look say: show, explain, status and check."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from pydantic import SecretStr
from pymongo import AsyncMongoClient

from consumer.commands.audit.audit import show_audit
from consumer.commands.check import check_everything
from consumer.commands.common.record_selection import RecordSelection
from consumer.commands.explain import explain_session
from consumer.commands.replay.replay_request import ReplayRequest
from consumer.commands.replay.run_replay import show_replay
from consumer.commands.show import show_session
from consumer.commands.status import show_status
from consumer.contract.record import TopicPartition as Partition
from consumer.errors import ExitCode, PreconditionError
from consumer.settings.model import DeadLetterSettings, EngineSettings, KafkaSettings, MongoSettings
from tests.builders import completed, created, encoded, event
from tests.faults.kafka.transactions import transactions
from tests.integration.replay.conftest import Log
from tests.integration.replay.logs import home_of

pytestmark = pytest.mark.real_kafka

Captured = pytest.CaptureFixture[str]


async def publish_conversation(log: Log, session_id: str, events: int) -> None:
    home, key = home_of(session_id), session_id.encode()
    said: list[dict[str, Any]] = [
        created(session_id),
        *[
            event(
                session_id, f"e{n:04}", timestamp="2026-03-04T10:00:00Z", payload={"text": f"{n}"}
            )
            for n in range(events)
        ],
        completed(session_id, eventCount=events),
    ]
    await log.publish(*[(log.topics[0], home, key, encoded(message)) for message in said])
    await log.publish((log.topics[1], home, key, b"not JSON"))
    await log.replay(ReplayRequest(everything=True))


# --- show -------------------------------------------------------------------------------


async def test_a_session_is_shown_with_all_its_events_across_pages_of_equal_times(
    empty_log: Log, capsys: Captured
) -> None:
    await publish_conversation(empty_log, "s", 1203)
    capsys.readouterr()
    assert await show_session(empty_log.settings(), "s", as_json=True) is ExitCode.DONE
    session, *events = map(json.loads, capsys.readouterr().out.splitlines())
    assert session["status"] == "completed"
    assert [one["eventId"] for one in events] == [f"e{n:04}" for n in range(1203)]


async def test_an_unknown_session_is_exit_code_1(empty_log: Log, capsys: Captured) -> None:
    assert await show_session(empty_log.settings(), "nobody", as_json=False) is ExitCode.FOUND
    assert "nobody" in capsys.readouterr().out


async def test_what_was_said_cannot_steer_the_terminal(empty_log: Log, capsys: Captured) -> None:
    nasty = event("s", "e", payload={"text": "\x1b[2Jgone\nnext"})
    await empty_log.publish((empty_log.topics[1], home_of("s"), b"s", encoded(nasty)))
    await empty_log.replay(ReplayRequest(everything=True))
    await show_session(empty_log.settings(), "s", as_json=False)
    assert "\\x1b[2Jgone\\nnext" in capsys.readouterr().out


@pytest.mark.parametrize(
    "update",
    [
        {"$set": {"timestamp": "no time", "type": ["a", "list"]}},
        {"$unset": {"timestamp": ""}},
    ],
)
@pytest.mark.parametrize("as_json", [True, False])
async def test_what_somebody_has_altered_by_hand_is_shown_and_explained(
    empty_log: Log, capsys: Captured, update: dict[str, Any], *, as_json: bool
) -> None:
    """Such a document is what an audit sends people to look at."""
    await publish_conversation(empty_log, "s", 3)
    async with AsyncMongoClient[dict[str, Any]](empty_log.uri) as client:
        events = client[f"{empty_log.name}-a"]["conversation_events"]
        await events.update_one({"eventId": "e0001"}, update)
    settings = empty_log.settings()
    capsys.readouterr()
    assert await show_session(settings, "s", as_json=as_json) is ExitCode.DONE
    assert len(capsys.readouterr().out.splitlines()[-3:]) == 3
    request = RecordSelection(sessions=("s",))
    assert await explain_session(settings, request, as_json=as_json) is ExitCode.DONE
    assert "altered" in capsys.readouterr().out


async def test_no_event_is_left_out_of_a_session_whose_times_were_altered(
    empty_log: Log, capsys: Captured
) -> None:
    await publish_conversation(empty_log, "s", 1203)
    async with AsyncMongoClient[dict[str, Any]](empty_log.uri) as client:
        events = client[f"{empty_log.name}-a"]["conversation_events"]
        altered = {"eventId": {"$lt": "e0700"}}
        await events.update_many(altered, {"$set": {"timestamp": "no time"}})
    capsys.readouterr()
    assert await show_session(empty_log.settings(), "s", as_json=True) is ExitCode.DONE
    _, *shown = map(json.loads, capsys.readouterr().out.splitlines())
    assert [one["eventId"] for one in shown] == [f"e{n:04}" for n in range(1203)]


async def test_a_database_that_is_away_is_one_line(empty_log: Log) -> None:
    settings = empty_log.settings(
        mongo=MongoSettings(
            uri=SecretStr("mongodb://127.0.0.1:9/?directConnection=true"), timeout=1
        )
    )
    with pytest.raises(PreconditionError, match="MongoDB does not answer"):
        await show_session(settings, "s", as_json=False)


@pytest.mark.parametrize("as_audit", [True, False])
async def test_the_server_that_is_away_is_the_one_that_is_named(
    empty_log: Log, *, as_audit: bool
) -> None:
    """Kafka is there; what is asked for at its group is in MongoDB, and has the same deadline."""
    settings = empty_log.settings(
        mongo=MongoSettings(uri=SecretStr("mongodb://127.0.0.1:9/?directConnection=true")),
        engine=EngineSettings(startup_timeout=2),
    )
    if as_audit:
        asked = show_audit(settings, RecordSelection(), emit=None, as_json=True)
    else:
        asked = show_replay(settings, ReplayRequest(everything=True))
    with pytest.raises(PreconditionError, match=r"^MongoDB did not answer .*127\.0\.0\.1:9"):
        await asked


# --- explain ----------------------------------------------------------------------------


async def test_everything_about_a_session_is_on_one_screen(
    empty_log: Log, capsys: Captured
) -> None:
    await publish_conversation(empty_log, "s", 2)
    request = ReplayRequest(sessions=("s",))
    capsys.readouterr()
    assert await explain_session(empty_log.settings(), request, as_json=True) is ExitCode.DONE
    found = json.loads(capsys.readouterr().out)
    home = home_of("s")
    assert found["partitions"] == [f"{topic}-{home}" for topic in sorted(empty_log.topics)]
    kinds = [(one["kind"], one["outcome"]) for one in found["records"] if one["offset"] < 4]
    assert ("created", "applied") in kinds
    assert ("event e0001", "applied") in kinds
    assert [one["reason"] for one in found["dead_letters"]] == ["undecodable"]
    assert found["session"]["status"] == "completed"
    assert found["stored_events"] == 2
    assert await explain_session(empty_log.settings(), request, as_json=False) is ExitCode.DONE
    assert "event e0001" in capsys.readouterr().out


async def test_a_session_nobody_knows_is_exit_code_1(empty_log: Log) -> None:
    request = ReplayRequest(sessions=("nobody",))
    assert await explain_session(empty_log.settings(), request, as_json=True) is ExitCode.FOUND


async def test_a_record_that_the_group_has_not_read_yet_is_unread_and_not_missing(
    empty_log: Log, capsys: Captured
) -> None:
    topic, home = empty_log.topics[0], home_of("s")
    await empty_log.publish((topic, home, b"s", encoded(created("s"))))
    await empty_log.replay(ReplayRequest(everything=True))
    later = [event("s", "e"), created("s", language="de"), created("s")]
    values = [*map(encoded, later), b"not JSON"]
    await empty_log.publish(*[(topic, home, b"s", value) for value in values])
    await commit(empty_log, TopicPartition(topic, home), 2)
    capsys.readouterr()
    request = ReplayRequest(sessions=("s",))
    await explain_session(empty_log.settings(), request, as_json=True)
    records = json.loads(capsys.readouterr().out)["records"]
    outcomes = ["applied", "missing", "unread", "duplicate", "unread"]
    assert [one["outcome"] for one in records] == outcomes
    await explain_session(empty_log.settings(), request, as_json=False)
    assert "the group has not read it yet" in capsys.readouterr().out


async def commit(log: Log, place: TopicPartition, offset: int) -> None:
    """Commit for the group, without a member in it afterwards."""
    member = AIOKafkaConsumer(
        bootstrap_servers=log.servers, group_id=log.name, enable_auto_commit=False
    )
    await member.start()
    try:
        member.assign([place])
        await member.commit({place: offset})
    finally:
        await member.stop()


# --- status -----------------------------------------------------------------------------


def printed(capsys: Captured) -> str:
    return " ".join(capsys.readouterr().out.split())


async def status_of(log: Log, capsys: Captured) -> tuple[ExitCode, dict[str, Any]]:
    code = await show_status(log.settings(), watch=False, as_json=True)
    return code, json.loads(capsys.readouterr().out)


async def test_a_group_that_never_was_has_all_the_lag_and_no_member(
    log: Log, capsys: Captured
) -> None:
    code, found = await status_of(log, capsys)
    assert (code, found["known"]) == (ExitCode.FOUND, False)
    assert (found["members"], found["lag"]) == (0, len(log.records))
    behind = [one for one in found["partitions"] if one["lag"]]
    assert all(0 <= one["behind"] < 600 for one in behind)
    # These topics keep their records for ever.
    assert all(one["retention_margin"] is None for one in behind)


async def test_members_and_their_partitions_are_shown(log: Log, capsys: Captured) -> None:
    member = AIOKafkaConsumer(
        *log.topics,
        bootstrap_servers=log.servers,
        group_id=log.name,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await member.start()
    try:
        await member.commit({TopicPartition(log.topics[0], 0): 1})
        _, found = await status_of(log, capsys)
    finally:
        await member.stop()
    assert (found["state"], found["members"]) == ("Stable", 1)
    assert all(one["member"] for one in found["partitions"])
    assert found["lag"] == len(log.records) - 1


@pytest.mark.reliability("F150")
async def test_what_an_open_transaction_holds_back_is_lag_and_is_told_of_by_every_command(
    empty_log: Log, capsys: Captured
) -> None:
    topic, home = empty_log.topics[0], home_of("s")
    await empty_log.publish((topic, home, b"s", encoded(created("s"))))
    await empty_log.replay(ReplayRequest(everything=True))
    async with transactions(empty_log.servers, empty_log.name) as transaction:
        await transaction.send(Partition(topic, home), [encoded(created("open"))])
        await empty_log.publish((topic, home, b"s", encoded(event("s"))))
        capsys.readouterr()
        _, found = await status_of(empty_log, capsys)
        (held,) = [one for one in found["partitions"] if one["behind_transaction"]]
        assert (held["end"], held["lag"], held["behind_transaction"], found["lag"]) == (1, 3, 2, 3)
        await show_status(empty_log.settings(), watch=False, as_json=False)
        assert "a transaction is open at offset 1, and keeps 2 offsets from" in " ".join(
            capsys.readouterr().out.split()
        )
        await show_audit(empty_log.settings(), RecordSelection(), emit=None, as_json=True)
        assert json.loads(capsys.readouterr().out)["behind_transactions"] == 2
        await show_audit(empty_log.settings(), RecordSelection(), emit=None, as_json=False)
        assert "2 offsets left out: behind a transaction that is still open" in " ".join(
            capsys.readouterr().out.split()
        )
        report = await empty_log.replay(ReplayRequest(everything=True))
        assert report.left_out.behind_transactions == 2
        await transaction.abort()


# --- check ------------------------------------------------------------------------------


async def checked(settings: Any, capsys: Captured) -> tuple[ExitCode, dict[str, dict[str, str]]]:
    code = await check_everything(settings, as_json=True)
    found = json.loads(capsys.readouterr().out)
    return code, {finding["name"]: finding for finding in found}


async def test_the_dead_letter_topic_takes_the_largest_record_also_where_no_topic_is_there_yet(
    empty_log: Log, capsys: Captured
) -> None:
    kafka, letters = empty_log.settings().kafka, f"{empty_log.name}.no-letters"
    settings = empty_log.settings(
        kafka=kafka.model_copy(update={"topics": (f"{empty_log.name}.nowhere",)}),
        dead_letters=DeadLetterSettings(topic=letters),
    )
    _, found = await checked(settings, capsys)
    fix = found[f"dead-letter topic {letters}"]["fix"]
    assert fix.endswith(f"--config max.message.bytes={2**20 + 12 + 4096}")


async def test_where_all_is_in_order_the_check_passes(log: Log, capsys: Captured) -> None:
    await log.replay(ReplayRequest(everything=True))
    capsys.readouterr()
    code, found = await checked(log.settings(), capsys)
    failed = [finding for finding in found.values() if finding["status"] == "failed"]
    assert (code, failed) == (ExitCode.DONE, [])


async def test_a_missing_topic_fails_with_the_command_that_makes_it(
    empty_log: Log, capsys: Captured
) -> None:
    kafka = empty_log.settings().kafka
    settings = empty_log.settings(
        kafka=KafkaSettings(
            bootstrap_servers=kafka.bootstrap_servers,
            topics=(*kafka.topics, f"{empty_log.name}.nowhere"),
            group_id=kafka.group_id,
        )
    )
    code, found = await checked(settings, capsys)
    finding = found[f"topic {empty_log.name}.nowhere"]
    assert code is ExitCode.FOUND
    assert finding["status"] == "failed"
    assert f"--create --topic {empty_log.name}.nowhere" in finding["fix"]
    # The client would look for it without a pause, and for a minute.
    assert f"reading {empty_log.name}.nowhere" not in found
    assert f"reading {kafka.topics[0]}" in found


async def test_an_index_that_a_run_would_make_forbids_nothing(
    empty_log: Log, capsys: Captured
) -> None:
    mongo = empty_log.settings().mongo
    index = f"index sessionId_1_eventId_1 of {mongo.events}"
    async with AsyncMongoClient[Any](empty_log.uri) as client:
        await client[mongo.database].create_collection(mongo.events)
    code, found = await checked(empty_log.settings(), capsys)
    assert (code, found[index]["status"]) == (ExitCode.DONE, "warning")
    mongo = mongo.model_copy(update={"create_indexes": False})
    code, found = await checked(empty_log.settings(mongo=mongo), capsys)
    assert (code, found[index]["status"]) == (ExitCode.FOUND, "failed")


async def test_servers_that_are_away_fail_with_the_setting_to_look_at(
    empty_log: Log, capsys: Captured
) -> None:
    settings = empty_log.settings(
        kafka=KafkaSettings(
            bootstrap_servers=("127.0.0.1:9",),
            rebalance_timeout=1,
            request_timeout=2,
            heartbeat_interval=1,
            session_timeout=6,
        ),
        mongo=MongoSettings(
            uri=SecretStr("mongodb://127.0.0.1:9/?directConnection=true"), timeout=1
        ),
    )
    code, found = await checked(settings, capsys)
    assert code is ExitCode.FOUND
    assert "kafka.bootstrap_servers" in found["Kafka"]["fix"]
    assert "mongo.uri" in found["MongoDB"]["fix"]
