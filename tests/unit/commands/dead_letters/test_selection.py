"""Which letters are meant."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from consumer.commands.dead_letters.dead_letter_reader import letter_ranges
from consumer.commands.dead_letters.dead_letter_record import UnreadableDeadLetter
from consumer.commands.dead_letters.dead_letter_selection import (
    Origin,
    PartitionOffsets,
    Selection,
    parse_moment,
    parse_origin,
    parse_partition_offsets,
)
from consumer.contract.record import Position, Record, TopicPartition
from consumer.contract.rejection import Reason
from consumer.kafka.ranges import EVERYTHING, Bounds, OffsetRange
from tests.unit.commands.dead_letters.builders import (
    EVENTS,
    FAILED_AT,
    NOW,
    DeadLetterLog,
    a_letter,
)

HERE = Position(EVENTS, 3, 17)


@pytest.mark.parametrize(
    ("selection", "selected"),
    [
        ({}, True),
        ({"reasons": frozenset({"invalid", "conflict"})}, True),
        ({"reasons": frozenset({"conflict"})}, False),
        ({"keys": frozenset({b"s-1"})}, True),
        ({"keys": frozenset({b"s-2"})}, False),
        ({"since": FAILED_AT}, True),
        ({"since": FAILED_AT + timedelta(milliseconds=1)}, False),
        ({"until": FAILED_AT}, False),
        ({"until": FAILED_AT + timedelta(milliseconds=1)}, True),
        ({"origins": (Origin(EVENTS),)}, True),
        ({"origins": (Origin("other"), Origin(EVENTS, PartitionOffsets(3)))}, True),
        ({"origins": (Origin(EVENTS, PartitionOffsets(2)),)}, False),
        ({"origins": (Origin(EVENTS, PartitionOffsets(3, 17, 17)),)}, True),
        ({"origins": (Origin(EVENTS, PartitionOffsets(3, 18, 20)),)}, False),
        ({"origins": (Origin(EVENTS, PartitionOffsets(3, 10, 16)),)}, False),
        ({"places": (PartitionOffsets(0, 0, 0),)}, True),
        ({"places": (PartitionOffsets(1), PartitionOffsets(0, 1, 5))}, False),
        ({"reasons": frozenset({"invalid"}), "keys": frozenset({b"s-2"})}, False),
    ],
)
def test_every_filter_must_hold_and_of_each_any_value_will_do(
    selection: dict[str, Any], selected: bool
) -> None:
    letter = a_letter(origin=HERE, reason=Reason.INVALID)
    assert Selection(**selection).selects(letter) is selected


@pytest.mark.parametrize(
    ("selection", "selected"),
    [
        ({}, True),
        ({"reasons": frozenset({"unreadable"})}, True),
        ({"reasons": frozenset({"invalid"})}, False),
        ({"places": (PartitionOffsets(0, 0, 0),)}, True),
        ({"places": (PartitionOffsets(0, 1, 1),)}, False),
        ({"keys": frozenset({b"s-1"})}, False),
        ({"since": NOW}, False),
        ({"until": NOW}, False),
        ({"origins": (Origin(EVENTS),)}, False),
    ],
)
def test_an_unreadable_letter_is_found_by_its_place_or_its_name(
    selection: dict[str, Any], selected: bool
) -> None:
    letter = UnreadableDeadLetter(DeadLetterLog().append(b"s-1", b"junk", ()), "")
    assert Selection(**selection).selects(letter) is selected


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("3", PartitionOffsets(3)),
        (" 3:17 ", PartitionOffsets(3, 17, 17)),
        ("0:17-40", PartitionOffsets(0, 17, 40)),
    ],
)
def test_a_place_is_a_partition_and_perhaps_offsets(text: str, place: PartitionOffsets) -> None:
    assert parse_partition_offsets(text) == place


@pytest.mark.parametrize("text", ["", "x", "3:", "3:4-", "-1", "3:9-4", "3:1:2", "٣"])
def test_what_is_no_place_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match=r"PARTITION|behind"):
        parse_partition_offsets(text)


def test_an_origin_is_a_topic_and_perhaps_a_place() -> None:
    assert parse_origin(EVENTS) == Origin(EVENTS)
    assert parse_origin(f"{EVENTS}:3:17-40") == Origin(EVENTS, PartitionOffsets(3, 17, 40))
    with pytest.raises(ValueError, match="TOPIC"):
        parse_origin("a b")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-03-04T10:00:00+01:00", datetime(2026, 3, 4, 9, tzinfo=UTC)),
        ("2026-03-04", datetime(2026, 3, 4, tzinfo=UTC)),
        ("26h", NOW - timedelta(hours=26)),
        ("7d", NOW - timedelta(days=7)),
        ("90s", NOW - timedelta(seconds=90)),
    ],
)
def test_a_moment_is_a_time_a_date_or_how_long_ago(text: str, moment: datetime) -> None:
    assert parse_moment(text, NOW) == moment


@pytest.mark.parametrize("text", ["", "yesterday", "10:00", "2026-13-01", "999999d", "1w"])
def test_what_is_no_moment_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time"):
        parse_moment(text, NOW)


class Reader:
    """Remembers which parts of a topic it was asked for."""

    def __init__(self) -> None:
        self.asked: list[Bounds] = []

    async def partitions_of(self, topics: Iterable[str]) -> list[TopicPartition]:
        return [TopicPartition(topic, 0) for topic in topics]

    async def ranges(
        self, partitions: Sequence[TopicPartition], bounds: Bounds = EVERYTHING
    ) -> list[OffsetRange]:
        self.asked.append(bounds)
        return [OffsetRange(partition, 0, 9) for partition in partitions]

    async def read(
        self, ranges: Iterable[OffsetRange], *, max_records: int = 1
    ) -> AsyncIterator[tuple[TopicPartition, Sequence[Record]]]:
        for part in ranges:
            yield part.partition, ()


@pytest.mark.reliability("F90")
async def test_letters_are_looked_for_an_hour_earlier_since_clocks_differ() -> None:
    reader = Reader()
    await letter_ranges(reader, "letters", Selection(since=FAILED_AT))
    an_hour_earlier = int((FAILED_AT - timedelta(hours=1)).timestamp() * 1000)
    assert reader.asked == [Bounds(from_ms=an_hour_earlier)]
