"""What was deleted from the topics, kept before it went, and what may be lost by that. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from consumer.contract.record import OffsetRange, Position, Record, TopicPartition
from tests.e2e.bookkeeping import Intervals, settled_spans
from tests.e2e.processes import Service
from tests.model import Sent


@dataclass(frozen=True, slots=True)
class Deletion:
    """Records of a partition that are gone: those below ``end``.

    From ``unread`` on the group had not committed them; None: it had committed nothing, and so
    cannot know that there was anything. ``whole``: with their topic, which was
    made again. ``heard``: how many lines each consumer had logged by then, by its name.
    ``holders``: the consumers that had the partition.
    """

    partition: TopicPartition
    unread: int | None
    end: int
    whole: bool = False
    heard: Mapping[str, int] = field(default_factory=dict)
    holders: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Kept:
    """A record that is gone, and the number of its log."""

    record: Record
    log: int
    surely_read: bool
    known: bool = True
    """Whether the group can know of it."""


@dataclass(slots=True)
class History:
    """Everything that was deleted in a run."""

    records: list[Kept] = field(default_factory=list)
    letters: list[Record] = field(default_factory=list)
    deletions: list[Deletion] = field(default_factory=list)
    _logs: Counter[str] = field(default_factory=Counter)

    def log(self, topic: str) -> int:
        """Return the number of the topic's present logs: how often it was made again."""
        return self._logs[topic]

    def deleting(self, deletions: Iterable[Deletion], records: Iterable[Record]) -> None:
        """Keep what is about to be deleted; of a topic that is made again everything is."""
        made = {deletion.partition: deletion for deletion in deletions}
        for record in records:
            deletion = made.get(record.topic_partition)
            if deletion is not None and record.offset < deletion.end:
                log, unread = self.log(record.topic), deletion.unread
                read = record.offset < (unread or 0)
                self.records.append(Kept(record, log, read, known=unread is not None))
        self.deletions += made.values()
        self._logs.update({one.partition.topic for one in made.values() if one.whole})

    def had(self, position: Position) -> bool:
        """Tell whether an earlier log of a topic had a record there, too: no origin tells which."""
        return any(
            one.record.position == position and one.log < self.log(position.topic)
            for one in self.records
        )

    def settled(self, services: Iterable[Service]) -> Intervals:
        """Return what was settled of the present logs, and what nobody could settle of them."""
        whole = {one.partition: one for one in self.deletions if one.whole}
        spans = defaultdict[TopicPartition, list[tuple[int, int]]](list)
        for service in services:
            for partition, parts in settled_spans([service]).items():
                if partition in whole:
                    since = service.lines[whole[partition].heard.get(service.name, 0) :]
                    later = settled_spans([replace(service, lines=since)])
                    spans[partition] += later.get(partition, ())
                else:
                    spans[partition] += parts
        for at, one in enumerate(self.deletions):
            made_again = any(later is whole.get(one.partition) for later in self.deletions[at:])
            if not made_again and (one.unread or 0) < one.end:
                spans[one.partition].append((one.unread or 0, one.end))
        return {partition: sorted(parts) for partition, parts in spans.items()}

    def gap_problems(
        self,
        services: Sequence[Service],
        sent: Iterable[Sent],
        accounted_for: Callable[[Sent], bool],
    ) -> list[str]:
        """Whatever was deleted unread must have been said, and nothing else."""
        gaps = [gap for one in services for gap in one.gaps()]
        anew = {line["partition"] for one in services for line in one.said("log_began_anew")}
        unknown = {(one.record.position, one.log) for one in self.records if not one.known}
        found = [
            f"{gap}: told as deleted unread, and was not" for gap in gaps if not self._may_be(gap)
        ]
        for one in sent:
            if (
                one.surely_read
                or accounted_for(one)
                or any(_has(gap, one.position) for gap in gaps)
            ):
                continue
            if (one.position, one.log) in unknown:
                continue
            name = TopicPartition(*one.position[:2]).name
            whole = one.log < self.log(one.position.topic)
            if whole and (name in anew or not self._was_held(one.position, services)):
                continue
            found.append(f"{one.position} of log {one.log}: deleted unread, and nobody said so")
        return found

    def _may_be(self, gap: OffsetRange) -> bool:
        return any(
            one.whole or (gap.first < one.end and (one.unread or 0) < gap.end)
            for one in self.deletions
            if gap.partition == one.partition
        )

    def _was_held(self, position: Position, services: Iterable[Service]) -> bool:
        """Tell whether somebody had the partition when its topic went, and was there after it.

        The group's offsets go with a topic: nobody else can know that there was another one.
        """
        return any(
            service.name in one.holders
            and any(
                line["event"] == "partitions_assigned"
                for line in service.lines[one.heard[service.name] :]
            )
            for one in self.deletions
            if one.whole and one.partition == position[:2]
            for service in services
        )


def _has(gap: OffsetRange, position: Position) -> bool:
    return gap.partition == position[:2] and gap.first <= position.offset < gap.end
