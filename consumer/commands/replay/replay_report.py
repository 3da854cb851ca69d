"""What a replay has done, or would do: a table for people, JSON for scripts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from consumer.commands.common.output import (
    NOTHING_SELECTED,
    console,
    partition_table,
)
from consumer.commands.common.selected_ranges import LeftOut
from consumer.commands.replay.replay_request import ReplayProgress
from consumer.contract.record import TopicPartition
from consumer.contract.rejection import Reason
from consumer.errors import ExitCode
from consumer.kafka.ranges import DELETED
from consumer.ports import PartitionReport
from consumer.printable import printable
from consumer.quantities import plural
from consumer.state.outcomes import MARK_NAMES, Mark, Outcome

_OTHERS = {
    "already there": (Outcome.REDELIVERED, Outcome.DUPLICATE),
    "conflict": (Outcome.CONFLICT,),
    "dead letter": (Outcome.DEAD_LETTERED,),
    "skipped": (Outcome.SKIPPED,),
}
DONE = {"applied": (Outcome.APPLIED,)} | _OTHERS
WOULD_BE = {"would insert": (Outcome.APPLIED,)} | _OTHERS

MARKS = {
    Mark.KEY_MISMATCH: "with another key than the sessionId",
    Mark.EXPIRED: "skipped, since older than mongo.retention_days",
    Mark.DOUBTFUL_TIMESTAMP: "with a timestamp that cannot be right, so that nothing of it expires",
}


@dataclass(slots=True)
class OutcomeCounts:
    """How records ended; ``reasons`` of those that were rejected."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    reasons: Counter[Reason] = field(default_factory=Counter)
    marks: Counter[Mark] = field(default_factory=Counter)

    @property
    def records(self) -> int:
        """How many records have ended."""
        return self.outcomes.total()

    def add(self, others: OutcomeCounts | PartitionReport) -> None:
        """Count others, too."""
        self.outcomes.update(others.outcomes)
        self.reasons.update(others.reasons)
        self.marks.update(others.marks)


@dataclass(frozen=True, slots=True)
class ListCounts:
    """What became of the records that a file lists; the names are those of the JSON."""

    restored: int = 0
    """Altered documents that were put back; they count as applied."""
    altered_left_out: int = 0
    """Altered documents that were not asked to be put back."""
    repeated_left_out: int = 0
    """Records whose document is there more than once: no replay can mend that."""
    listed_not_found: int = 0
    """Records that the log does not hold any more."""


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """The result of a replay. ``progress``: what was to be read, and up to where that is done.

    ``finished``: nothing is left to do.
    """

    dry_run: bool
    finished: bool
    progress: ReplayProgress
    counts: Mapping[TopicPartition, OutcomeCounts]
    seconds: float
    dead_letters: str | None
    """The topic they were sent to, None where they were only counted."""
    of_list: ListCounts = ListCounts()
    left_out: LeftOut = field(default_factory=LeftOut)
    nothing_found: bool = False
    """Sessions were asked for, and there was no record of any."""
    contradictions: int = 0
    """Of a dry run: records that contradict one of another partition, of which either may come
    first when it is run."""

    @property
    def total(self) -> OutcomeCounts:
        """The sum over all partitions."""
        total = OutcomeCounts()
        for counts in self.counts.values():
            total.add(counts)
        return total

    @property
    def complete(self) -> bool:
        """Whether every offset of the ranges was read, or never had a record to be read."""
        return self.finished and not self.progress.unread

    @property
    def deleted_unread(self) -> int:
        """Offsets that the brokers deleted before they were read."""
        return sum(part.offsets for part in self.progress.unread if part.cause == DELETED)

    @property
    def exit_code(self) -> ExitCode:
        """How the command ends."""
        if not self.finished:
            return ExitCode.DEADLINE
        if self.nothing_found:
            return ExitCode.FOUND
        missed = self.progress.unread or self.of_list.listed_not_found
        return ExitCode.FOUND if missed else ExitCode.DONE


def print_replay(report: ReplayReport, *, as_json: bool) -> None:
    """Print to standard output."""
    if as_json:
        console().out(json.dumps(_facts(report)))
    else:
        _print_tables(report)


def _facts(report: ReplayReport) -> dict[str, object]:
    return {
        "dry_run": report.dry_run,
        "complete": report.complete,
        **_counts(report.total),
        "dead_letter_topic": report.dead_letters,
        **asdict(report.of_list),
        **asdict(report.left_out),
        "nothing_found": report.nothing_found,
        "deleted_unread": report.deleted_unread,
        "unread": [part.facts() for part in report.progress.unread],
        "contradictions": report.contradictions,
        "seconds": round(report.seconds, 3),
        "partitions": [
            part.partition._asdict()
            | {"first": part.first, "end": part.end, "next": report.progress.position(part)}
            | _counts(report.counts.get(part.partition, OutcomeCounts()))
            for part in report.progress.ranges
        ],
    }


def _counts(counts: OutcomeCounts) -> dict[str, object]:
    return {
        "records": counts.records,
        "outcomes": {outcome.value: counts.outcomes[outcome] for outcome in Outcome},
        "reasons": {reason.value: count for reason, count in sorted(counts.reasons.items())},
        **{name: counts.marks[mark] for mark, name in MARK_NAMES.items()},
    }


def _print_tables(report: ReplayReport) -> None:
    columns, out = (WOULD_BE if report.dry_run else DONE), console()
    rows = {
        printable(part.partition.name): [
            f"{part.first}-{part.end - 1}",
            *_cells(report.counts.get(part.partition, OutcomeCounts()), columns),
        ]
        for part in report.progress.ranges
        if part.offsets
    }
    if report.dry_run:
        out.print("Dry run: nothing was written")
    total = ["", *_cells(report.total, columns)]
    out.print(partition_table(("offsets", "records", *columns), rows, total))
    for line in _remarks(report, report.total):
        out.print(line, markup=False)


def _cells(counts: OutcomeCounts, columns: Mapping[str, Sequence[Outcome]]) -> list[str]:
    cells = [sum(counts.outcomes[outcome] for outcome in ones) for ones in columns.values()]
    return [f"{count:,}" for count in (counts.records, *cells)]


def _remarks(report: ReplayReport, total: OutcomeCounts) -> Iterable[str]:
    if not any(part.offsets for part in report.progress.ranges):
        yield NOTHING_SELECTED
    if total.reasons:
        yield _of_dead_letters(report, total)
    if report.contradictions:
        yield (
            f"may differ: {plural(report.contradictions, 'record')} of other content than a "
            "record of another partition about the same; the first that comes is applied"
        )
    yield from _of_list(report.of_list, dry_run=report.dry_run)
    if report.deleted_unread:
        lost = plural(report.deleted_unread, "offset")
        yield f"{lost} deleted by the brokers before they could be read"
    yield from (printable(str(part)) for part in report.progress.unread)
    yield from report.left_out.remarks()
    for mark, said in MARKS.items():
        if total.marks[mark]:
            yield f"{plural(total.marks[mark], 'record')} {said}"
    if report.nothing_found:
        yield "no record of these sessions was found"
    if not report.finished:
        left = sum(part.end - report.progress.position(part) for part in report.progress.ranges)
        yield f"interrupted: {plural(left, 'offset')} left"
    rate = total.records / report.seconds if report.seconds else 0
    yield f"{plural(total.records, 'record')} in {report.seconds:.1f} s, {rate:,.0f} a second"


def _of_dead_letters(report: ReplayReport, total: OutcomeCounts) -> str:
    said = ", ".join(f"{reason} {count:,}" for reason, count in sorted(total.reasons.items()))
    if report.dry_run:
        return f"dead letters that would be sent, by reason: {said}"
    if report.dead_letters is None:
        return f"dead letters, by reason (not sent): {said}"
    return f"dead letters sent to {printable(report.dead_letters)}, by reason: {said}"


def _of_list(found: ListCounts, *, dry_run: bool) -> Iterable[str]:
    if found.restored:
        put_back = "would be put back" if dry_run else "put back"
        yield f"{plural(found.restored, 'altered document')} {put_back}"
    if found.altered_left_out:
        left = plural(found.altered_left_out, "altered document")
        yield f"{left} left as found: --repair restores them"
    if found.repeated_left_out:
        yield (
            f"{plural(found.repeated_left_out, 'listed record')} left out whose document is there "
            "more than once: delete all but one of each by hand"
        )
    if found.listed_not_found:
        yield f"{plural(found.listed_not_found, 'listed record')} not in the topics any more"
