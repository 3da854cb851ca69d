"""How long what a record writes is kept, and which timestamps decide it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from consumer.contract.record import Record
from consumer.contract.times import REDRIVE_TIMESTAMP
from consumer.state.retention import AHEAD, FIRST_TIME, FOR_EVER, GRACE, Lifetime, Retention
from tests.unit.state.builders import EVENTS, STAMPED, STAMPED_MS, record

KEEP = timedelta(days=30)
RETENTION = Retention(KEEP)
TOPIC_KEEPS = timedelta(days=8)
BOUNDED = Retention(KEEP, {EVENTS: TOPIC_KEEPS})
DOUBTFUL = Lifetime(doubtful=True)
MS = timedelta(milliseconds=1)


def stamped(instant: datetime) -> Record:
    return record(timestamp_ms=(instant - datetime(1970, 1, 1, tzinfo=UTC)) // MS)


def redriven(instant: datetime) -> Record:
    first = str(stamped(instant).timestamp_ms).encode()
    return record(timestamp_ms=STAMPED_MS)._replace(headers=((REDRIVE_TIMESTAMP, first),))


def test_what_a_record_writes_expires_by_its_timestamp() -> None:
    assert RETENTION.lifetime(record(), STAMPED) == Lifetime(STAMPED + KEEP)


def test_a_record_older_than_the_retention_less_a_day_is_over() -> None:
    now = STAMPED + KEEP - GRACE
    assert not RETENTION.lifetime(record(), now).over
    assert RETENTION.lifetime(record(), now + MS).over


@pytest.mark.parametrize(
    "timestamp_ms",
    [
        pytest.param(-1, id="none"),
        pytest.param(-2, id="below zero"),
        pytest.param(-62135596800000, id="the zero time of Go"),
        pytest.param(-(2**63), id="the least there is"),
        pytest.param(0, id="a clock that was never set"),
        pytest.param(STAMPED_MS // 1000, id="seconds"),
        pytest.param(STAMPED_MS * 1000, id="microseconds"),
        pytest.param(253402300800000, id="beyond year 9999"),
        pytest.param(2**63 - 1, id="the most there is"),
    ],
)
@pytest.mark.reliability("F50")
def test_a_timestamp_that_cannot_be_right_decides_nothing(timestamp_ms: int) -> None:
    for now in (STAMPED, STAMPED + 1000 * KEEP):
        assert RETENTION.lifetime(record(timestamp_ms=timestamp_ms), now) == DOUBTFUL


@pytest.mark.reliability("F50")
def test_before_the_first_time_no_record_can_have_been_made() -> None:
    assert RETENTION.lifetime(stamped(FIRST_TIME - MS), STAMPED) == DOUBTFUL
    assert RETENTION.lifetime(stamped(FIRST_TIME), STAMPED) == Lifetime(
        FIRST_TIME + KEEP, over=True
    )


@pytest.mark.reliability("F50")
def test_a_clock_that_is_far_ahead_is_not_believed() -> None:
    assert RETENTION.lifetime(stamped(STAMPED + AHEAD), STAMPED).expire_at == STAMPED + AHEAD + KEEP
    assert RETENTION.lifetime(stamped(STAMPED + AHEAD + MS), STAMPED) == DOUBTFUL


@pytest.mark.reliability("F50")
def test_a_record_is_not_as_old_as_its_topic_would_have_deleted_it() -> None:
    now = STAMPED + 2 * KEEP
    oldest = stamped(now - TOPIC_KEEPS)
    older = stamped(now - TOPIC_KEEPS - MS)
    assert not BOUNDED.lifetime(oldest, now).doubtful
    assert BOUNDED.lifetime(older, now) == DOUBTFUL
    assert BOUNDED.lifetime(older._replace(topic="another"), now).expire_at is not None


@pytest.mark.reliability("F50")
def test_what_was_sent_back_from_the_dead_letters_may_be_older_than_its_topic_keeps() -> None:
    now = STAMPED + 2 * KEEP
    assert BOUNDED.lifetime(redriven(STAMPED), now) == Lifetime(STAMPED + KEEP, over=True)
    assert BOUNDED.lifetime(redriven(FIRST_TIME - MS), now) == DOUBTFUL


def test_an_expiry_beyond_the_last_year_is_none() -> None:
    last = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert RETENTION.lifetime(stamped(last), last) == FOR_EVER
