"""Ranges are handed out in an order that depends on the log alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from random import Random

import pytest

from consumer.contract.record import Record, TopicPartition
from consumer.kafka.lanes import (
    Cursor,
    Lane,
    Portion,
    fair_shares,
    lanes_of,
    next_unfinished,
)
from consumer.kafka.ranges import OffsetRange

PORTION = Portion(records=10, partition_bytes=10_000, partition_offsets=100)


def everything(_record: Record) -> bool:
    return True


def records(partition: TopicPartition, offsets: Iterable[int], size: int = 10) -> list[Record]:
    return [Record(*partition, offset, 0, None, b"x" * size) for offset in offsets]


def cursor(number: int = 0, first: int = 0, end: int = 1_000, topic: str = "t") -> Cursor:
    return Cursor(OffsetRange(TopicPartition(topic, number), first, end))


def fill(one: Cursor, offsets: Iterable[int], size: int = 10) -> None:
    one.accept(records(one.part.partition, offsets, size), everything)


def offsets(taken: Sequence[Record]) -> list[int]:
    return [record.offset for record in taken]


@pytest.mark.parametrize(
    ("available", "total", "shares"),
    [
        ([10, 10], 10, [5, 5]),
        ([2, 10], 10, [2, 8]),
        ([10, 0, 3], 9, [6, 0, 3]),
        ([1, 1], 10, [1, 1]),
        ([5, 5, 5], 1, [0, 0, 1]),
        ([], 10, []),
    ],
)
def test_what_one_partition_cannot_use_goes_to_the_others(
    available: list[int], total: int, shares: list[int]
) -> None:
    assert fair_shares(available, total) == shares


def test_a_portion_waits_until_it_is_known_what_each_partition_has_for_it() -> None:
    one, other = cursor(0), cursor(1)
    lane = Lane([one, other])
    fill(one, range(10))
    fill(other, range(9))
    assert lane.wanting(PORTION) == [other]
    fill(other, range(9, 20))
    assert lane.wanting(PORTION) == []


def test_a_partition_that_is_read_to_its_end_needs_no_more() -> None:
    one = cursor(end=5)
    fill(one, range(5))
    assert one.ready(PORTION)


def test_bytes_end_a_portion_as_records_do() -> None:
    one = cursor()
    fill(one, range(4), size=4_000)
    assert one.ready(PORTION)
    assert offsets(Lane([one]).take(PORTION)[one.part.partition]) == [0, 1, 2]


def test_a_record_larger_than_a_portion_goes_alone() -> None:
    one = cursor()
    fill(one, range(2), size=50_000)
    assert offsets(Lane([one]).take(PORTION)[one.part.partition]) == [0]


@pytest.mark.reliability("F70")
def test_headers_count_for_a_portion_too() -> None:
    one = cursor()
    heavy = [
        replace(record, headers=(("h", b"x" * 4_000),))
        for record in records(one.part.partition, range(5))
    ]
    one.accept(heavy, everything)
    assert offsets(Lane([one]).take(PORTION)[one.part.partition]) == [0, 1, 2]


def test_records_beyond_the_end_of_a_range_are_left_out() -> None:
    one = cursor(end=3)
    fill(one, range(8))
    assert offsets(Lane([one]).take(PORTION)[one.part.partition]) == [0, 1, 2]
    assert one.finished


def test_offsets_without_a_wanted_record_end_a_portion_too() -> None:
    one = cursor()
    one.accept(records(one.part.partition, range(150)), lambda record: record.offset == 120)
    lane = Lane([one])
    assert one.ready(PORTION)
    assert lane.take(PORTION) == {}
    assert one.scanned == 100
    one.accept(records(one.part.partition, range(150, 201)), lambda _: False)
    assert offsets(lane.take(PORTION)[one.part.partition]) == [120]
    assert one.scanned == 200


def test_a_range_that_ends_in_transaction_markers_ends_all_the_same() -> None:
    one = cursor(end=5)
    fill(one, range(3))
    one.fetched, one.exhausted = 5, True
    assert offsets(Lane([one]).take(PORTION)[one.part.partition]) == [0, 1, 2]
    assert one.finished


def test_partitions_of_one_number_share_a_lane_and_numbers_are_spread() -> None:
    cursors = [cursor(number, topic=topic) for topic in ("a", "b") for number in (1, 4, 7)]
    lanes = [[c.part.partition for c in lane.cursors] for lane in lanes_of(cursors, 2)]
    assert lanes == [
        [("a", 1), ("a", 7), ("b", 1), ("b", 7)],
        [("a", 4), ("b", 4)],
    ]


def test_there_are_no_more_lanes_than_partition_numbers() -> None:
    assert len(lanes_of([cursor(3, topic="a"), cursor(3, topic="b")], 8)) == 1
    assert lanes_of([], 8) == []


def test_lanes_take_turns_and_finished_ones_are_passed_over() -> None:
    lanes = [Lane([cursor()]), Lane([cursor(end=0)]), Lane([cursor()])]
    assert [next_unfinished(lanes, turn, ()) for turn in range(4)] == [0, 2, 2, 0]
    assert next_unfinished([lanes[1]], 0, ()) is None
    assert next_unfinished([], 0, ()) is None


@pytest.mark.reliability("F59")
def test_a_lane_that_waits_for_an_unreadable_partition_keeps_no_other_from_its_turn() -> None:
    failing = cursor()
    failing.failing = True
    lanes = [Lane([failing]), Lane([cursor(1)])]
    assert next_unfinished(lanes, 0, [TopicPartition("t", 1)]) == 1
    assert next_unfinished(lanes, 0, [failing.part.partition]) == 0


def test_what_was_looked_at_and_not_wanted_counts_as_done() -> None:
    one = cursor()
    one.accept(records(one.part.partition, range(200)), lambda _: False)
    Lane([one]).take(PORTION)
    assert one.position == 100


def test_nothing_counts_as_done_behind_a_record_that_is_not_committed() -> None:
    one = cursor()
    one.accept(records(one.part.partition, range(200)), lambda record: record.offset in {7, 120})
    lane = Lane([one])
    lane.take(PORTION)
    assert one.position == 7
    one.committed = 8
    assert one.position == 100
    lane.take(PORTION)
    assert one.position == 120
    one.committed = 121
    assert one.position == 200


def portions(log: dict[int, list[Record]], bring: Callable[[], int]) -> list[object]:
    """Everything of a lane, portion by portion, where a fetch brings so many records."""
    left = {number: list(some) for number, some in log.items()}
    lane = Lane([cursor(number, end=300) for number in log])
    taken: list[object] = []
    while not lane.finished:
        for wanting in lane.wanting(PORTION):
            number, size = wanting.part.partition.partition, bring()
            fetched, left[number] = left[number][:size], left[number][size:]
            if fetched:
                wanting.accept(fetched, lambda record: record.offset % 3 != 0)
            else:
                wanting.fetched, wanting.exhausted = 300, True
        if not lane.wanting(PORTION):
            handed = lane.take(PORTION)
            taken.append({partition: offsets(some) for partition, some in handed.items()})
    return taken


def test_portions_do_not_depend_on_what_each_fetch_brings(rng: Random) -> None:
    log = {
        number: [
            Record("t", number, offset, 0, None, b"x" * rng.randrange(1, 6_000))
            for offset in range(300)
            if (offset + number) % 5
        ]
        for number in range(3)
    }
    expected = portions(log, lambda: 300)
    assert len(expected) > 10
    for most in (1, 7, 40):
        assert portions(log, partial(rng.randint, 1, most)) == expected


@pytest.mark.reliability("F90")
def test_who_reads_again_keeps_nothing_of_what_was_fetched_before() -> None:
    one = cursor()
    fetched = records(one.part.partition, range(20))
    one.accept(fetched, lambda _: True)
    one.restart(5)
    one.accept(fetched[5:], lambda _: True)
    assert one.take(15, one.available(PORTION), PORTION) == fetched[5:]
    assert one.buffered_bytes == 0
