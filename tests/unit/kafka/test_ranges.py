"""What a selection by offset and time means in a log."""

from __future__ import annotations

import pytest

from consumer.contract.record import OffsetRange, TopicPartition
from consumer.kafka.ranges import EVERYTHING, Bounds, LogExtent, offsets_of
from consumer.kafka.ranges import ranges_within as within

P0 = TopicPartition("topic", 0)


def selected(bounds: Bounds, extent: LogExtent) -> tuple[int, int]:
    (part,) = within(bounds, {P0: extent})
    return part.first, part.end


def test_without_bounds_all_that_the_log_holds_is_selected() -> None:
    assert selected(EVERYTHING, LogExtent(5, 100)) == (5, 100)


def test_the_first_offset_is_included_and_the_last_is_not() -> None:
    assert selected(Bounds(from_offset=10, to_offset=20), LogExtent(0, 100)) == (10, 20)


def test_what_retention_has_deleted_is_not_selected() -> None:
    assert selected(Bounds(from_offset=10), LogExtent(40, 100)) == (40, 100)


def test_no_selection_reaches_beyond_the_end_of_the_log() -> None:
    assert selected(Bounds(to_offset=1_000), LogExtent(0, 100)) == (0, 100)


def test_a_first_offset_beyond_the_end_selects_nothing() -> None:
    assert selected(Bounds(from_offset=500), LogExtent(0, 100)) == (100, 100)


@pytest.mark.reliability("F81")
def test_a_time_is_read_from_its_first_record_to_the_end_since_any_may_be_stamped_so() -> None:
    extent = LogExtent(0, 100, at_from=30)
    assert selected(Bounds(from_ms=1, to_ms=2), extent) == (30, 100)
    assert selected(Bounds(to_ms=2), extent) == (0, 100)


def test_from_a_time_after_the_last_record_nothing_is_selected() -> None:
    assert selected(Bounds(from_ms=1), LogExtent(0, 100, at_from=None)) == (100, 100)


def test_of_an_offset_and_a_time_the_narrower_one_counts() -> None:
    extent = LogExtent(0, 100, at_from=30)
    assert selected(Bounds(from_offset=40, to_offset=90, from_ms=1), extent) == (40, 90)
    assert selected(Bounds(from_offset=20, to_offset=90, from_ms=1), extent) == (30, 90)


def test_bounds_that_cross_select_nothing() -> None:
    extent = LogExtent(0, 100, at_from=70)
    assert selected(Bounds(to_offset=20, from_ms=2), extent) == (70, 70)


@pytest.mark.parametrize(
    ("bounds", "inside", "outside"),
    [
        (EVERYTHING, (-1, 0, 5), ()),
        (Bounds(from_ms=10), (10, 11, 2**62), (-1, 0, 9)),
        (Bounds(to_ms=10), (0, 9), (-1, 10, 11)),
        (Bounds(from_ms=5, to_ms=10), (5, 9), (-1, 4, 10)),
        (Bounds(from_ms=-5), (0,), (-1, -3)),
    ],
)
@pytest.mark.reliability("F81")
def test_a_record_s_own_time_decides(
    bounds: Bounds, inside: tuple[int, ...], outside: tuple[int, ...]
) -> None:
    assert all(map(bounds.hold, inside))
    assert not any(map(bounds.hold, outside))


def test_ranges_come_by_topic_and_partition() -> None:
    names = [("b", 0), ("a", 10), ("a", 2)]
    found = within(EVERYTHING, {TopicPartition(*name): LogExtent(0, 1) for name in names})
    assert [part.partition for part in found] == [("a", 2), ("a", 10), ("b", 0)]


@pytest.mark.parametrize(("first", "end", "offsets"), [(0, 10, 10), (4, 4, 0), (9, 4, 0)])
def test_a_range_covers_its_offsets(first: int, end: int, offsets: int) -> None:
    part = OffsetRange(P0, first, end)
    assert part.offsets == offsets
    assert offsets_of([part, part]) == 2 * offsets
