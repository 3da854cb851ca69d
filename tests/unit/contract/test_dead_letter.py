"""What a dead letter brings along, and how it is cut where it is too large."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.contract import dead_letter_headers as names
from consumer.contract.dead_letter import (
    MAX_DETAIL_BYTES,
    DeadLetter,
    dead_letter,
    serialized_size,
    shortened,
)
from consumer.contract.dead_letter_headers import Part, Truncation, origin_of, truncation_of
from consumer.contract.record import Headers, Position, Record
from consumer.contract.record_time import REDRIVE_TIMESTAMP
from consumer.contract.rejection import Reason, Rejected

MIB = 2**20
FAILED_AT = datetime(2026, 3, 4, 11, 0, 0, 123_456, timezone(timedelta(hours=1)))
REJECTED = Rejected(Reason.INVALID, "sessionId: missing")


def record(
    value: bytes | None = b"value",
    *,
    key: bytes | None = b"key",
    headers: Headers = (),
    timestamp_ms: int = 1772618400000,
) -> Record:
    return Record("conversation.events", 3, 42, timestamp_ms, key, value, headers)


def letter_of(record: Record, rejected: Rejected = REJECTED, *, max_bytes: int = MIB) -> DeadLetter:
    return dead_letter(
        record,
        rejected,
        group="conversation-consumer",
        failed_at=FAILED_AT,
        consumer_version="1.2.3",
        max_bytes=max_bytes,
    )


def own(letter: DeadLetter) -> dict[str, bytes | None]:
    """The headers of ours; fails where one stands twice."""
    ours = [header for header in letter.headers if header[0].startswith("dlq-")]
    assert max(Counter(name for name, _ in ours).values()) == 1
    return dict(ours)


def foreign(letter: DeadLetter) -> Headers:
    return tuple(header for header in letter.headers if not header[0].startswith("dlq-"))


def size(letter: DeadLetter) -> int:
    return serialized_size(letter.key, letter.value, letter.headers)


# --- the letter -----------------------------------------------------------------------


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


# --- cutting --------------------------------------------------------------------------


def test_a_letter_that_fits_is_not_cut() -> None:
    letter = letter_of(record(b"v" * 1000))
    assert shortened(letter, size(letter)) is letter
    assert own(shortened(letter, size(letter) - 1))["dlq-truncated"] == b"value"


def test_of_a_large_value_the_beginning_goes_with_its_size_and_digest() -> None:
    value = bytes(range(256)) * 8192
    letter = letter_of(record(value, headers=(("a", b"1"), ("b", None))))
    assert letter.key == b"key"
    assert letter.value is not None
    assert value.startswith(letter.value)
    assert len(letter.value) > MIB - 2048
    assert size(letter) <= MIB
    assert foreign(letter) == (("a", b"1"), ("b", None))
    assert own(letter)["dlq-truncated"] == b"value"
    assert own(letter)["dlq-size"] == str(len(value)).encode()
    assert own(letter)["dlq-sha256"] == sha256(value).hexdigest().encode()
    assert own(letter).items() >= own(letter_of(record())).items()


def test_a_large_key_is_cut_and_the_value_stays() -> None:
    letter = letter_of(record(key=b"k" * MIB))
    assert letter.key is not None
    assert MIB - 2048 < len(letter.key) < MIB
    assert letter.value == b"value"
    assert own(letter)["dlq-truncated"] == b"key"
    assert own(letter)["dlq-size"] == b"5"
    assert size(letter) <= MIB


def test_of_too_many_headers_the_first_ones_go() -> None:
    headers: Headers = tuple((f"header-{n}", b"x" * 90) for n in range(10_000))
    letter = letter_of(record(headers=headers))
    kept = foreign(letter)
    assert 9_000 < len(kept) < 10_000
    assert kept == headers[: len(kept)]
    assert (letter.key, letter.value) == (b"key", b"value")
    assert own(letter)["dlq-truncated"] == b"headers"
    assert size(letter) <= MIB


def test_where_everything_is_large_everything_has_its_share() -> None:
    headers: Headers = tuple((f"header-{n}", b"x" * 90) for n in range(10_000))
    letter = letter_of(record(b"v" * MIB, key=b"k" * MIB, headers=headers))
    share = MIB // 3 - 2048
    assert len(letter.key or b"") > share
    assert len(letter.value or b"") > share
    assert len(foreign(letter)) > 3_000
    assert own(letter)["dlq-truncated"] == b"key,value,headers"
    assert size(letter) <= MIB


def test_null_stays_null_when_the_rest_is_cut() -> None:
    headers: Headers = tuple((f"header-{n}", b"x" * 90) for n in range(100))
    letter = letter_of(record(None, key=None, headers=headers), max_bytes=2048)
    assert (letter.key, letter.value) == (None, None)
    assert own(letter)["dlq-size"] == b"0"
    assert own(letter)["dlq-sha256"] == sha256(b"").hexdigest().encode()


def test_a_letter_cut_again_still_tells_of_the_original() -> None:
    value = b"v" * (2 * MIB)
    once = letter_of(record(value, key=b"k" * 5000))
    twice = shortened(once, 4096)
    assert size(twice) <= 4096
    assert len(twice.value or b"") < len(once.value or b"")
    assert own(twice)["dlq-truncated"] == b"key,value"
    assert own(twice)["dlq-size"] == str(len(value)).encode()
    assert own(twice)["dlq-sha256"] == sha256(value).hexdigest().encode()
    assert twice.origin == once.origin


def test_a_cut_letter_that_someone_copies_back_still_says_that_it_was_cut() -> None:
    cut = letter_of(record(b"v" * (2 * MIB)))
    copied = Record("conversation.events", 3, 99, -1, cut.key, cut.value, cut.headers)
    again = letter_of(copied)
    assert truncation_of(again.headers) == truncation_of(cut.headers)
    assert own(again)["dlq-attempt"] == b"2"
    assert size(again) <= MIB


def test_less_than_our_own_headers_take_cannot_be_had() -> None:
    letter = letter_of(record(headers=(("a", b"1"),)), max_bytes=0)
    assert (letter.key, letter.value, foreign(letter)) == (b"", b"", ())
    assert own(letter).items() >= own(letter_of(record())).items()


headers = st.lists(
    st.tuples(
        st.sampled_from([*sorted(names.NAMES), REDRIVE_TIMESTAMP, "content-type", "dlq-other"])
        | st.text(max_size=5),
        st.none() | st.binary(max_size=300) | st.sampled_from([b"1", b"value", b"0" * 64]),
    ),
    max_size=40,
).map(tuple)
rejections = st.builds(Rejected, st.sampled_from(Reason), st.text(max_size=600))
bodies = st.none() | st.binary(max_size=3000)
letters = st.builds(
    lambda value, key, headers, rejected: (
        record(value, key=key, headers=headers),
        letter_of(record(value, key=key, headers=headers), rejected, max_bytes=10 * MIB),
    ),
    bodies,
    bodies,
    headers,
    rejections,
)


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


@given(letters, st.integers(2048, 10_000))
def test_a_cut_letter_fits_and_holds_beginnings(
    pair: tuple[Record, DeadLetter], max_bytes: int
) -> None:
    came, letter = pair
    cut = shortened(letter, max_bytes)
    assert size(cut) <= max_bytes
    assert (cut.key is None, cut.value is None) == (came.key is None, came.value is None)
    assert (came.key or b"").startswith(cut.key or b"")
    assert (came.value or b"").startswith(cut.value or b"")
    kept = [header for header in cut.headers if header[0] not in names.NAMES]
    brought = [header for header in came.headers if header[0] not in names.NAMES]
    assert kept == brought[: len(kept)]
    if cut is not letter:
        parts = {
            part
            for part, gone in (
                (Part.KEY, cut.key != came.key),
                (Part.VALUE, cut.value != came.value),
                (Part.HEADERS, kept != brought),
            )
            if gone
        }
        truncation = truncation_of(cut.headers)
        assert truncation is not None
        assert truncation.parts >= parts
        if truncation_of(came.headers) is None:
            digest = sha256(came.value or b"").hexdigest()
            assert truncation == Truncation(frozenset(parts), len(came.value or b""), digest)


def test_the_failure_is_told_in_utc() -> None:
    info = origin_of(letter_of(record()).headers)
    assert info is not None
    assert info.failed_at == datetime(2026, 3, 4, 10, 0, 0, 123_000, UTC)
