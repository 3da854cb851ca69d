"""The order in which ranges are handed out: the same on every run over the same log. Pure.

Partitions of one number, of all topics, share a lane, since a session lives in them; lanes
take turns. A portion is cut by what the log holds, never by what a fetch happened to bring,
so that a dry run and the run behind it meet the same records in the same order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from consumer.contract.record import Record, TopicPartition
from consumer.kafka.ranges import OffsetRange


@dataclass(frozen=True, slots=True)
class Portion:
    """What ends a portion: so many records of a lane; so many bytes, or offsets, of a partition.

    The offsets let a filter that finds little make progress, and share the turns.
    """

    records: int
    partition_bytes: int
    partition_offsets: int


@dataclass(frozen=True, slots=True)
class Available:
    """What a partition has for a portion. ``whole``: no limit but the offsets' has cut it."""

    records: int
    whole: bool


@dataclass(slots=True, eq=False)
class Cursor:
    """How far reading of one range is.

    ``fetched``: the next offset to fetch; ``exhausted``: fetched to the end; ``failing``: the
    last attempt to fetch has failed.
    ``scanned``: everything below is handed out, or was not wanted. The buffer holds what is
    wanted of the records between the two.
    ``handed``: the end of what was handed out. ``pending``: where it began, since the last time
    when all of it was ``committed``.
    """

    part: OffsetRange
    scanned: int = 0
    fetched: int = 0
    handed: int = 0
    pending: int = 0
    committed: int = 0
    exhausted: bool = False
    failing: bool = False
    buffer: deque[Record] = field(default_factory=deque)
    buffered_bytes: int = 0

    def __post_init__(self) -> None:
        """Begin at the first offset."""
        self.committed = self.part.first
        self.restart(self.part.first)

    def restart(self, offset: int) -> None:
        """Read again from ``offset`` on."""
        self.scanned = self.fetched = self.handed = self.pending = offset
        self.exhausted = offset >= self.part.end
        self.buffer.clear()
        self.buffered_bytes = 0

    def accept(self, records: Sequence[Record], matches: Callable[[Record], bool]) -> None:
        """Buffer what is wanted of fetched records, up to the end of the range."""
        end = self.part.end
        self.fetched = records[-1].offset + 1
        if self.fetched >= end:
            self.exhausted = True
            records = [record for record in records if record.offset < end]
        wanted = list(filter(matches, records))
        self.buffer.extend(wanted)
        self.buffered_bytes += sum(record.size for record in wanted)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to hand out."""
        return self.scanned >= self.part.end

    @property
    def position(self) -> int:
        """Where reading may be taken up again without missing a record.

        What was not wanted counts as done as soon as all that was handed out before it is
        committed: a filter that finds little still makes progress.
        """
        if self.committed >= self.handed:
            return self.scanned
        return max(self.committed, self.pending)

    def ready(self, portion: Portion) -> bool:
        """Whether enough is fetched to know what this partition has for a portion."""
        return (
            self.exhausted
            or self.fetched >= self.scanned + portion.partition_offsets
            or not self.available(portion).whole
        )

    def available(self, portion: Portion) -> Available:
        """Return what is buffered for a portion; final when the cursor is ready."""
        limit, room = self.scanned + portion.partition_offsets, portion.partition_bytes
        if not self.buffer:
            return Available(0, whole=True)
        if self.buffered_bytes < room and self.buffer[-1].offset < limit:
            # The usual case, asked after every fetch: no need to look at each record.
            count = min(len(self.buffer), portion.records)
            return Available(count, whole=count < portion.records)
        count = 0
        for record in self.buffer:
            if record.offset >= limit:
                break
            count += 1
            room -= record.size
            if room <= 0 or count == portion.records:
                return Available(count, whole=False)
        return Available(count, whole=True)

    def take(self, count: int, available: Available, portion: Portion) -> list[Record]:
        """Take so many of the records that are available for the portion."""
        border = min(self.scanned + portion.partition_offsets, self.part.end)
        taken = [self.buffer.popleft() for _ in range(count)]
        self.buffered_bytes -= sum(record.size for record in taken)
        if taken:
            if self.committed >= self.handed:
                self.pending = taken[0].offset
            self.handed = self.scanned = taken[-1].offset + 1
        if available.whole and count == available.records:
            # Never beyond, even where it is known what lies there: a portion must not end
            # elsewhere because a fetch happened to reach further.
            self.scanned = border
        return taken


@dataclass(slots=True, eq=False)
class Lane:
    """Cursors that are handed out together, by topic and partition."""

    cursors: Sequence[Cursor]
    partitions: frozenset[TopicPartition] = frozenset()

    def __post_init__(self) -> None:
        """Remember whose they are."""
        self.partitions = frozenset(cursor.part.partition for cursor in self.cursors)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to hand out."""
        return all(cursor.finished for cursor in self.cursors)

    def set_aside(self, idle: Collection[TopicPartition]) -> bool:
        """Tell whether a partition that cannot be read is left alone for a while: not ``idle``."""
        return any(cursor.failing and cursor.part.partition not in idle for cursor in self.cursors)

    def wanting(self, portion: Portion) -> list[Cursor]:
        """Return the cursors of which more must be fetched before the next portion is known."""
        return [cursor for cursor in self.cursors if not cursor.ready(portion)]

    def take(self, portion: Portion) -> Mapping[TopicPartition, list[Record]]:
        """Take the next portion, shared evenly among the partitions that have records."""
        available = [cursor.available(portion) for cursor in self.cursors]
        shares = fair_shares([one.records for one in available], portion.records)
        taken = {
            cursor.part.partition: cursor.take(share, one, portion)
            for cursor, share, one in zip(self.cursors, shares, available, strict=True)
        }
        return {partition: records for partition, records in taken.items() if records}


def fair_shares(available: Sequence[int], total: int) -> list[int]:
    """Share ``total`` evenly; what one cannot use goes to the others."""
    shares = [0] * len(available)
    left = total
    ascending = sorted(range(len(available)), key=lambda index: available[index])
    for place, index in enumerate(ascending):
        shares[index] = min(available[index], left // (len(ascending) - place))
        left -= shares[index]
    return shares


def lanes_of(cursors: Iterable[Cursor], most: int) -> list[Lane]:
    """Arrange cursors in at most ``most`` lanes, all topics' partitions of a number in one."""
    ordered = sorted(cursors, key=lambda cursor: cursor.part.partition)
    numbers = sorted({cursor.part.partition.partition for cursor in ordered})
    lane_of = {number: place % most for place, number in enumerate(numbers)}
    lanes: list[list[Cursor]] = [[] for _ in range(min(most, len(numbers)))]
    for cursor in ordered:
        lanes[lane_of[cursor.part.partition.partition]].append(cursor)
    return [Lane(members) for members in lanes]


def next_unfinished(
    lanes: Sequence[Lane], turn: int, idle: Collection[TopicPartition]
) -> int | None:
    """Return whose turn it is, from ``turn`` on; None where there is none.

    A lane that waits for a partition which cannot be read is passed over, or none would go on.
    """
    for step in range(len(lanes)):
        place = (turn + step) % len(lanes)
        if not lanes[place].finished and not lanes[place].set_aside(idle):
            return place
    return None
