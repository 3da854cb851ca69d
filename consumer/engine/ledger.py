"""Which offsets may be committed. Pure: no client, no clock.

Three words, per partition:

taken      handed to the engine; the next poll begins behind it
settled    ended in exactly one counted outcome, dead letters acknowledged
committable the offset below which everything taken is settled

Only committable offsets are ever committed. A client's own position counts what
was handed out, so committing it would lose whatever is unwritten at a crash.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from consumer.contract.record import TopicPartition
from consumer.ports import NO_HOLDS, Hold, Holds


class LedgerError(AssertionError):
    """An offset moved in a way that would lose records: a defect, never an input."""


@dataclass(slots=True, eq=False)
class Span:
    """A contiguous range of one partition, taken together. ``end`` is exclusive."""

    partition: TopicPartition
    epoch: int
    first: int
    end: int
    settled: bool = False


@dataclass(slots=True)
class _Entry:
    taken: int
    committable: int
    committed: int | None
    told: bool = True
    """Whether what is committed beside the offset says of ``hold`` what is so."""
    hold: Hold | None = None
    spans: deque[Span] = field(default_factory=deque)


class Ledger:
    """The offsets of the current assignment.

    Every assignment has an epoch; a span of an older one changes nothing any
    more, since its partition may have another owner or another history now.
    """

    def __init__(self) -> None:
        """Begin with no partition."""
        self._epoch = 0
        self._revision = 0
        self._entries: dict[TopicPartition, _Entry] = {}
        self._held_before: set[TopicPartition] = set()  # dropped; its commit may land late

    @property
    def epoch(self) -> int:
        """The number of the current assignment."""
        return self._epoch

    @property
    def revision(self) -> int:
        """Changes with every epoch and every starting point.

        What had been offered for commit before may speak of another history of the partition.
        """
        return self._revision

    def new_epoch(self) -> int:
        """Forget every partition and outdate every span: revoked, lost or newly assigned."""
        self._entries.clear()
        self._held_before.clear()
        self._epoch += 1
        self._revision += 1
        return self._epoch

    def seed(
        self,
        partition: TopicPartition,
        offset: int,
        committed: int | None = None,
        *,
        held: bool = False,
    ) -> None:
        """Begin (or, after the log began anew, begin again) a partition at ``offset``.

        ``held``: what is committed still tells of a hold, which is over.
        """
        told = not held and partition not in self._held_before
        self._held_before.discard(partition)
        self._entries[partition] = _Entry(offset, offset, committed, told)
        self._revision += 1

    def drop(self, partition: TopicPartition) -> None:
        """Forget a partition whose log is no more, and outdate its spans, until it begins again."""
        entry = self._entries.pop(partition, None)
        if entry is not None and entry.hold is not None:
            self._held_before.add(partition)
        self._revision += 1

    def __contains__(self, partition: object) -> bool:
        """Whether the partition has a starting point in this epoch."""
        return partition in self._entries

    def __iter__(self) -> Iterator[TopicPartition]:
        """The partitions with a starting point."""
        return iter(self._entries)

    def taken(self, partition: TopicPartition) -> int:
        """The offset at which the next poll must begin."""
        return self._entries[partition].taken

    def committable(self, partition: TopicPartition) -> int:
        """The offset below which everything taken is settled."""
        return self._entries[partition].committable

    def committed(self, partition: TopicPartition) -> int | None:
        """What this member knows to be committed, None where nothing is."""
        return self._entries[partition].committed

    def clean(self, partition: TopicPartition) -> bool:
        """Whether nothing of the partition is taken and unsettled."""
        return not self._entries[partition].spans

    def take(self, partition: TopicPartition, first: int, end: int) -> Span:
        """Hand out the records ``first`` to ``end`` (exclusive).

        Offsets between the last taken and ``first`` do not exist for readers
        (transaction markers, aborted records), so they count as settled.
        """
        entry = self._entries[partition]
        if first < entry.taken or end <= first:
            raise LedgerError(f"{partition}: took {first}..{end}, expected {entry.taken} or later")
        span = Span(partition, self._epoch, first, end)
        entry.spans.append(span)
        entry.taken = end
        return span

    def settle(self, span: Span) -> bool:
        """Count a span as done. False, and no effect, where it is outdated or was given back."""
        entry = self._entries.get(span.partition)
        if span.epoch != self._epoch or entry is None or span not in entry.spans:
            return False
        span.settled = True
        while entry.spans and entry.spans[0].settled:
            entry.committable = entry.spans.popleft().end
        return True

    def give_back(self, span: Span, hold: Hold | None = None) -> bool:
        """Undo a take, with all taken behind it; the next poll begins at its first record.

        ``hold``: why it will not come soon, which is worth committing.
        """
        entry = self._entries.get(span.partition)
        if span.epoch != self._epoch or entry is None or span not in entry.spans:
            return False
        while entry.spans[-1] is not span:
            entry.spans.pop()
        entry.spans.pop()
        entry.taken = span.first
        if hold is not None:
            entry.hold, entry.told = hold, False
        return True

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Take their holds back. A commit that tells of one may be on its way already."""
        for partition in partitions:
            entry = self._entries.get(partition)
            if entry is not None and entry.hold is not None:
                entry.hold, entry.told = None, False

    def pass_to(self, partition: TopicPartition, offset: int | None) -> None:
        """Follow the reader over offsets without records, where nothing before is unsettled."""
        entry = self._entries.get(partition)
        if entry is not None and offset is not None and not entry.spans and offset > entry.taken:
            entry.taken = entry.committable = offset

    def skip_to(self, partition: TopicPartition, offset: int) -> None:
        """Move a clean partition over offsets whose records are gone."""
        entry = self._entries[partition]
        if entry.spans or offset < entry.taken:
            raise LedgerError(f"{partition}: cannot skip to {offset} from {entry.taken}")
        entry.taken = entry.committable = offset

    def uncommitted(self) -> dict[TopicPartition, int]:
        """What is worth committing now: partition to the offset of the next record to read.

        A hold is worth it where nothing else is, but no commit goes below an earlier one.
        """
        return {
            partition: entry.committable
            for partition, entry in self._entries.items()
            if _progressed(entry)
            or (not entry.told and entry.committable >= (entry.committed or 0))
        }

    def holds(self, partitions: Collection[TopicPartition]) -> Holds:
        """Why those of the partitions that are held are."""
        entries = ((partition, self._entries[partition]) for partition in partitions)
        return {partition: entry.hold for partition, entry in entries if entry.hold is not None}

    def mark_committed(
        self,
        offsets: Iterable[tuple[TopicPartition, int]],
        revision: int,
        holds: Holds = NO_HOLDS,
    ) -> None:
        """Remember what the broker has acknowledged, if the revision is still the same."""
        if revision != self._revision:
            return
        for partition, offset in offsets:
            entry = self._entries[partition]
            if offset > entry.committable:
                raise LedgerError(f"{partition}: committed {offset} past {entry.committable}")
            entry.committed = offset
            # Held or resumed meanwhile, it is to be told by the next one.
            entry.told = holds.get(partition) is entry.hold


def _progressed(entry: _Entry) -> bool:
    return entry.committable > (entry.committed or 0)
