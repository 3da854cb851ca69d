"""What a replay has done, or would do: a table for people, JSON for scripts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rich.table import Table
from rich.text import Text

from consumer.commands.common.output import (
    NOTHING_SELECTED,
    add_name_column,
    console,
    said_of_partitions,
    said_of_times,
    said_of_transactions,
)
from consumer.contract.record import TopicPartition
from consumer.contract.rejection import Reason
from consumer.errors import ExitCode
from consumer.kafka.ranges import DELETED, OffsetRange, UnreadRange
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
class ReplayReport:
    """The result of a replay. ``positions``: up to where each range is done.

    ``finished``: nothing is left to do; ``unread``: what could not be read of the ranges.
    """

    dry_run: bool
    finished: bool
    ranges: Sequence[OffsetRange]
    positions: Mapping[TopicPartition, int]
    counts: Mapping[TopicPartition, OutcomeCounts]
    seconds: float
    dead_letters: str | None
    """The topic they were sent to, None where they were only counted."""
    repaired: int = 0
    """Altered documents that were put back; they count as applied."""
    left_out: int = 0
    """Altered documents that were listed, and not asked to be put back."""
    repeated: int = 0
    """Listed records whose document is there more than once: no replay can mend that."""
    not_found: int = 0
    """Listed records that the log does not hold any more."""
    elsewhere: int = 0
    """Partitions not read, since no record of the sessions asked for should be there."""
    nothing_found: bool = False
    """Sessions were asked for, and there was no record of any."""
    unread: Sequence[UnreadRange] = ()
    contradictions: int = 0
    """Of a dry run: records that contradict one of another partition, of which either may come
    first when it is run."""
    outside: int = 0
    """Records that were read, and whose time lies outside of what was asked for."""
    before: int = 0
    """Offsets before the first record of that time, by the brokers' index."""
    held_back: int = 0
    """Offsets behind a transaction that is open: nobody can read them yet."""

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
        return self.finished and not self.unread

    @property
    def deleted_unread(self) -> int:
        """Offsets that the brokers deleted before they were read."""
        return sum(part.offsets for part in self.unread if part.cause == DELETED)

    @property
    def exit_code(self) -> ExitCode:
        """How the command ends."""
        if not self.finished:
            return ExitCode.DEADLINE
        if self.nothing_found:
            return ExitCode.FOUND
        return ExitCode.FOUND if self.unread or self.not_found else ExitCode.DONE

    def position(self, part: OffsetRange) -> int:
        """Return up to where a range is done."""
        return self.positions.get(part.partition, part.first)


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
        "restored": report.repaired,
        "altered_left_out": report.left_out,
        "repeated_left_out": report.repeated,
        "listed_not_found": report.not_found,
        "partitions_left_out": report.elsewhere,
        "nothing_found": report.nothing_found,
        "deleted_unread": report.deleted_unread,
        "unread": [part.facts() for part in report.unread],
        "contradictions": report.contradictions,
        "outside_times": report.outside,
        "before_times": report.before,
        "behind_transactions": report.held_back,
        "seconds": round(report.seconds, 3),
        "partitions": [
            part.partition._asdict()
            | {"first": part.first, "end": part.end, "next": report.position(part)}
            | _counts(report.counts.get(part.partition, OutcomeCounts()))
            for part in report.ranges
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
    columns = WOULD_BE if report.dry_run else DONE
    title = "Dry run: nothing was written" if report.dry_run else None
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    read = [part for part in report.ranges if part.offsets]
    names = [printable(p.partition.name) for p in read]
    add_name_column(table, "partition", names)
    for column in ("offsets", "records", *columns):
        table.add_column(column, justify="right", overflow="fold")
    for part, name in zip(read, names, strict=True):
        counts = report.counts.get(part.partition, OutcomeCounts())
        table.add_row(Text(name), f"{part.first}-{part.end - 1}", *_cells(counts, columns))
    table.add_section()
    table.add_row("total", "", *_cells(report.total, columns), style="bold")
    out = console()
    out.print(table)
    for line in _remarks(report, report.total):
        out.print(line, markup=False)


def _cells(counts: OutcomeCounts, columns: Mapping[str, Sequence[Outcome]]) -> list[str]:
    cells = [sum(counts.outcomes[outcome] for outcome in ones) for ones in columns.values()]
    return [f"{count:,}" for count in (counts.records, *cells)]


def _remarks(report: ReplayReport, total: OutcomeCounts) -> Iterable[str]:
    if not any(part.offsets for part in report.ranges):
        yield NOTHING_SELECTED
    if total.reasons:
        yield _of_dead_letters(report, total)
    if report.contradictions:
        yield (
            f"may differ: {plural(report.contradictions, 'record')} of other content than a "
            "record of another partition about the same; the first that comes is applied"
        )
    yield from _of_list(report)
    if report.deleted_unread:
        lost = plural(report.deleted_unread, "offset")
        yield f"{lost} deleted by the brokers before they could be read"
    yield from (printable(str(part)) for part in report.unread)
    yield from said_of_times(report.outside, report.before)
    yield from said_of_transactions(report.held_back)
    for mark, said in MARKS.items():
        if total.marks[mark]:
            yield f"{plural(total.marks[mark], 'record')} {said}"
    if report.nothing_found:
        yield "no record of these sessions was found"
    yield from said_of_partitions(report.elsewhere)
    if not report.finished:
        left = sum(part.end - report.position(part) for part in report.ranges)
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


def _of_list(report: ReplayReport) -> Iterable[str]:
    if report.repaired:
        put_back = "would be put back" if report.dry_run else "put back"
        yield f"{plural(report.repaired, 'altered document')} {put_back}"
    if report.left_out:
        yield f"{plural(report.left_out, 'altered document')} left as found: --repair restores them"
    if report.repeated:
        yield (
            f"{plural(report.repeated, 'listed record')} left out whose document is there more "
            "than once: delete all but one of each by hand"
        )
    if report.not_found:
        yield f"{plural(report.not_found, 'listed record')} not in the topics any more"
