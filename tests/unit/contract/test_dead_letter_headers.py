"""What the headers of a dead letter say to those who read them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.contract.dead_letter import (
    NAMES,
    DeadLetterInfo,
    Part,
    Truncation,
    origin_of,
    truncation_of,
)
from consumer.contract.record import Position
from consumer.contract.rejection import Reason

COMPLETE: dict[str, bytes | None] = {
    "dlq-reason": b"key_mismatch",
    "dlq-detail": "the key is not the session\u2019s".encode(),
    "dlq-topic": b"conversation.events",
    "dlq-partition": b"3",
    "dlq-offset": b"9223372036854775807",
    "dlq-timestamp": b"-1",
    "dlq-group": b"conversation-consumer",
    "dlq-failed-at": b"2026-03-04T10:00:00.123Z",
    "dlq-attempt": b"2",
    "dlq-consumer-version": b"1.2.3",
    "dlq-truncated": b"key,value",
    "dlq-size": b"2000000",
    "dlq-sha256": b"0123456789abcdef" * 4,
}


def read(**changed: bytes | None) -> DeadLetterInfo | None:
    headers = COMPLETE | {f"dlq-{name.replace('_', '-')}": value for name, value in changed.items()}
    return origin_of(tuple(headers.items()))


def test_everything_is_read() -> None:
    assert read() == DeadLetterInfo(
        origin=Position("conversation.events", 3, 2**63 - 1),
        reason=Reason.KEY_MISMATCH,
        detail="the key is not the session\u2019s",
        timestamp_ms=-1,
        group="conversation-consumer",
        failed_at=datetime(2026, 3, 4, 10, 0, 0, 123_000, UTC),
        attempt=2,
    )
    parts = frozenset({Part.KEY, Part.VALUE})
    assert truncation_of(tuple(COMPLETE.items())) == Truncation(
        parts, 2_000_000, "0123456789abcdef" * 4
    )


@pytest.mark.parametrize("name", ["topic", "partition", "offset"])
@pytest.mark.parametrize("value", [None, b""])
def test_without_an_origin_it_is_no_letter_of_ours(name: str, value: bytes | None) -> None:
    assert read(**{name: value}) is None
    assert origin_of(()) is None


@pytest.mark.parametrize("name", ["partition", "offset"])
@pytest.mark.parametrize("value", [b"-1", b"x", b"1.0", b" 1", b"9" * 5000, "\u0661".encode()])
def test_an_origin_that_cannot_be_read_is_none(name: str, value: bytes) -> None:
    assert read(**{name: value}) is None


@pytest.mark.parametrize("value", [None, b"", b"\xff", b"9" * 5000, b"soon"])
def test_what_else_cannot_be_read_is_absent(value: bytes | None) -> None:
    info = read(reason=value, timestamp=value, failed_at=value, attempt=value)
    assert info is not None
    assert info.reason is None
    assert info.timestamp_ms is None
    assert info.failed_at is None
    assert info.attempt == 0
    assert truncation_of(tuple((COMPLETE | {"dlq-size": value}).items())) is None


@pytest.mark.parametrize("parts", [b"", b"values", b"key,", b"key;value", b"KEY", b"\xff", None])
def test_unknown_parts_are_no_truncation(parts: bytes | None) -> None:
    assert truncation_of(tuple((COMPLETE | {"dlq-truncated": parts}).items())) is None


@pytest.mark.parametrize("digest", [b"", b"0" * 63, b"0" * 65, b"G" * 64, b"A" * 64, None])
def test_a_digest_has_64_hexadecimal_digits(digest: bytes | None) -> None:
    assert truncation_of(tuple((COMPLETE | {"dlq-sha256": digest}).items())) is None


def test_of_a_header_that_stands_twice_the_last_one_counts() -> None:
    info = origin_of((*COMPLETE.items(), ("dlq-offset", b"7")))
    assert info is not None
    assert info.origin.offset == 7


@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(NAMES)) | st.text(max_size=3), st.none() | st.binary())
    )
)
def test_no_header_makes_reading_fail(headers: list[tuple[str, bytes | None]]) -> None:
    origin_of((*COMPLETE.items(), *headers))
    origin_of(tuple(headers))
