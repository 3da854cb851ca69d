"""Which letters are meant."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, cast

import pytest
import typer

from consumer.commands.dead_letters.context import dead_letter_ranges
from consumer.commands.dead_letters.dead_letter_record import UnreadableDeadLetter
from consumer.commands.dead_letters.dead_letter_selection import (
    DeadLetterSelection,
    OffsetSelector,
)
from consumer.commands.dead_letters.dead_letters_cli import parse_offsets, parse_origin
from consumer.contract.record import OffsetRange, Position, TopicPartition
from consumer.contract.rejection import Reason
from consumer.kafka.ranges import EVERYTHING, Bounds
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
        ({"reasons": ("invalid", "conflict")}, True),
        ({"reasons": ("conflict",)}, False),
        ({"keys": (b"s-1",)}, True),
        ({"keys": (b"s-2",)}, False),
        ({"since": FAILED_AT}, True),
        ({"since": FAILED_AT + timedelta(milliseconds=1)}, False),
        ({"until": FAILED_AT}, False),
        ({"until": FAILED_AT + timedelta(milliseconds=1)}, True),
        ({"origins": (OffsetSelector(EVENTS),)}, True),
        ({"origins": (OffsetSelector("other"), OffsetSelector(EVENTS, 3))}, True),
        ({"origins": (OffsetSelector(EVENTS, 2),)}, False),
        ({"origins": (OffsetSelector(EVENTS, 3, 17, 17),)}, True),
        ({"origins": (OffsetSelector(EVENTS, 3, 18, 20),)}, False),
        ({"origins": (OffsetSelector(EVENTS, 3, 10, 16),)}, False),
        ({"offsets": (OffsetSelector(None, 0, 0, 0),)}, True),
        ({"offsets": (OffsetSelector(None, 1), OffsetSelector(None, 0, 1, 5))}, False),
        ({"reasons": ("invalid",), "keys": (b"s-2",)}, False),
    ],
)
def test_every_filter_must_hold_and_of_each_any_value_will_do(
    selection: dict[str, Any], selected: bool
) -> None:
    letter = a_letter(origin=HERE, reason=Reason.INVALID)
    assert DeadLetterSelection(**selection).selects(letter) is selected


@pytest.mark.parametrize(
    ("selection", "selected"),
    [
        ({}, True),
        ({"reasons": ("unreadable",)}, True),
        ({"reasons": ("invalid",)}, False),
        ({"offsets": (OffsetSelector(None, 0, 0, 0),)}, True),
        ({"offsets": (OffsetSelector(None, 0, 1, 1),)}, False),
        ({"keys": (b"s-1",)}, False),
        ({"since": NOW}, False),
        ({"until": NOW}, False),
        ({"origins": (OffsetSelector(EVENTS),)}, False),
    ],
)
def test_an_unreadable_letter_is_found_by_its_offset_or_its_name(
    selection: dict[str, Any], selected: bool
) -> None:
    letter = UnreadableDeadLetter(DeadLetterLog().append(b"s-1", b"junk", ()), "")
    assert DeadLetterSelection(**selection).selects(letter) is selected


@pytest.mark.parametrize(
    ("text", "offsets"),
    [
        ("3", OffsetSelector(None, 3)),
        (" 3:17 ", OffsetSelector(None, 3, 17, 17)),
        ("0:17-40", OffsetSelector(None, 0, 17, 40)),
    ],
)
def test_offsets_are_those_of_a_partition_or_some_of_them(
    text: str, offsets: OffsetSelector
) -> None:
    assert parse_offsets(text) == offsets


@pytest.mark.parametrize("text", ["", "x", "3:", "3:4-", "-1", "3:9-4", "3:1:2", "٣"])
def test_what_are_no_offsets_is_refused_in_words(text: str) -> None:
    with pytest.raises(typer.BadParameter, match=r"PARTITION|behind"):
        parse_offsets(text)


def test_an_origin_is_a_topic_and_perhaps_offsets() -> None:
    assert parse_origin(EVENTS) == OffsetSelector(EVENTS)
    assert parse_origin(f"{EVENTS}:3:17-40") == OffsetSelector(EVENTS, 3, 17, 40)
    with pytest.raises(typer.BadParameter, match="TOPIC"):
        parse_origin("a b")


class Reader:
    """Remembers which parts of a topic it was asked for."""

    def __init__(self) -> None:
        self.asked: list[Bounds] = []

    async def ranges(self, topics: Iterable[str], bounds: Bounds = EVERYTHING) -> list[OffsetRange]:
        self.asked.append(bounds)
        return [OffsetRange(TopicPartition(topic, 0), 0, 9) for topic in topics]


@pytest.mark.reliability("F90")
async def test_letters_are_looked_for_an_hour_earlier_since_clocks_differ() -> None:
    reader = Reader()
    await dead_letter_ranges(cast("Any", reader), "letters", DeadLetterSelection(since=FAILED_AT))
    an_hour_earlier = int((FAILED_AT - timedelta(hours=1)).timestamp() * 1000)
    assert reader.asked == [Bounds(from_ms=an_hour_earlier)]
