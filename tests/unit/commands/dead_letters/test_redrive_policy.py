"""What a redriven record is made of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from consumer.commands.dead_letters.dead_letter_record import DeadLetterRecord
from consumer.commands.dead_letters.redrive_policy import (
    keeps_timestamp,
    parked_record,
    redriven_record,
)
from consumer.contract.record import Position, Record
from consumer.kafka.admin import TopicDescription
from consumer.kafka.producer import OutgoingRecord
from tests.unit.commands.dead_letters.builders import (
    EVENTS,
    NOW_MS,
    PARKING,
    STAMPED_MS,
    DeadLetterLog,
    a_letter,
    topic,
)

DAY_MS = 24 * 3_600_000
NULLS_AND_REPEATS = (
    ("traceparent", b"00-a"),
    ("tenant", None),
    ("traceparent", b"00-b"),
    ("empty", b""),
    ("bytes", b"\xff\x00"),
    ("dlq-of-another-team", b"stays"),
)


def back(letter: DeadLetterRecord) -> OutgoingRecord:
    return redriven_record(letter, letter.failed, topic(), NOW_MS)


def sent(**changes: Any) -> OutgoingRecord:
    """What goes back for the letter of such a record."""
    return back(a_letter(**changes))


def test_key_and_value_go_back_byte_for_byte() -> None:
    record = sent(key=b"\xff\x00key", value=b"not json \xfe")
    assert (record.topic, record.key, record.value) == (EVENTS, b"\xff\x00key", b"not json \xfe")


def test_the_original_headers_keep_order_nulls_and_repetitions_and_two_of_ours_follow() -> None:
    record = sent(headers=NULLS_AND_REPEATS, attempt=2)
    assert record.headers == (
        *NULLS_AND_REPEATS,
        ("dlq-attempt", b"2"),
        ("redrive-timestamp-ms", str(STAMPED_MS).encode()),
    )


def test_each_header_of_ours_stands_once_whatever_the_record_brought_along() -> None:
    headers = (
        ("redrive-timestamp-ms", str(STAMPED_MS).encode()),
        ("dlq-attempt", b"7"),
        ("redrive-timestamp-ms", str(STAMPED_MS).encode()),
        ("dlq-reason", b"forged"),
        ("x", b"1"),
    )
    names = [name for name, _ in sent(headers=headers).headers]
    assert names == ["x", "dlq-attempt", "redrive-timestamp-ms"]


def test_a_record_that_fails_again_counts_on_and_keeps_its_first_time() -> None:
    first = sent()
    came_back = Record(EVENTS, 0, 99, NOW_MS, first.key, first.value, first.headers)
    second = back(DeadLetterLog().fail(came_back))
    assert second.timestamp_ms == STAMPED_MS
    assert second.headers == (
        ("dlq-attempt", b"2"),
        ("redrive-timestamp-ms", str(STAMPED_MS).encode()),
    )


def test_a_key_decides_the_partition_as_the_first_producers_default_did() -> None:
    assert sent(key=b"s-1", origin=Position(EVENTS, 4, 7)).partition is None


def test_a_record_without_a_key_goes_back_to_its_own_partition() -> None:
    assert sent(key=None, origin=Position(EVENTS, 4, 7)).partition == 4


def test_a_record_without_a_key_fits_into_a_topic_that_was_made_anew_with_fewer_partitions() -> (
    None
):
    letter = a_letter(key=None, origin=Position(EVENTS, 7, 7))
    assert redriven_record(letter, letter.failed, topic(), NOW_MS).partition == 1


@pytest.mark.parametrize("timestamp_ms", [-1, STAMPED_MS, NOW_MS + 60_000])
def test_the_record_timestamp_is_the_first_one_where_the_topic_keeps_it(timestamp_ms: int) -> None:
    assert sent(timestamp_ms=timestamp_ms).timestamp_ms == timestamp_ms


@pytest.mark.parametrize(
    ("timestamp_ms", "limits"),
    [
        pytest.param(NOW_MS - 4 * DAY_MS, {"retention_ms": 7 * DAY_MS}, id="soon deleted"),
        pytest.param(NOW_MS - 400 * DAY_MS, {"retention_ms": 7 * DAY_MS}, id="deleted at once"),
        pytest.param(
            NOW_MS - 2, {"message_timestamp_before_max_ms": 1}, id="too old for the broker"
        ),
        pytest.param(NOW_MS + 2 * 3_600_000, {}, id="too far ahead"),
        pytest.param(1772618400000000, {}, id="microseconds"),
        pytest.param(-7, {}, id="no timestamp at all"),
    ],
)
def test_a_timestamp_that_would_not_survive_is_left_to_its_header(
    timestamp_ms: int, limits: dict[str, int]
) -> None:
    letter = a_letter(timestamp_ms=timestamp_ms)
    record = redriven_record(letter, letter.failed, topic(**limits), NOW_MS)
    assert record.timestamp_ms is None
    assert record.headers[-1] == ("redrive-timestamp-ms", str(timestamp_ms).encode())


@pytest.mark.parametrize("timestamp_ms", [0, STAMPED_MS, NOW_MS - 1, NOW_MS, NOW_MS + 60_000])
@pytest.mark.reliability("F79")
def test_where_the_brokers_do_not_tell_their_retention_the_clocks_time_is_sent(
    timestamp_ms: int,
) -> None:
    told_nothing = TopicDescription(EVENTS, 6, 1, {"cleanup.policy": "delete"})
    letter = a_letter(timestamp_ms=timestamp_ms)
    record = redriven_record(letter, letter.failed, told_nothing, NOW_MS)
    assert record.timestamp_ms is None
    assert record.headers[-1] == ("redrive-timestamp-ms", str(timestamp_ms).encode())


def test_kafkas_defaults_stand_for_limits_that_a_broker_does_not_tell_and_would_enforce() -> None:
    told_retention = topic(retention_ms=7 * DAY_MS)
    assert keeps_timestamp(told_retention, NOW_MS - 3 * DAY_MS, NOW_MS)
    assert not keeps_timestamp(told_retention, NOW_MS - 4 * DAY_MS, NOW_MS)
    assert not keeps_timestamp(told_retention, NOW_MS + 2 * 3_600_000, NOW_MS)


def test_a_topic_that_keeps_records_for_ever_keeps_any_past_time() -> None:
    for_ever = topic(retention_ms=-1)
    assert keeps_timestamp(for_ever, 0, NOW_MS)


def test_a_parked_letter_stays_as_it_is() -> None:
    letter = a_letter(headers=NULLS_AND_REPEATS, attempt=4)
    record = parked_record(letter, PARKING)
    assert record == OutgoingRecord(
        PARKING, None, None, letter.record.key, letter.record.value, letter.record.headers
    )


def test_headers_that_a_transform_puts_in_cannot_forge_ours() -> None:
    letter = a_letter()
    forged = (("dlq-attempt", b"0"), ("redrive-timestamp-ms", b"0"), ("a", b"1"))
    assert letter.redriven_headers(forged) == (
        ("a", b"1"),
        ("dlq-attempt", b"1"),
        ("redrive-timestamp-ms", str(STAMPED_MS).encode()),
    )


@pytest.mark.parametrize("old_key", [b"old", None])
@pytest.mark.reliability("F90")
def test_the_key_that_a_transform_gives_decides_the_partition(old_key: bytes | None) -> None:
    letter = a_letter(key=old_key, origin=Position(EVENTS, 4, 7))
    rekeyed = replace(letter.failed, key=b"new")
    record = redriven_record(letter, rekeyed, topic(), NOW_MS)
    assert (record.key, record.partition) == (b"new", None)
    unkeyed = redriven_record(letter, replace(letter.failed, key=None), topic(), NOW_MS)
    assert (unkeyed.key, unkeyed.partition) == (None, 4)


@pytest.mark.parametrize("value", [None, b""])
def test_null_and_empty_values_stay_what_they_are(value: bytes | None) -> None:
    assert sent(value=value).value == value
