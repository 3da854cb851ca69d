"""What is known of a record that has no dead letter."""

from __future__ import annotations

import sqlite3

import pytest

from consumer.commands.audit.letters import DeadLetterIndex
from consumer.contract.record import NO_TIMESTAMP, Position


@pytest.mark.parametrize("timestamp_ms", [NO_TIMESTAMP, 0, 1_772_618_400_000])
def test_where_no_letter_has_expired_none_was_ever_there_whatever_the_records_time(
    timestamp_ms: int,
) -> None:
    with sqlite3.connect(":memory:", isolation_level=None) as database:
        letters = DeadLetterIndex(database, "group")
        letter = letters.of(Position("events", 0, 1), timestamp_ms)
    database.close()
    assert (letter.reason, letter.expired) == (None, False)
