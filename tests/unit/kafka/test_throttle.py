"""How fast records may go, by a clock that only the test moves."""

from __future__ import annotations

import pytest

from consumer.kafka.throttle import Throttle


def test_without_a_rate_nothing_ever_waits() -> None:
    throttle = Throttle()
    throttle.passed(1_000_000, now=5.0)
    assert throttle.pause(now=5.0) == 0
    assert throttle.portion(2_000) == 2_000


def test_after_some_records_the_next_wait_until_the_rate_allows_them() -> None:
    throttle = Throttle(100)
    throttle.passed(50, now=10.0)
    assert throttle.pause(now=10.0) == pytest.approx(0.5)
    assert throttle.pause(now=10.4) == pytest.approx(0.1)
    assert throttle.pause(now=10.5) == 0


@pytest.mark.parametrize("rate", [0.5, 7, 100, 5_000])
def test_whoever_heeds_the_pauses_keeps_the_rate(rate: float) -> None:
    throttle, now, sent = Throttle(rate), 100.0, 0
    while now < 200:
        now += throttle.pause(now)
        portion = throttle.portion(2_000)
        throttle.passed(portion, now)
        sent += portion
    now += throttle.pause(now)
    assert sent / (now - 100.0) == pytest.approx(rate)


def test_time_that_was_not_used_cannot_be_caught_up() -> None:
    throttle = Throttle(100)
    throttle.passed(100, now=0.0)
    throttle.passed(100, now=1_000.0)
    assert throttle.pause(now=1_000.0) == pytest.approx(1.0)


@pytest.mark.parametrize(("rate", "portion"), [(0.1, 1), (1, 1), (30.5, 30), (9_999, 2_000)])
def test_about_a_second_s_worth_goes_at_once(rate: float, portion: int) -> None:
    assert Throttle(rate).portion(2_000) == portion
