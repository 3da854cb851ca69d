"""Which time a message has, and what becomes of one without any."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from consumer.contract.messages import EventRecorded
from consumer.contract.record import Headers
from consumer.contract.rejection import Reason
from consumer.contract.times import REDRIVE_TIMESTAMP
from tests.unit.contract.builders import (
    COMPLETED,
    CREATED,
    EVENT,
    FAILED,
    STAMPED_MS,
    decoded,
    reason,
    record,
    refusal,
    short,
    without,
)

STAMPED = datetime(2026, 3, 4, 10, tzinfo=UTC)
TIME_FIELDS = [
    pytest.param(CREATED, "startedAt", "started_at", id="created"),
    pytest.param(COMPLETED, "endedAt", "ended_at", id="completed"),
    pytest.param(FAILED, "endedAt", "ended_at", id="failed"),
    pytest.param(EVENT, "timestamp", "timestamp", id="event"),
]


@pytest.mark.parametrize(("fields", "name", "attribute"), TIME_FIELDS)
@pytest.mark.parametrize("absent", [False, True])
def test_a_missing_time_is_that_of_the_record(
    fields: dict[str, Any], name: str, attribute: str, absent: bool
) -> None:
    message = decoded(record(without(fields, name) if absent else fields | {name: None}))
    assert getattr(message, attribute) == STAMPED
    assert message.time_defaulted


@pytest.mark.parametrize(("fields", "name", "attribute"), TIME_FIELDS)
@pytest.mark.parametrize(
    "unreadable",
    [
        "",
        "2026-03-04T10:00Z",
        "2026-03-04T10:00+01:00",
        "2026-03-04T10:00:05",
        "2026-03-04T10:00:60Z",
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59-00:01",
        STAMPED_MS,
        0,
        False,
        [],
        {"$date": 0},
    ],
)
def test_a_time_that_cannot_be_read_is_never_replaced(
    fields: dict[str, Any], name: str, attribute: str, unreadable: object
) -> None:
    refused = refusal(record(fields | {name: unreadable}))
    assert refused.reason is Reason.INVALID
    assert name in refused.detail


@pytest.mark.parametrize(("fields", "name", "attribute"), TIME_FIELDS)
@pytest.mark.parametrize(
    "unusable",
    [-1, -2, -62135596800000, -62135596800001, -(2**63), 253402300800000, 1772618400000000],
)
@pytest.mark.reliability("F51")
def test_without_any_usable_time_a_message_is_invalid(
    fields: dict[str, Any], name: str, attribute: str, unusable: int
) -> None:
    refused = refusal(record(without(fields, name), timestamp_ms=unusable))
    assert refused.reason is Reason.INVALID
    assert name in refused.detail
    message = decoded(record(fields, timestamp_ms=unusable))
    assert not message.time_defaulted


def redriven(*values: bytes | None) -> Headers:
    return tuple((REDRIVE_TIMESTAMP, value) for value in values)


def test_a_record_that_was_sent_back_keeps_its_first_time() -> None:
    message = decoded(
        record(without(EVENT, "timestamp"), headers=redriven(b"1772618400000"), timestamp_ms=5)
    )
    assert isinstance(message, EventRecorded)
    assert message.timestamp == STAMPED
    assert message.time_defaulted


@pytest.mark.parametrize(
    "value", [None, b"", b"soon", b"-1", b"-2", b"253402300800000", b"\xff"], ids=short
)
def test_a_first_time_that_cannot_be_used_is_never_replaced(value: bytes | None) -> None:
    headers = redriven(value)
    assert reason(record(without(EVENT, "timestamp"), headers=headers)) is Reason.INVALID
    assert reason(record(EVENT, headers=headers)) is None
