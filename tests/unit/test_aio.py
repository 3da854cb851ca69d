"""How long the engine waits before it does the same work again."""

from hypothesis import given
from hypothesis import strategies as st

from consumer.aio import Backoff

BACKOFF = Backoff(initial=0.1, maximum=30.0)


def test_the_ceiling_doubles_until_it_reaches_the_maximum() -> None:
    assert [BACKOFF.ceiling(attempt) for attempt in (1, 2, 3, 9, 10, 1000)] == [
        0.1,
        0.2,
        0.4,
        25.6,
        30.0,
        30.0,
    ]


@given(st.integers(1, 10**6), st.floats(0, 1, exclude_max=True))
def test_a_wait_is_between_a_hot_loop_and_the_ceiling(attempt: int, chance: float) -> None:
    delay = BACKOFF.delay(attempt, chance)
    assert 0.01 <= delay <= BACKOFF.ceiling(attempt)


def test_chance_spreads_the_waits_of_instances_that_met_the_same_outage() -> None:
    assert BACKOFF.delay(5, 0.1) < BACKOFF.delay(5, 0.9)
