"""A schedule follows from its seed, and leaves no fault out."""

from __future__ import annotations

from itertools import islice

import pytest

from tests.chaos.nemesis import DOINGS
from tests.chaos.schedule import (
    AT_LENGTH,
    FULL_LENGTH_MINUTES,
    IMPACT_SECONDS,
    STEADY_SECONDS,
    USUAL,
    Fault,
    Round,
    faults_for,
    rounds,
    target_of,
)


def first(count: int, seed: int, only: tuple[Fault, ...] = USUAL) -> list[Round]:
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
    assert {fault for (fault,) in at_length} == set(AT_LENGTH)
    assert {fault for chosen in others for fault in chosen} == set(USUAL)


def test_a_short_run_has_none_of_them() -> None:
    assert set(faults_for(2)).isdisjoint(AT_LENGTH)


def test_two_faults_at_once_are_of_different_targets_and_do_happen(seed: int) -> None:
    pairs = [one.faults for one in first(200, seed) if len(one.faults) > 1]
    assert pairs
    assert all(target_of(a) is not target_of(b) for a, b in pairs)


def test_rounds_take_their_time_within_bounds(seed: int) -> None:
    for one in first(200, seed):
        assert STEADY_SECONDS[0] <= one.steady <= STEADY_SECONDS[1]
        assert IMPACT_SECONDS[0] <= one.impact <= IMPACT_SECONDS[1]


def test_only_the_faults_that_are_asked_for_come(seed: int) -> None:
    only = (Fault.KILL_ONE, Fault.FREEZE_DATABASE)
    assert {fault for one in first(50, seed, only) for fault in one.faults} == set(only)


@pytest.mark.parametrize("fault", Fault)
def test_somebody_knows_how_to_do_each_fault(fault: Fault) -> None:
    assert fault in DOINGS
