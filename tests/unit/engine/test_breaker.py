"""When a partition is held rather than emptied into the dead-letter topic."""

import random

import pytest

from consumer.contract.record import TopicPartition
from consumer.engine.breaker import Breaker, BreakerLimits

P0 = TopicPartition("events", 0)
P1 = TopicPartition("events", 1)


def breaker(share: float = 0.5, window: int = 1000, minimum: int = 100) -> Breaker:
    return Breaker(BreakerLimits(share, window, minimum))


def test_few_records_never_trip_it() -> None:
    assert breaker().tripped_by(P0, [True] * 99) is None


def test_the_hundredth_dead_letter_in_a_row_trips_it() -> None:
    assert breaker().tripped_by(P0, [True] * 100) == 1.0


def test_exactly_the_share_is_let_through() -> None:
    assert breaker().tripped_by(P0, [False, True] * 500) is None


def test_a_bad_stretch_inside_a_good_batch_trips_it() -> None:
    flags = [False] * 100 + [True] * 600 + [False] * 10_000
    assert breaker().tripped_by(P0, flags) is not None


def test_only_the_last_records_count() -> None:
    subject = breaker(window=200)
    assert subject.tripped_by(P0, [False] * 10_000) is None
    assert subject.tripped_by(P0, [True] * 100) is None
    assert subject.tripped_by(P0, [True]) is not None


def test_a_batch_that_trips_it_is_judged_anew_when_it_comes_again() -> None:
    subject = breaker()
    assert subject.tripped_by(P0, [True] * 100) == 1.0
    assert subject.tripped_by(P0, [True] * 99) is None


def test_partitions_are_judged_apart() -> None:
    subject = breaker()
    assert subject.tripped_by(P0, [True] * 200) is not None
    assert subject.tripped_by(P1, [False] * 200) is None


def test_a_resumed_partition_passes_until_it_is_healthy_and_is_then_armed_again() -> None:
    subject = breaker(window=100)
    assert subject.tripped_by(P0, [True] * 100) is not None
    subject.resume([P0])
    assert subject.tripped_by(P0, [True] * 300) is None
    assert subject.tripped_by(P0, [False] * 100) is None
    assert subject.tripped_by(P0, [True] * 100) is not None


def test_a_share_of_one_never_trips_it() -> None:
    assert breaker(share=1.0).tripped_by(P0, [True] * 5000) is None


@pytest.mark.reliability("F57")
def test_a_batch_that_was_let_pass_passes_whole_whatever_it_holds() -> None:
    flags = [True] * 120 + [False] * 120 + [True] * 400
    subject = breaker()
    assert subject.tripped_by(P0, flags) is not None
    subject.resume([P0])
    assert subject.tripped_by(P0, flags) is None


@pytest.mark.parametrize("bad", [0.5, 0.52, 0.55, 0.58, 0.62, 0.7])
@pytest.mark.reliability("F57")
def test_whatever_was_held_passes_once_it_is_let(bad: float) -> None:
    chance = random.Random(57)
    held = 0
    for _ in range(100):
        subject = breaker()
        flags = [chance.random() < bad for _ in range(2000)]
        if subject.tripped_by(P0, flags) is None:
            continue
        held += 1
        subject.resume([P0])
        assert subject.tripped_by(P0, flags) is None
    assert held


@pytest.mark.reliability("F57")
def test_it_is_armed_again_at_the_end_of_a_batch_and_by_a_full_window_only() -> None:
    subject = breaker(window=200)
    assert subject.tripped_by(P0, [True] * 150) is not None
    subject.resume([P0])
    assert subject.tripped_by(P0, [False, True] * 75) is None
    assert subject.tripped_by(P0, [True] * 40) is None, "half good, but of too few records"
    assert subject.tripped_by(P0, [False] * 200) is None
    assert subject.tripped_by(P0, [True] * 101) is not None
