"""Reading the two topics, each up to the end it has when reading begins."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final, Protocol

from consumer.commands.dead_letters.dead_letter_record import (
    DeadLetterRecord,
    UnreadableDeadLetter,
    read_letter,
)
from consumer.commands.dead_letters.dead_letter_selection import PartitionOffsets, Selection
from consumer.commands.dead_letters.dead_letter_status import parse_status
from consumer.commands.dead_letters.status_index import StatusIndex
from consumer.contract.record import Record, TopicPartition
from consumer.kafka.ranges import EVERYTHING, Bounds, OffsetRange

Advance = Callable[[int], None]

READ_AT_ONCE: Final = 500
CLOCKS_APART: Final = timedelta(hours=1)
"""How far a letter's timestamp may lie before the failure it tells of: by another clock."""


class Reader(Protocol):
    """What is asked of a reader of parts of topics."""

    async def partitions_of(self, topics: Iterable[str]) -> list[TopicPartition]:
        """Return the partitions of topics that exist."""
        ...

    async def ranges(
        self, partitions: Sequence[TopicPartition], bounds: Bounds = EVERYTHING
    ) -> list[OffsetRange]:
        """Return what the bounds select of each partition, up to the ends of this moment."""
        ...

    def read(
        self, ranges: Iterable[OffsetRange], *, max_records: int = READ_AT_ONCE
    ) -> AsyncIterator[tuple[TopicPartition, Sequence[Record]]]:
        """Yield the records of the ranges, each partition's in order."""
        ...


async def letter_ranges(reader: Reader, topic: str, selection: Selection) -> list[OffsetRange]:
    """Return where the selected letters lie: at least there, perhaps others among them."""
    bounds = EVERYTHING
    if selection.since is not None:
        earliest = selection.since.timestamp() - CLOCKS_APART.total_seconds()
        bounds = Bounds(from_ms=max(0, int(earliest * 1000)))
    ranges = await reader.ranges(await reader.partitions_of([topic]), bounds)
    if not selection.places:
        return ranges
    return [
        narrowed for part in ranges if (narrowed := _narrowed(part, selection.places)) is not None
    ]


def _narrowed(part: OffsetRange, places: Sequence[PartitionOffsets]) -> OffsetRange | None:
    """Cut the range to what spans the places in its partition; None where there is none."""
    here = [place for place in places if place.partition == part.partition.partition]
    if not here:
        return None
    first = min(0 if place.first is None else place.first for place in here)
    end = max(part.end if place.last is None else place.last + 1 for place in here)
    return replace(part, first=max(part.first, first), end=min(part.end, end))


async def letter_batches(
    reader: Reader, ranges: Sequence[OffsetRange], selection: Selection, advance: Advance
) -> AsyncIterator[Sequence[DeadLetterRecord | UnreadableDeadLetter]]:
    """Yield the selected letters. ``advance`` is told how many records have been read."""
    async for _, records in reader.read(ranges, max_records=READ_AT_ONCE):
        letters = (read_letter(record) for record in records)
        yield [letter for letter in letters if selection.selects(letter)]
        advance(len(records))


async def load_statuses(reader: Reader, topic: str, memory: StatusIndex, advance: Advance) -> None:
    """Read the state topic into the memory."""
    ranges = await reader.ranges(await reader.partitions_of([topic]))
    async for _, records in reader.read(ranges, max_records=READ_AT_ONCE):
        memory.remember(
            (record.key, None if record.value is None else parse_status(record.value))
            for record in records
            if record.key is not None
        )
        advance(len(records))
