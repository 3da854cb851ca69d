"""What a dry run remembers lies on the disk, and is gone afterwards."""

from __future__ import annotations

from consumer.commands.common.scratch import scratch_database
from consumer.commands.replay.remembered import Remembered


async def test_what_was_remembered_last_is_recalled() -> None:
    one, other = ("event", "s", "e"), ("create", "s")
    with scratch_database() as database:
        remembered = Remembered(database)
        await remembered.remember({one: b"first", other: b"other"})
        await remembered.remember({one: b"last"})
        assert await remembered.recall([one, ("end", "s")]) == {one: b"last"}
        assert await remembered.recall([]) == {}


async def test_ids_are_told_apart_wherever_they_are_cut() -> None:
    with scratch_database() as database:
        remembered = Remembered(database)
        await remembered.remember({("event", "a", "bc"): b"x"})
        assert await remembered.recall([("event", "ab", "c"), ("eventa", "bc")]) == {}
