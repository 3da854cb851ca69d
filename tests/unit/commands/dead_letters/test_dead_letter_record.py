"""Reading what lies in the dead-letter topic."""

from __future__ import annotations

import json
from typing import Any

import pytest

from consumer.commands.dead_letters.dead_letter_record import (
    AnyDeadLetter,
    DeadLetterRecord,
    UnreadableDeadLetter,
    read_dead_letter,
)
from consumer.contract.record import Headers, Position
from consumer.contract.rejection import Reason
from tests.unit.commands.dead_letters.builders import (
    EVENTS,
    FAILED_AT,
    LETTERS,
    NOW,
    NOW_MS,
    STAMPED_MS,
    DeadLetterLog,
    a_letter,
)


def reread(letter: DeadLetterRecord, **changes: bytes | None) -> AnyDeadLetter:
    """Read the letter again with some of its headers replaced; None: left out."""
    names = {name.replace("_", "-"): value for name, value in changes.items()}
    headers: Headers = tuple(
        (name, names.get(name, value))
        for name, value in letter.record.headers
        if names.get(name, value) is not None
    )
    return read_dead_letter(DeadLetterLog().append(letter.record.key, letter.record.value, headers))


def test_a_letter_says_what_failed_where_when_and_how_often() -> None:
    letter = a_letter(
        origin=Position(EVENTS, 3, 17), reason=Reason.CONFLICT, detail="payload", attempt=2
    )
    assert letter.failed.origin == Position(EVENTS, 3, 17)
    assert (letter.failed.reason, letter.failed.detail, letter.attempt) == (
        "conflict",
        "payload",
        2,
    )
    assert (letter.timestamp_ms, letter.failed_at) == (STAMPED_MS, FAILED_AT)
    assert letter.record.position == Position(LETTERS, 0, 0)
    assert not letter.truncated


@pytest.mark.parametrize("header", ["dlq_topic", "dlq_partition", "dlq_offset", "dlq_timestamp"])
@pytest.mark.parametrize("value", [None, b""])
def test_a_record_that_does_not_say_where_and_when_it_comes_from_is_unreadable(
    header: str, value: bytes | None
) -> None:
    assert isinstance(reread(a_letter(), **{header: value}), UnreadableDeadLetter)


@pytest.mark.parametrize("header", ["dlq_partition", "dlq_offset", "dlq_timestamp"])
def test_where_a_number_must_stand_text_makes_a_letter_unreadable(header: str) -> None:
    assert isinstance(reread(a_letter(), **{header: b"\xff seventeen"}), UnreadableDeadLetter)


def test_a_time_of_failure_that_cannot_be_read_is_that_of_the_letter() -> None:
    letter = reread(a_letter(), dlq_failed_at=b"yesterday")
    assert isinstance(letter, DeadLetterRecord)
    assert letter.failed_at == NOW


def test_a_reason_of_a_later_version_is_unknown() -> None:
    letter = reread(a_letter(), dlq_reason=b"haunted")
    assert isinstance(letter, DeadLetterRecord)
    assert letter.failed.reason == "unknown"


def test_a_letter_without_a_readable_counter_has_failed_once() -> None:
    letter = reread(a_letter(), dlq_attempt=b"many")
    assert isinstance(letter, DeadLetterRecord)
    assert letter.attempt == 1


def test_a_letter_that_was_cut_is_truncated_also_where_that_header_is_damaged() -> None:
    cut = a_letter(value=b"x" * 5000, max_bytes=2000)
    assert cut.truncated
    damaged = reread(cut, dlq_sha256=b"damaged", dlq_size=None)
    assert isinstance(damaged, DeadLetterRecord)
    assert damaged.truncated


def test_copies_of_one_failure_share_a_key_and_other_failures_have_others() -> None:
    first = a_letter(origin=Position(EVENTS, 0, 1)).failure_key
    assert json.loads(first)[:-1] == [EVENTS, 0, 1, STAMPED_MS, 1]
    assert a_letter(origin=Position(EVENTS, 0, 1), attempt=1).failure_key == first
    others = {
        a_letter(origin=Position(EVENTS, 0, 2)).failure_key,
        a_letter(origin=Position(EVENTS, 1, 1)).failure_key,
        a_letter(origin=Position("conversation.sessions", 0, 1)).failure_key,
        # The topic was made anew: the same offset, another record.
        a_letter(origin=Position(EVENTS, 0, 1), timestamp_ms=STAMPED_MS + 1).failure_key,
    }
    assert first not in others
    assert len(others) == 4


@pytest.mark.parametrize(
    "other",
    [
        {"key": b"s-2"},
        {"key": None},
        {"value": b"{}"},
        {"value": None},
        {"headers": (("ce_id", b"2"),)},
        {"headers": (("ce_id", None),)},
        {"attempt": 2},
    ],
)
@pytest.mark.reliability("F85")
def test_letters_without_a_timestamp_are_told_apart_by_what_they_hold(
    other: dict[str, Any],
) -> None:
    log = DeadLetterLog()
    record: dict[str, Any] = {"timestamp_ms": -1, "headers": (("ce_id", b"1"),)}
    first = log.add(**record)
    copy = log.add(**record, failed_at=NOW, detail="said otherwise by another version")
    assert copy.failure_key == first.failure_key
    assert log.add(**record | other).failure_key != first.failure_key


@pytest.mark.reliability("F85")
def test_unreadable_letters_at_one_place_of_a_topic_made_anew_are_two() -> None:
    old, new = (
        DeadLetterLog().append(b"k", value, ()) for value in (b"rubbish", b"new and unread")
    )
    assert read_dead_letter(old).failure_key != read_dead_letter(new).failure_key
    assert read_dead_letter(old).failure_key == read_dead_letter(old).failure_key
    stamped = old._replace(timestamp_ms=NOW_MS + 1)
    assert read_dead_letter(stamped).failure_key != read_dead_letter(old).failure_key


@pytest.mark.parametrize("header", ["dlq-truncated", "dlq-size", "dlq-sha256"])
@pytest.mark.parametrize("value", [b"5000", b"", None])
@pytest.mark.reliability("F90")
def test_any_one_trace_of_a_cut_makes_a_letter_truncated(header: str, value: bytes | None) -> None:
    whole = a_letter()
    headers = (*whole.record.headers, (header, value))
    letter = read_dead_letter(DeadLetterLog().append(whole.record.key, whole.record.value, headers))
    assert isinstance(letter, DeadLetterRecord)
    assert letter.truncated
