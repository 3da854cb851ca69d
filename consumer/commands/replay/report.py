"""What a replay has done, or would do: a table for people, JSON for scripts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from consumer.commands.common.output import add_name_column, console
from consumer.commands.replay.tally import Ends, Tally
from consumer.contract.record import TopicPartition
from consumer.errors import ExitCode
from consumer.kafka.ranges import DELETED, OffsetRange, UnreadRange
from consumer.printable import printable
from consumer.state.outcomes import MARK_NAMES, Mark, Outcome

DONE = {
    "applied": (Outcome.APPLIED,),
    "already there": (Outcome.REDELIVERED, Outcome.DUPLICATE),
    "conflict": (Outcome.CONFLICT,),
    "dead letter": (Outcome.DEAD_LETTERED,),
    "skipped": (Outcome.SKIPPED,),
}
WOULD_BE = {"would insert": DONE["applied"]} | {
    name: outcomes for name, outcomes in DONE.items() if name != "applied"
}


MARKS = {
    Mark.KEY_MISMATCH: "with another key than the sessionId",
    Mark.EXPIRED: "skipped, since older than mongo.retention_days",
    Mark.DOUBTFUL_TIMESTAMP: "with a timestamp that cannot be right, so that nothing of it expires",
}


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a replay. ``positions``: up to where each range is done.

    ``finished``: nothing is left to do; ``unread``: what could not be read of the ranges.
    """

    dry_run: bool
    finished: bool
    ranges: Sequence[OffsetRange]
    positions: Mapping[TopicPartition, int]
    tally: Tally
    seconds: float
    dead_letters: str | None
    """The topic they were sent to, None where they were only counted."""
    restored: int = 0
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
    outside: int = 0
    """Records that were read, and whose time lies outside of what was asked for."""
    contradictions: int = 0
    """Of a dry run: records that contradict one of another partition, of which either may come
    first when it is run."""
    before: int = 0
    """Offsets before the first record of that time, by the brokers' index."""

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


def print_report(report: Report, *, as_json: bool) -> None:
    """Print to standard output."""
    if as_json:
        console().out(json.dumps(_facts(report)))
    else:
        _print_tables(report)


def _facts(report: Report) -> dict[str, object]:
    total = report.tally.total
    return {
        "dry_run": report.dry_run,
        "complete": report.complete,
        **_counts(total),
        "dead_letter_topic": report.dead_letters,
        "restored": report.restored,
        "altered_left_out": report.left_out,
        "repeated_left_out": report.repeated,
        "listed_not_found": report.not_found,
        "partitions_left_out": report.elsewhere,
        "nothing_found": report.nothing_found,
        "deleted_unread": report.deleted_unread,
        "unread": [
            {
                "topic": part.partition.topic,
                "partition": part.partition.partition,
                "first": part.first,
                "end": part.end,
                "cause": part.cause,
            }
            for part in report.unread
        ],
        "contradictions": report.contradictions,
        "outside_times": report.outside,
        "before_times": report.before,
        "seconds": round(report.seconds, 3),
        "partitions": [
            {
                "topic": part.partition.topic,
                "partition": part.partition.partition,
                "first": part.first,
                "end": part.end,
                "next": report.positions.get(part.partition, part.first),
                **_counts(report.tally.partitions.get(part.partition, Ends())),
            }
            for part in report.ranges
        ],
    }


def _counts(ends: Ends) -> dict[str, object]:
    return {
        "records": ends.records,
        "outcomes": {outcome.value: ends.outcomes[outcome] for outcome in Outcome},
        "reasons": {reason.value: count for reason, count in sorted(ends.reasons.items())},
        **{name: ends.marks[mark] for mark, name in MARK_NAMES.items()},
    }


def _print_tables(report: Report) -> None:
    columns = WOULD_BE if report.dry_run else DONE
    table = Table(
        title="Dry run: nothing was written" if report.dry_run else None, title_justify="left"
    )
    read = [part for part in report.ranges if part.offsets]
    names = [f"{printable(p.partition.topic)}-{p.partition.partition}" for p in read]
    add_name_column(table, "partition", names)
    for column in ("offsets", "records", *columns):
        table.add_column(column, justify="right")
    for part, name in zip(read, names, strict=True):
        ends = report.tally.partitions.get(part.partition, Ends())
        table.add_row(Text(name), f"{part.first}-{part.end - 1}", *_cells(ends, columns))
    table.add_section()
    total = report.tally.total
    table.add_row("total", "", *_cells(total, columns), style="bold")
    out = console()
    out.print(table)
    for line in _remarks(report, total):
        out.print(line, markup=False)


def _cells(ends: Ends, columns: Mapping[str, Sequence[Outcome]]) -> list[str]:
    counts = [ends.records, *(sum(ends.outcomes[o] for o in names) for names in columns.values())]
    return [f"{count:,}" for count in counts]


def _remarks(report: Report, total: Ends) -> Iterable[str]:
    if total.reasons:
        yield _of_letters(report, total)
    if report.contradictions:
        yield (
            f"may differ: {_of(report.contradictions, 'record')} of other content than a record "
            "of another partition about the same; which of them is applied depends on which "
            "comes first"
        )
    yield from _of_list(report)
    if report.deleted_unread:
        lost = _of(report.deleted_unread, "offset")
        yield f"{lost} deleted by the brokers before they could be read"
    yield from (printable(str(part)) for part in report.unread)
    yield from said_of_times(report.outside, report.before)
    for mark, said in MARKS.items():
        if total.marks[mark]:
            yield f"{_of(total.marks[mark], 'record')} {said}"
    yield from _of_sessions(report)
    if not report.finished:
        left = sum(
            part.end - report.positions.get(part.partition, part.first) for part in report.ranges
        )
        yield f"interrupted: {_of(left, 'offset')} left"
    rate = total.records / report.seconds if report.seconds else 0
    yield f"{_of(total.records, 'record')} in {report.seconds:.1f} s, {rate:,.0f} a second"


def _of_list(report: Report) -> Iterable[str]:
    put_back = "would be put back" if report.dry_run else "put back"
    if report.restored:
        yield f"{_of(report.restored, 'altered document')} {put_back}"
    if report.left_out:
        yield f"{_of(report.left_out, 'altered document')} left as found: --repair restores them"
    if report.repeated:
        yield (
            f"{_of(report.repeated, 'listed record')} left out whose document is there more than "
            "once: delete all but one of each by hand"
        )
    if report.not_found:
        yield f"{_of(report.not_found, 'listed record')} not in the topics any more"


def said_of_times(outside: int, before: int) -> Iterable[str]:
    """Say what a range of times has passed over."""
    if before:
        yield (
            f"{_of(before, 'offset')} before the first record of that time, by the brokers' index "
            "of times"
        )
    if outside:
        yield f"{_of(outside, 'record')} read and passed over, whose own time lies outside"


def _of_sessions(report: Report) -> Iterable[str]:
    if report.nothing_found:
        yield "no record of these sessions was found"
    if report.elsewhere:
        yield (
            f"{_of(report.elsewhere, 'partition')} not read: no key of these sessions leads there, "
            "and no document came from there; --all-partitions reads them too"
        )


def _of(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _of_letters(report: Report, total: Ends) -> str:
    said = ", ".join(f"{reason} {count:,}" for reason, count in sorted(total.reasons.items()))
    if report.dry_run:
        return f"dead letters that would be sent, by reason: {said}"
    if report.dead_letters is None:
        return f"dead letters, by reason (not sent): {said}"
    return f"dead letters sent to {printable(report.dead_letters)}, by reason: {said}"
