"""A schedule follows from its seed, and leaves no fault out."""

from __future__ import annotations

from itertools import islice

import pytest

from tests.chaos.nemesis import DOINGS
from tests.chaos.schedule import IMPACT_SECONDS, STEADY_SECONDS, Fault, Round, rounds, target_of


def first(count: int, seed: int, only: tuple[Fault, ...] = tuple(Fault)) -> list[Round]:
    return list(islice(rounds(seed, only), count))


def test_the_same_seed_makes_the_same_rounds_and_another_one_others(seed: int) -> None:
    assert first(50, seed) == first(50, seed)
    assert first(50, seed) != first(50, seed + 1)


def test_every_fault_comes_once_before_any_comes_again(seed: int) -> None:
    leading = [one.faults[0] for one in first(2 * len(Fault), seed)]
    assert set(leading[: len(Fault)]) == set(leading[len(Fault) :]) == set(Fault)


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
