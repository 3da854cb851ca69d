"""What became of dead letters: in the status topic and in the index."""

from __future__ import annotations

import json

import pytest

from consumer.commands.common.scratch import CACHE_KIB
from consumer.commands.dead_letters.dead_letter_status import (
    DeadLetterStatus,
    StatusIndex,
    parse_status,
    status_value,
)
from consumer.contract.record import Position
from tests.unit.commands.dead_letters.builders import EVENTS, LETTERS, NOW

KEY = b"a failure"


def test_the_last_entry_of_a_key_counts(statuses: StatusIndex) -> None:
    statuses.add(
        [
            (KEY, DeadLetterStatus.REDRIVEN),
            (b"other", DeadLetterStatus.PARKED),
            (KEY, DeadLetterStatus.DISCARDED),
        ]
    )
    assert statuses.status(KEY) is DeadLetterStatus.DISCARDED


def test_an_entry_that_was_deleted_leaves_the_letter_waiting(statuses: StatusIndex) -> None:
    statuses.add([(KEY, DeadLetterStatus.REDRIVEN), (KEY, None)])
    assert statuses.status(KEY) is None


def test_a_key_is_seen_for_the_first_time_once(statuses: StatusIndex) -> None:
    keys = (KEY, KEY, b"other")
    assert [statuses.first_seen(key) for key in keys] == [True, False, True]


def test_having_seen_a_letter_is_no_status(statuses: StatusIndex) -> None:
    statuses.first_seen(KEY)
    assert statuses.status(KEY) is None


def test_the_index_does_not_lie_in_memory(statuses: StatusIndex) -> None:
    for number in range(20_000):
        statuses.first_seen(b"another failure %d" % number)
    pages = statuses._database.execute("PRAGMA page_count").fetchone()[0]
    cached_kib = -statuses._database.execute("PRAGMA cache_size").fetchone()[0]
    assert statuses._database.execute("PRAGMA database_list").fetchone()[2] == ""
    assert pages > 100
    assert cached_kib == CACHE_KIB


@pytest.mark.parametrize("status", list(DeadLetterStatus))
def test_an_entry_says_what_was_done_and_can_be_read_again(status: DeadLetterStatus) -> None:
    value = status_value(
        status, Position(LETTERS, 2, 3), NOW, Position(EVENTS, 0, 9), reason="a “test”"
    )
    assert parse_status(value) is status
    assert json.loads(value) == {
        "state": status.value,
        "at": "2026-03-05T12:00:00.000Z",
        "letter": [LETTERS, 2, 3],
        "to": [EVENTS, 0, 9],
        "because": "a “test”",
    }


@pytest.mark.parametrize(
    "value", [b"", b"\xff", b"[]", b"{}", b'{"state":"lost"}', b'{"state":{}}', b"[" * 100_000]
)
@pytest.mark.reliability("F85")
def test_an_entry_that_this_version_cannot_read_still_says_that_the_letter_was_dealt_with(
    value: bytes,
) -> None:
    assert parse_status(value) is DeadLetterStatus.UNKNOWN
