"""What a dead letter brings along."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given

from consumer.contract import dead_letter as names
from consumer.contract.dead_letter import MAX_DETAIL_BYTES, DeadLetter, origin_of
from consumer.contract.record import Headers, Position, Record
from consumer.contract.rejection import Reason, Rejected
from consumer.contract.times import REDRIVE_TIMESTAMP
from tests.unit.contract.letters import foreign, letter_of, letters, own, record


def test_a_letter_says_why_where_and_when() -> None:
    assert own(letter_of(record())) == {
        "dlq-reason": b"invalid",
        "dlq-detail": b"sessionId: missing",
        "dlq-topic": b"conversation.events",
        "dlq-partition": b"3",
        "dlq-offset": b"42",
        "dlq-timestamp": b"1772618400000",
        "dlq-group": b"conversation-consumer",
        "dlq-failed-at": b"2026-03-04T10:00:00.123Z",
        "dlq-attempt": b"1",
        "dlq-consumer-version": b"1.2.3",
    }
    assert letter_of(record()).origin == Position("conversation.events", 3, 42)


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_its_word(reason: Reason) -> None:
    assert own(letter_of(record(), Rejected(reason, "")))["dlq-reason"] == reason.value.encode()


@pytest.mark.parametrize("key", [None, b"", b"key", b"\xff\x00"])
@pytest.mark.parametrize("value", [None, b"", b"value", b"\x00\x00\x00\x00\x0c{}"])
def test_key_and_value_stay_as_they_came(key: bytes | None, value: bytes | None) -> None:
    letter = letter_of(record(value, key=key))
    assert (letter.key, letter.value) == (key, value)


def test_other_headers_stay_as_they_came() -> None:
    headers: Headers = (
        ("x-trace-blob", b"\xc3(\xff"),
        ("x-empty", b""),
        ("x-null", None),
        ("traceparent", b"1"),
        ("dlqx", b"2"),
        ("DLQ-Reason", b"3"),
        ("traceparent", b"1"),
        ("", b"4"),
        (REDRIVE_TIMESTAMP, b"5"),
    )
    letter = letter_of(record(headers=headers))
    assert letter.headers[: len(headers)] == headers


def test_whatever_the_record_brought_along_ours_stand_once() -> None:
    brought: Headers = tuple((name, value) for name in names.NAMES for value in (b"x", None, b"y"))
    letter = letter_of(record(headers=(("a", b"1"), *brought, ("b", b"2"))))
    assert own(letter) == own(letter_of(record()))
    assert foreign(letter) == (("a", b"1"), ("b", b"2"))


@pytest.mark.parametrize("number", [-1, 0, 1772618400000000, -(2**63)])
def test_the_timestamp_is_the_number_as_it_came(number: int) -> None:
    assert own(letter_of(record(timestamp_ms=number)))["dlq-timestamp"] == str(number).encode()


def test_the_timestamp_of_a_record_that_was_sent_back_is_its_first() -> None:
    headers: Headers = ((REDRIVE_TIMESTAMP, b"-1"),)
    assert own(letter_of(record(headers=headers)))["dlq-timestamp"] == b"-1"


def test_a_first_timestamp_that_cannot_be_read_is_not_told() -> None:
    headers: Headers = ((REDRIVE_TIMESTAMP, b"soon"),)
    assert own(letter_of(record(headers=headers)))["dlq-timestamp"] == b"1772618400000"


@pytest.mark.parametrize(
    ("brought", "attempt"),
    [
        ([b"1"], b"2"),
        ([b"41"], b"42"),
        ([b"1", b"7"], b"8"),
        ([None], b"1"),
        ([b""], b"1"),
        ([b"-3"], b"1"),
        ([b"1.0"], b"1"),
        ([b"\xff"], b"1"),
        (["\u0663".encode()], b"1"),
        ([b"9" * 9], b"9" * 9),
        ([b"9" * 10], b"1"),
        ([b"9" * 5000], b"1"),
    ],
)
def test_the_attempts_are_counted(brought: list[bytes | None], attempt: bytes) -> None:
    headers = tuple((names.ATTEMPT, value) for value in brought)
    assert own(letter_of(record(headers=headers)))["dlq-attempt"] == attempt


def test_a_letter_that_comes_back_ever_again_counts_on_and_tells_its_last_failure() -> None:
    letter = letter_of(record())
    for attempt in range(2, 5):
        again = Record("elsewhere", 0, attempt, -1, letter.key, letter.value, letter.headers)
        letter = letter_of(again, Rejected(Reason.CONFLICT, "payload"))
        assert own(letter)["dlq-attempt"] == str(attempt).encode()
        assert own(letter)["dlq-topic"] == b"elsewhere"
        assert own(letter)["dlq-reason"] == b"conflict"
    assert len(own(letter)) == 10


@pytest.mark.parametrize(
    ("detail", "told"),
    [
        ("a\r\nb\x1b[0m\x00\x7f\x85\u2028c", b"a  b [0m    c"),
        ("\ud800", b"?"),
        ("x" * 5000, b"x" * MAX_DETAIL_BYTES),
        ("\N{GRINNING FACE}" * 200, "\N{GRINNING FACE}".encode() * 128),
        ("x" + "\N{GRINNING FACE}" * 200, b"x" + "\N{GRINNING FACE}".encode() * 127),
    ],
)
def test_a_detail_is_one_short_line(detail: str, told: bytes) -> None:
    assert own(letter_of(record(), Rejected(Reason.INVALID, detail)))["dlq-detail"] == told


def test_the_failure_is_told_in_utc() -> None:
    info = origin_of(letter_of(record()).headers)
    assert info is not None
    assert info.failed_at == datetime(2026, 3, 4, 10, 0, 0, 123_000, UTC)


@given(letters)
def test_what_came_goes_on_and_ours_stand_once(pair: tuple[Record, DeadLetter]) -> None:
    came, letter = pair
    assert (letter.key, letter.value) == (came.key, came.value)
    others = [header for header in letter.headers if header[0] not in names.NAMES]
    assert others == [header for header in came.headers if header[0] not in names.NAMES]
    counts = Counter(name for name, _ in letter.headers if name in names.NAMES)
    assert set(counts.values()) == {1}
    assert set(counts) >= names.NAMES - names.TRUNCATION_NAMES
    info = origin_of(letter.headers)
    assert info is not None
    assert info.origin == came.position
