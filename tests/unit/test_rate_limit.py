"""How fast records may go, by a clock that only the test moves."""

from __future__ import annotations

import pytest

from consumer.aio import RateLimiter


def test_without_a_rate_nothing_ever_waits() -> None:
    limiter = RateLimiter()
    limiter.take(1_000_000, now=5.0)
    assert limiter.delay(now=5.0) == 0
    assert limiter.batch_size(2_000) == 2_000


def test_after_some_records_the_next_wait_until_the_rate_allows_them() -> None:
    limiter = RateLimiter(100)
    limiter.take(50, now=10.0)
    assert limiter.delay(now=10.0) == pytest.approx(0.5)
    assert limiter.delay(now=10.4) == pytest.approx(0.1)
    assert limiter.delay(now=10.5) == 0


@pytest.mark.parametrize("rate", [0.5, 7, 100, 5_000])
def test_whoever_heeds_the_delays_keeps_the_rate(rate: float) -> None:
    limiter, now, sent = RateLimiter(rate), 100.0, 0
    while now < 200:
        now += limiter.delay(now)
        size = limiter.batch_size(2_000)
        limiter.take(size, now)
        sent += size
    now += limiter.delay(now)
    assert sent / (now - 100.0) == pytest.approx(rate)


@pytest.mark.parametrize(("rate", "records", "seconds"), [(10, 101, 10.0), (1000, 5001, 5.0)])
def test_single_records_come_at_the_rate(rate: float, records: int, seconds: float) -> None:
    assert times(RateLimiter(rate), records)[-1] == pytest.approx(seconds, abs=0.01)


def times(limiter: RateLimiter, records: int, now: float = 0.0, late: float = 0.0) -> list[float]:
    """Return when each record goes, one at a time; every hundredth takes ``late`` seconds."""
    found = []
    for number in range(records):
        now += limiter.delay(now)
        limiter.take(1, now)
        found.append(now)
        if number % 100 == 0:
            now += late
    return found


def test_a_record_that_took_long_is_made_up_for() -> None:
    assert times(RateLimiter(100), 1001, late=0.09)[-1] == pytest.approx(10.0, abs=0.1)


@pytest.mark.reliability("F86")
def test_after_a_stall_the_records_go_no_faster_than_the_rate() -> None:
    limiter = RateLimiter(100)
    limiter.take(1, now=0.0)
    found = times(limiter, 200, now=5.0)
    assert sum(1 for time in found if time < 5.1) <= 21
    assert sum(1 for time in found if time < 6.0) <= 111


def test_time_that_was_not_used_cannot_be_caught_up() -> None:
    limiter = RateLimiter(100)
    limiter.take(100, now=0.0)
    limiter.take(100, now=1_000.0)
    assert limiter.delay(now=1_000.0) == pytest.approx(0.9)


@pytest.mark.parametrize(("rate", "size"), [(0.1, 1), (1, 1), (30.5, 30), (9_999, 2_000)])
def test_about_a_second_s_worth_goes_at_once(rate: float, size: int) -> None:
    assert RateLimiter(rate).batch_size(2_000) == size
