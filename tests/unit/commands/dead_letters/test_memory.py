"""What is remembered of letters."""

from __future__ import annotations

import json

import pytest

from consumer.commands.dead_letters.dead_letter_status import (
    DeadLetterStatus,
    StatusRecord,
    origin_key,
    parse_status,
)
from consumer.commands.dead_letters.status_index import StatusIndex
from consumer.contract.record import Position
from tests.unit.commands.dead_letters.builders import EVENTS, LETTERS, NOW, STAMPED_MS

KEY = origin_key(Position(EVENTS, 0, 1), STAMPED_MS, 1, "d")


def test_the_last_entry_of_a_key_counts(memory: StatusIndex) -> None:
    memory.remember(
        [
            (KEY, DeadLetterStatus.REDRIVEN),
            (b"other", DeadLetterStatus.PARKED),
            (KEY, DeadLetterStatus.DISCARDED),
        ]
    )
    assert memory.fate(KEY) is DeadLetterStatus.DISCARDED


def test_an_entry_that_was_deleted_leaves_the_letter_waiting(memory: StatusIndex) -> None:
    memory.remember([(KEY, DeadLetterStatus.REDRIVEN), (KEY, None)])
    assert memory.fate(KEY) is None


def test_a_key_is_met_for_the_first_time_once(memory: StatusIndex) -> None:
    keys = (KEY, KEY, b"other")
    assert [memory.first_seen(key) for key in keys] == [True, False, True]


def test_having_met_a_letter_is_no_fate(memory: StatusIndex) -> None:
    memory.first_seen(KEY)
    assert memory.fate(KEY) is None


def test_the_index_does_not_lie_in_memory(memory: StatusIndex) -> None:
    for number in range(20_000):
        memory.first_seen(origin_key(Position(EVENTS, 0, number), STAMPED_MS, 1, "d"))
    pages = memory._database.execute("PRAGMA page_count").fetchone()[0]
    cached_kib = -memory._database.execute("PRAGMA cache_size").fetchone()[0]
    assert memory._database.execute("PRAGMA database_list").fetchone()[2] == ""
    assert pages > 100
    assert cached_kib == 16 * 1024


@pytest.mark.parametrize("fate", list(DeadLetterStatus))
def test_an_entry_says_what_was_done_and_can_be_read_again(fate: DeadLetterStatus) -> None:
    entry = StatusRecord(
        KEY, fate, Position(LETTERS, 2, 3), NOW, Position(EVENTS, 0, 9), because="a “test”"
    )
    assert parse_status(entry.value) is fate
    assert json.loads(entry.value) == {
        "state": fate.value,
        "at": "2026-03-05T12:00:00.000Z",
        "letter": [LETTERS, 2, 3],
        "to": [EVENTS, 0, 9],
        "because": "a “test”",
    }
    assert json.loads(entry.key) == [EVENTS, 0, 1, STAMPED_MS, 1, "d"]


@pytest.mark.parametrize(
    "value", [b"", b"\xff", b"[]", b"{}", b'{"state":"lost"}', b'{"state":{}}', b"[" * 100_000]
)
@pytest.mark.reliability("F85")
def test_an_entry_that_this_version_cannot_read_still_says_that_the_letter_was_dealt_with(
    value: bytes,
) -> None:
    assert parse_status(value) is DeadLetterStatus.UNKNOWN
