from __future__ import annotations

from itertools import pairwise

import pytest

from consumer.mongo.bulk import BatchSizer


def weightless(_: int) -> int:
    return 0


def test_work_is_cut_by_its_weight_too_and_what_is_heavier_goes_alone() -> None:
    parts = BatchSizer(3).chunks([1, 2, 9, 1, 1, 1, 1], abs, 3)
    assert [list(part) for part in parts] == [[1, 2], [9], [1, 1, 1], [1]]


def test_work_is_cut_into_parts_of_at_most_the_limit() -> None:
    assert [list(part) for part in BatchSizer(3).chunks(range(7), weightless, 0)] == [
        [0, 1, 2],
        [3, 4, 5],
        [6],
    ]
    assert list(BatchSizer(3).chunks([], weightless, 0)) == []


def test_a_timeout_halves_what_did_not_fit() -> None:
    lane = BatchSizer(1000)
    limits = []
    for size in (9, 4, 2, 1):
        lane.timed_out(size)
        limits.append(lane.limit)
    assert limits == [4, 2, 1, 1]


def test_commands_of_one_size_side_by_side_halve_once() -> None:
    lane = BatchSizer(1000)
    for _ in range(3):
        lane.timed_out(800)
    assert lane.limit == 400


@pytest.mark.reliability("F75")
def test_one_statement_that_never_fits_makes_no_other_command_smaller() -> None:
    lane = BatchSizer(1000)
    lane.timed_out(1)
    assert lane.limit == 1000


def test_it_grows_again_slowly_by_full_commands_that_fit_and_never_beyond_its_first_limit() -> None:
    lane = BatchSizer(1000)
    lane.timed_out(2)
    limits = [lane.limit]
    while lane.limit < 1000:
        lane.fitted(lane.limit - 1)
        assert lane.limit == limits[-1]
        lane.fitted(lane.limit)
        limits.append(lane.limit)
    assert limits[:4] == [1, 2, 3, 4]
    assert all(after <= before + max(1, before // 16) for before, after in pairwise(limits))
    assert limits[-1] == 1000
    lane.fitted(1000)
    assert lane.limit == 1000


def test_what_is_left_is_cut_by_the_limit_of_the_moment() -> None:
    lane = BatchSizer(4)
    parts = lane.chunks(range(7), weightless, 0)
    assert list(next(parts)) == [0, 1, 2, 3]
    lane.timed_out(4)
    assert [list(part) for part in parts] == [[4, 5], [6]]
