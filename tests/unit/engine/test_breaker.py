"""When a partition is held rather than emptied into the dead-letter topic."""

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
