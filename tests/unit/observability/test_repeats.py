"""Repetitions are collapsed and none is lost from the count."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from consumer.observability.logs import MOST_KEYS, Repeats


def test_the_first_passes_and_its_like_is_held_back_for_the_interval() -> None:
    repeats = Repeats[str, int](10.0)
    assert repeats.admit("a", 1, now=0.0) == 0
    assert repeats.admit("a", 2, now=9.9) is None
    assert repeats.admit("b", 3, now=9.9) == 0
    assert repeats.admit("a", 4, now=10.0) == 1
    assert repeats.admit("a", 5, now=10.1) is None


def test_what_is_held_back_and_not_repeated_falls_due_with_the_last_of_its_kind() -> None:
    repeats = Repeats[str, int](10.0)
    for value in range(5):
        repeats.admit("a", value, now=0.0)
    repeats.admit("b", 9, now=0.0)
    assert list(repeats.due(9.9)) == []
    assert list(repeats.due(10.0)) == [(4, 4)]
    assert list(repeats.due(math.inf)) == []


def test_the_memory_for_kinds_is_bounded() -> None:
    repeats = Repeats[int, None](10.0)
    for key in range(MOST_KEYS + 1):
        repeats.admit(key, None, now=0.0)
    assert repeats.admit(0, None, now=1.0) == 0
    assert repeats.admit(MOST_KEYS, None, now=1.0) is None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 30)), max_size=50))
def test_every_one_is_either_shown_or_counted_once(steps: list[tuple[str, float]]) -> None:
    repeats = Repeats[str, None](10.0)
    shown = counted = 0
    now = 0.0
    for key, pause in steps:
        now += pause
        counted += sum(count for _, count in repeats.due(now))
        held_back = repeats.admit(key, None, now)
        if held_back is not None:
            shown += 1
            counted += held_back
    counted += sum(count for _, count in repeats.due(math.inf))
    assert shown + counted == len(steps)
