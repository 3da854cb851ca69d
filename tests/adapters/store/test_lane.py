from __future__ import annotations

from consumer.store.lane import Lane


def test_work_is_cut_into_parts_of_at_most_the_limit() -> None:
    assert [list(part) for part in Lane(3).cut(range(7))] == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(Lane(3).cut([])) == []


def test_every_second_timeout_halves_what_did_not_fit() -> None:
    lane = Lane(1000)
    limits = []
    for size in (9, 9, 4, 4, 2, 2, 1, 1):
        lane.timed_out(size)
        limits.append(lane.limit)
    assert limits == [1000, 4, 4, 2, 2, 1, 1, 1]


def test_a_small_command_that_times_out_does_not_raise_the_limit() -> None:
    lane = Lane(2)
    lane.timed_out(50)
    lane.timed_out(50)
    assert lane.limit == 1
