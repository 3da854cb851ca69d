"""Dead letters from their failure to their end, over brokers and through the command line."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from consumer.contract.kinds import EVENT_RECORDED
from consumer.contract.messages import EventRecorded, Fields
from consumer.contract.record import Record
from consumer.contract.rejection import KeyPolicy, Reason, Rejected
from consumer.kafka.admin import Admin
from consumer.kafka.producer import Delivery, OutgoingRecord, Producer, Unconfirmed
from tests.integration.commands.dead_letter_topics import (
    PARTITIONS,
    STAMPED_MS,
    DeadLetterTopics,
    event,
)
from tests.own_kinds import upcasting
from tests.servers.topics import create_topics

# The embedded broker says of a topic's end that it is one record behind its last batch.
pytestmark = pytest.mark.real_kafka

FOREIGN = (("traceparent", b"00-a"), ("tenant", None), ("traceparent", b"00-b"), ("x", b"\xff"))


@pytest.fixture
def desk(kafka_bootstrap_servers: str, unique_name: str) -> DeadLetterTopics:
    made = DeadLetterTopics(kafka_bootstrap_servers, unique_name)
    asyncio.run(
        create_topics(kafka_bootstrap_servers, made.events, made.letters, partitions=PARTITIONS)
    )
    return made


# --- C14: the time of the first record -------------------------------------------------------


def test_a_redriven_record_keeps_its_first_time_and_its_second_redrive_sends_nothing(
    desk: DeadLetterTopics,
) -> None:
    desk.produce(desk.event(event(), b"someone-else", headers=FOREIGN))
    assert desk.consume(KeyPolicy.DEAD_LETTER) == ([], 1)
    assert desk.run("redrive").code == 0
    ((decoded,), rejected) = desk.consume(KeyPolicy.WARN)
    assert isinstance(decoded.message, EventRecorded)
    assert decoded.message.timestamp.isoformat() == "2026-03-04T10:00:00+00:00"
    assert rejected == 0
    first, second = desk.read(desk.events)
    assert (second.partition, second.key, second.value) == (first.partition, first.key, first.value)
    assert second.timestamp_ms == STAMPED_MS
    assert second.headers == (
        *FOREIGN,
        ("dlq-attempt", b"1"),
        ("redrive-timestamp-ms", str(STAMPED_MS).encode()),
    )
    again = desk.run("redrive", "--json")
    assert (again.code, again.result["redriven"]) == (0, 0)
    assert again.result["redriven_before"] == 1
    assert len(desk.read(desk.events)) == 2


@pytest.mark.reliability("F79")
def test_where_the_brokers_tell_no_retention_a_letter_goes_back_with_the_time_of_now(
    desk: DeadLetterTopics, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def not_granted(_: Admin, names: Sequence[str]) -> dict[str, dict[str, str]]:
        return {}

    monkeypatch.setattr(Admin, "_configs", not_granted)
    desk.reject(3)
    ran = desk.run("redrive", "--json")
    assert (ran.code, ran.result["redriven"]) == (0, 3)
    assert f"do not tell how long they keep records of {desk.events} (no grant for" in ran.err
    sent = desk.read(desk.events)
    assert all(abs(record.timestamp_ms - time.time() * 1000) < 3_600_000 for record in sent)
    kept = {dict(record.headers)["redrive-timestamp-ms"] for record in sent}
    assert kept == {str(STAMPED_MS + number).encode() for number in range(3)}


def test_a_record_older_than_its_topics_retention_goes_back_with_the_time_of_now(
    kafka_bootstrap_servers: str, unique_name: str
) -> None:
    desk = DeadLetterTopics(kafka_bootstrap_servers, unique_name)
    week = {"retention.ms": str(7 * 24 * 3_600_000)}
    asyncio.run(create_topics(desk.servers, desk.events, configs=week, partitions=1))
    asyncio.run(create_topics(desk.servers, desk.letters, partitions=1))
    desk.reject(1)
    ran = desk.run("redrive")
    assert "sent with the time of now: 1," in ran.err
    (record,) = desk.read(desk.events)
    assert record.timestamp_ms > STAMPED_MS
    assert record.headers[-1] == ("redrive-timestamp-ms", str(STAMPED_MS).encode())


@pytest.mark.parametrize("timestamp_ms", [-1, STAMPED_MS * 1000])
def test_an_absurd_time_goes_back_as_it_came(desk: DeadLetterTopics, timestamp_ms: int) -> None:
    record = Record(desk.events, 0, 0, timestamp_ms, b"k", event())
    desk.dead_letter((record, Rejected(Reason.INVALID, "timestamp: missing")))
    assert desk.run("redrive").code == 0
    assert desk.consume() == ([], 1)
    letter = desk.read(desk.letters)[-1]
    assert dict(letter.headers)["dlq-timestamp"] == str(timestamp_ms).encode()


@pytest.mark.reliability("F100")
def test_a_later_version_waits_as_a_letter_and_is_redriven_after_the_upgrade(
    desk: DeadLetterTopics,
) -> None:
    second = event("e-2", payload={"said": "hello"}, schemaVersion=2)
    desk.produce(desk.event(event()), desk.event(second))
    ((first,), rejected) = desk.consume()
    assert rejected == 1
    assert len(desk.read(desk.events)) == 2
    (letter,) = desk.read(desk.letters)
    assert b"upgrade the consumer, then redrive" in (dict(letter.headers)["dlq-detail"] or b"")
    desk.run("redrive")
    assert desk.consume() == ([], 1)

    def upcast(fields: Fields) -> Fields:
        return fields | {"payload": {"said": fields["payload"]["text"]}}

    with upcasting(EVENT_RECORDED, upcast):
        ran = desk.run("redrive", "--reason", "unsupported_version", "--json")
        assert (ran.code, ran.result["redriven"]) == (0, 1)
        ((decoded,), rejected) = desk.consume()
        assert rejected == 0
        assert isinstance(decoded.message, EventRecorded)
        assert isinstance(first.message, EventRecorded)
        assert decoded.message == replace(first.message, event_id="e-2", payload={"said": "hello"})


# --- C36: what can never succeed ------------------------------------------------------------


def test_letters_copied_back_by_hand_fail_again_with_a_growing_counter_each(
    desk: DeadLetterTopics,
) -> None:
    desk.produce(desk.event(b"not json"))
    assert desk.consume() == ([], 1)
    (letter,) = desk.read(desk.letters)
    by_hand = desk.event(b"not json", letter.key, headers=letter.headers)
    desk.produce(by_hand, by_hand, by_hand)
    assert desk.consume() == ([], 3)
    attempts = [dict(one.headers)["dlq-attempt"] for one in desk.read(desk.letters)]
    assert attempts == [b"1", b"2", b"2", b"2"]
    assert desk.consume() == ([], 0)
    (group,) = desk.run("list", "--json").result["groups"]
    assert (group["letters"], group["attempts"], group["copies"]) == (4, 2, 0)


def test_what_never_succeeds_is_parked_after_its_attempts_and_ends_there(
    desk: DeadLetterTopics,
) -> None:
    desk.environment["CONSUMER_DEAD_LETTERS__MAX_ATTEMPTS"] = "2"
    desk.produce(desk.event(b"not json", headers=FOREIGN))
    assert desk.consume() == ([], 1)
    redriven = []
    for _ in range(5):
        redriven.append(desk.run("redrive", "--json").result["redriven"])
        desk.consume()
    assert redriven == [1, 1, 0, 0, 0]
    assert len(desk.read(desk.events)) == 3
    last, (parked,) = desk.read(desk.letters)[-1], desk.read(desk.parking)
    assert (parked.key, parked.value, parked.headers) == (last.key, last.value, last.headers)
    assert dict(parked.headers)["dlq-attempt"] == b"3"
    (group,) = desk.run("list", "--parked", "--json").result["groups"]
    assert group["letters"] == 1
    assert desk.run("redrive", "--parked", "--json").result["redriven"] == 1
    assert len(desk.read(desk.events)) == 4


@pytest.mark.reliability("F85")
def test_a_large_letter_is_parked_in_the_topic_that_is_made_for_it(
    kafka_bootstrap_servers: str, unique_name: str
) -> None:
    desk = DeadLetterTopics(kafka_bootstrap_servers, unique_name)
    desk.environment["CONSUMER_DEAD_LETTERS__MAX_REQUEST_BYTES"] = "2000000"
    large = {"max.message.bytes": "2097152"}
    asyncio.run(create_topics(desk.servers, desk.events, partitions=1))
    asyncio.run(create_topics(desk.servers, desk.letters, configs=large, partitions=1))
    noise = random.Random(1).randbytes(1_400_000)
    record = Record(desk.events, 0, 7, STAMPED_MS, b"k", noise, (("dlq-attempt", b"8"),))
    desk.dead_letter((record, Rejected(Reason.UNDECODABLE, "")), max_bytes=2_000_000)
    ran = desk.run("redrive", "--json")
    assert (ran.code, ran.result) == (0, {"redriven": 0, "parked": 1})
    ((parked,), (letter,)) = desk.read(desk.parking), desk.read(desk.letters)
    assert parked.value == letter.value == noise


# --- sending again, and not again -----------------------------------------------------------


def test_a_canary_then_the_rest_then_nothing(desk: DeadLetterTopics) -> None:
    desk.reject(20)
    canary = desk.run("redrive", "--limit", "1", "--json")
    assert (canary.result["redriven"], len(desk.read(desk.events))) == (1, 1)
    assert "stopped at --limit 1" in canary.err
    assert desk.run("redrive", "--json").result["redriven"] == 19
    assert desk.run("redrive", "--json").result["redriven"] == 0
    values = [record.value for record in desk.read(desk.events)]
    assert len(values) == 20
    assert set(values) == {event(f"e-{number}") for number in range(20)}


def test_letters_are_sent_again_where_that_is_asked_for(desk: DeadLetterTopics) -> None:
    desk.reject(3)
    for _ in range(2):
        assert desk.run("redrive", "--again", "--json").result["redriven"] == 3
    assert len(desk.read(desk.events)) == 6


def test_a_crash_before_the_state_is_written_repeats_what_was_in_flight_and_no_more(
    desk: DeadLetterTopics, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.reject(450)
    send = Producer.send
    windows = 0

    async def send_or_crash(
        producer: Producer, records: Sequence[OutgoingRecord]
    ) -> Sequence[Delivery]:
        nonlocal windows
        if records[0].topic == desk.state:
            windows += 1
            if windows == 2:
                return [Unconfirmed(OSError("crashed"))] * len(records)
        return await send(producer, records)

    with monkeypatch.context() as patched:
        patched.setattr(Producer, "send", send_or_crash)
        crashed = desk.run("redrive")
    assert crashed.code == 3
    assert "crashed" in crashed.err
    assert crashed.out == "redriven: 400\n"
    assert "sent and not remembered: 200" in crashed.err
    assert len(desk.read(desk.events)) == 400
    assert desk.run("redrive", "--json").result["redriven"] == 250
    values = [record.value for record in desk.read(desk.events)]
    assert (len(values), len(set(values))) == (650, 450)


def test_copies_of_a_letter_are_listed_as_such_and_sent_once(desk: DeadLetterTopics) -> None:
    for _ in range(3):
        desk.reject(2)
    (group,) = desk.run("list", "--json").result["groups"]
    assert (group["letters"], group["copies"]) == (6, 4)
    assert desk.run("redrive", "--json").result == {"redriven": 2, "copies": 4}


def test_a_record_with_neither_key_nor_value_goes_back_to_its_partition(
    desk: DeadLetterTopics,
) -> None:
    headers = (("ce_specversion", b"1.0"), ("ce_id", b"1"))
    empty = Record(desk.events, 2, 0, STAMPED_MS, None, None, headers)
    desk.dead_letter((empty, Rejected(Reason.INVALID, "data: null")))
    assert desk.run("redrive", "--json").result == {"redriven": 1}
    (record,) = desk.read(desk.events)
    assert (record.partition, record.key, record.value) == (2, None, None)
    assert (record.timestamp_ms, record.headers[:2]) == (STAMPED_MS, headers)


def test_letters_of_a_null_key_go_back_to_their_partition(desk: DeadLetterTopics) -> None:
    desk.produce(*(desk.event(b"not json", None, partition=number) for number in range(3)))
    assert desk.consume() == ([], 3)
    assert desk.run("redrive").code == 0
    partitions = [record.partition for record in desk.read(desk.events)]
    assert partitions == [0, 0, 1, 1, 2, 2]


# --- what cannot go back --------------------------------------------------------------------


def test_what_cannot_go_back_is_told_of_and_can_be_discarded(desk: DeadLetterTopics) -> None:
    large = Record(desk.events, 0, 9, STAMPED_MS, b"k", b"x" * 9000)
    desk.dead_letter((large, Rejected(Reason.UNDECODABLE, "")), max_bytes=4000)
    desk.produce(Record(desk.letters, 1, 0, STAMPED_MS, b"k", b"junk"))
    desk.reject(1)
    ran = desk.run("redrive", "--json")
    assert ran.code == 1
    assert ran.result == {"redriven": 1, "refused_unreadable": 1, "refused_truncated": 1}
    assert f"(from {desk.events}:0:9): truncated" in ran.err
    assert desk.run("discard", "--reason=unreadable", "--because=junk").code == 0
    assert desk.run("discard", f"--origin={desk.events}:0:9", "--because=lost").code == 0
    assert desk.run("redrive").code == 0
    assert desk.run("list", "--json").result["letters"] == 0
    states = [group["state"] for group in desk.run("list", "--all", "--json").result["groups"]]
    assert sorted(states) == ["discarded", "discarded", "redriven"]


def test_a_transform_repairs_what_it_can_and_the_rest_stays(
    desk: DeadLetterTopics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mend_letters.py").write_text(
        "import json\n"
        "def quote(failed):\n"
        "    if failed.value == b'leave me': return None\n"
        "    return json.loads(failed.value.replace(b\"'\", b'\"'))\n"
    )
    monkeypatch.chdir(tmp_path)
    single_quoted = event().replace(b'"', b"'")
    desk.produce(*map(desk.event, (single_quoted, b"leave me", b"beyond repair", b"'{}'")))
    assert desk.consume() == ([], 4)
    ran = desk.run("redrive", "--transform=mend_letters:quote", "--json")
    assert ran.code == 1
    assert ran.result == {"redriven": 1, "skipped_by_transform": 1, "refused_transform": 2}
    assert "JSONDecodeError at decoder.py" in ran.err
    assert "beyond" not in ran.err
    ((decoded,), rejected) = desk.consume()
    assert (decoded.key_mismatch, rejected) == (False, 0)
    assert desk.run("list", "--json").result["letters"] == 3


# --- looking --------------------------------------------------------------------------------


def test_a_dry_run_changes_nothing_and_shows_no_payload(desk: DeadLetterTopics) -> None:
    desk.reject(3)
    ran = desk.run("redrive", "--dry-run")
    assert (ran.code, ran.out.count("would be redriven\t")) == (0, 3)
    assert "hello" not in ran.out
    assert "sess-c14" not in ran.out
    assert desk.read(desk.events) == []
    assert desk.run("redrive", "--json").result["redriven"] == 3


def test_letters_are_listed_by_group_or_each_and_keys_only_where_asked_for(
    desk: DeadLetterTopics,
) -> None:
    desk.reject(2)
    desk.reject(1, reason=Reason.CONFLICT)
    table = desk.run("list").out.splitlines()
    assert table[0].split("\t")[:2] == ["reason", "topic"]
    assert [line.split("\t")[0] for line in table[1:]] == ["conflict", "invalid"]
    each = desk.run("list", "--each").out
    assert len(each.splitlines()) == 3
    assert "sess-c14" not in each
    assert desk.run("list", "--keys").out.count("sess-c14") == 3


def test_filters_narrow_what_is_listed(desk: DeadLetterTopics) -> None:
    desk.reject(10)

    def counted(*filters: str) -> int:
        letters = desk.run("list", "--json", *filters).result["letters"]
        assert isinstance(letters, int)
        return letters

    assert counted(f"--origin={desk.events}:0:2-5") == 4
    assert counted(f"--origin={desk.events}:1") == 0
    assert counted("--key=sess-c14") == 10
    assert counted("--key=other") == 0
    assert counted("--since=1h") == 10
    assert counted("--until=1h") == 0
    assert counted("--since=2999-01-01") == 0
    assert counted("--reason=conflict") == 0
    (partition,) = {record.partition for record in desk.read(desk.letters)}
    assert counted(f"--letter={partition}:3-4", f"--letter={partition}:8") == 3
    assert counted(f"--letter={(partition + 1) % PARTITIONS}") == 0


def test_a_letter_is_shown_with_its_payload_escaped(desk: DeadLetterTopics) -> None:
    record = Record(desk.events, 0, 5, STAMPED_MS, b"\xff", b"\x1b[2J[red]{}", FOREIGN)
    desk.dead_letter((record, Rejected(Reason.UNDECODABLE, "not JSON")))
    text = desk.run("show").out
    assert r"\x1b[2J[red]{}" in text
    assert "\x1b" not in text
    assert "header tenant: null" in text
    (shown,) = desk.run("show", "--json").results
    assert shown["key"] == {"base64": "/w=="}
    assert shown["headers"][:4] == [
        ["traceparent", "00-a"],
        ["tenant", None],
        ["traceparent", "00-b"],
        ["x", {"base64": "/w=="}],
    ]
    assert desk.run("show", "--key=other").code == 1


# --- what is missing ------------------------------------------------------------------------


def test_a_missing_dead_letter_topic_is_said_with_the_command_that_creates_it(
    kafka_bootstrap_servers: str, unique_name: str
) -> None:
    ran = DeadLetterTopics(kafka_bootstrap_servers, unique_name).run("list")
    assert ran.code == 3
    assert f"has no topic {unique_name}.letters (dead_letters.topic); fix: consumer init" in ran.err


def test_a_topic_of_origin_that_is_gone_is_not_made_again(desk: DeadLetterTopics) -> None:
    record = Record(f"{desk.name}.gone", 0, 5, STAMPED_MS, b"k", event())
    desk.dead_letter((record, Rejected(Reason.INVALID, "")))
    desk.environment["CONSUMER_KAFKA__TOPICS"] = f"{desk.events},{desk.name}.gone"
    ran = desk.run("redrive", "--json")
    assert (ran.code, ran.result["refused_no_topic"]) == (1, 1)
    with pytest.raises(Exception, match="no such topic"):
        desk.read(f"{desk.name}.gone")


def test_a_state_topic_that_would_forget_is_refused(desk: DeadLetterTopics) -> None:
    asyncio.run(create_topics(desk.servers, desk.state, configs={"cleanup.policy": "delete"}))
    ran = desk.run("redrive")
    assert ran.code == 3
    assert "--add-config cleanup.policy=compact" in ran.err


def test_the_state_topic_is_created_compacted_and_that_is_said(desk: DeadLetterTopics) -> None:
    desk.reject(1)
    ran = desk.run("redrive")
    assert f"created the topic {desk.state} (3 partitions, cleanup.policy=compact)" in ran.err
    (entry,) = desk.read(desk.state)
    assert json.loads(entry.key or b"")[:5] == [desk.events, 0, 0, STAMPED_MS, 1]
    assert json.loads(entry.value or b"")["state"] == "redriven"
