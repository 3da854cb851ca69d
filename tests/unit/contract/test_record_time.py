"""Which timestamp stands for a record."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from consumer.contract.record import Headers
from consumer.contract.times import REDRIVE_TIMESTAMP, effective_timestamp_ms, usable_time
from tests.unit.contract.builders import STAMPED_MS, record


def effective(*values: bytes | None) -> int | None:
    headers: Headers = (("x", b"7"), *((REDRIVE_TIMESTAMP, value) for value in values))
    return effective_timestamp_ms(record(b"", headers=headers))


def test_a_record_has_its_own_timestamp() -> None:
    assert effective() == STAMPED_MS


@pytest.mark.parametrize("number", [0, 1, -1, -2, 1772618400000000, 2**63 - 1, -(2**63)])
def test_a_record_that_was_sent_back_has_its_first_timestamp(number: int) -> None:
    assert effective(str(number).encode()) == number


def test_the_same_timestamp_may_stand_twice() -> None:
    assert effective(b"5", b"5") == 5


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"x",
        b"5.0",
        b"+5",
        b" 5",
        b"5\n",
        b"1_000",
        b"\xff",
        "\u0665".encode(),
        str(2**63).encode(),
        b"9" * 5000,
        b"2026-03-04T10:00:00Z",
    ],
)
def test_a_first_timestamp_that_cannot_be_read_leaves_none(value: bytes | None) -> None:
    assert effective(value) is None


def test_two_first_timestamps_leave_none() -> None:
    assert effective(b"5", b"6") is None
    assert effective(b"5", None) is None


@pytest.mark.parametrize(
    ("timestamp_ms", "instant"),
    [
        (None, None),
        (-1, None),
        (-2, None),
        (-62135596800000, None),
        (-(2**63), None),
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        (STAMPED_MS, datetime(2026, 3, 4, 10, tzinfo=UTC)),
        (253402300799999, datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)),
        (253402300800000, None),
        (2**63 - 1, None),
    ],
)
@pytest.mark.reliability("F51")
def test_a_usable_timestamp_lies_between_the_epoch_and_the_year_9999(
    timestamp_ms: int | None, instant: datetime | None
) -> None:
    assert usable_time(timestamp_ms) == instant
