"""A schedule follows from its seed, and leaves no fault out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from tests.chaos.fault import FAULTS, Fault
from tests.chaos.schedule import (
    FULL_LENGTH_MINUTES,
    IMPACT_SECONDS,
    STEADY_SECONDS,
    Round,
    faults_for,
    rounds,
)

AT_LENGTH = {one for one in FAULTS.values() if one.at_length}
USUAL = [one for one in FAULTS.values() if not one.at_length]


def first(count: int, seed: int, only: Sequence[Fault] = USUAL) -> list[Round]:
    return list(islice(rounds(seed, only), count))


def test_the_same_seed_makes_the_same_rounds_and_another_one_others(seed: int) -> None:
    assert first(50, seed) == first(50, seed)
    assert first(50, seed) != first(50, seed + 1)


def test_every_fault_comes_once_before_any_comes_again(seed: int) -> None:
    leading = [one.faults[0] for one in first(2 * len(USUAL), seed)]
    assert set(leading[: len(USUAL)]) == set(leading[len(USUAL) :]) == set(USUAL)


def test_a_long_run_begins_with_the_faults_at_full_length_each_alone_and_once(seed: int) -> None:
    faults = faults_for(FULL_LENGTH_MINUTES)
    begun = [one.faults for one in first(2 * len(faults), seed, faults)]
    at_length, others = begun[: len(AT_LENGTH)], begun[len(AT_LENGTH) :]
    assert {fault for (fault,) in at_length} == AT_LENGTH
    assert {fault for chosen in others for fault in chosen} == set(USUAL)


def test_a_short_run_has_none_of_them() -> None:
    assert set(faults_for(2)).isdisjoint(AT_LENGTH)


def test_two_faults_at_once_are_of_different_targets_and_do_happen(seed: int) -> None:
    pairs = [one.faults for one in first(200, seed) if len(one.faults) > 1]
    assert pairs
    assert all(a.target is not b.target for a, b in pairs)


def test_rounds_take_their_time_within_bounds(seed: int) -> None:
    for one in first(200, seed):
        assert STEADY_SECONDS[0] <= one.steady <= STEADY_SECONDS[1]
        assert IMPACT_SECONDS[0] <= one.impact <= IMPACT_SECONDS[1]


def test_only_the_faults_that_are_asked_for_come(seed: int) -> None:
    only = (FAULTS["kill_one"], FAULTS["freeze_database"])
    assert {fault for one in first(50, seed, only) for fault in one.faults} == set(only)
