"""What an audit says at its end."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from rich.text import Text

from consumer.commands.audit.problems import Disagreements
from consumer.commands.audit.verdicts import PROBLEMS, AuditResult
from consumer.commands.common.output import (
    NOTHING_SELECTED,
    console,
    partition_table,
    position_text,
)
from consumer.commands.common.record_list import ListedRecord
from consumer.commands.common.selected_ranges import LeftOut
from consumer.contract.record import TopicPartition
from consumer.kafka.ranges import UnreadRange
from consumer.printable import printable
from consumer.quantities import plural

COLUMNS = tuple(
    result for result in AuditResult if result not in {AuditResult.SUSPECT, AuditResult.UNREAD}
)


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The whole result. ``documents`` counts what the problems are about, each once.

    ``not_in_the_log``: sessions that were asked for, and of which there is no record.
    """

    counts: Mapping[TopicPartition, Counter[AuditResult]]
    documents: Counter[AuditResult]
    problems: Sequence[ListedRecord]
    dead_letters: int
    unread: int
    disagreements: Disagreements
    seconds: float
    not_read: Sequence[UnreadRange] = ()
    """What of the topics could not be read, or was deleted meanwhile: nobody knows of it."""
    not_in_the_log: Sequence[str] = ()
    left_out: LeftOut = field(default_factory=LeftOut)
    missing_dead_letters: int = 0
    """Records that could not be applied, of which no dead letter tells."""
    nothing_committed: bool = False
    """Whether the group has no offsets at all, so that every record counts as read."""

    @property
    def total(self) -> Counter[AuditResult]:
        """The counts of all partitions together."""
        return sum(self.counts.values(), Counter[AuditResult]())

    @property
    def found(self) -> bool:
        """Whether there is anything that an audit is there to find, or could not look at.

        Of a session without a record nothing is proven.
        """
        return bool(self.not_read or self.not_in_the_log) or any(
            self.total[kind] for kind in PROBLEMS
        )


def print_audit(report: AuditReport, *, as_json: bool) -> None:
    """Print it as tables, or as one object of JSON."""
    if as_json:
        console().out(json.dumps(_facts(report)))
    else:
        _print_tables(report)


def _facts(report: AuditReport) -> dict[str, object]:
    return {
        "records": report.total.total(),
        "seconds": round(report.seconds, 3),
        "unread": report.unread,
        "nothing_committed": report.nothing_committed,
        **asdict(report.left_out),
        "dead_letters": report.dead_letters,
        "total": {result.value: report.total[result] for result in COLUMNS},
        "documents": {kind.value: report.documents[kind] for kind in PROBLEMS},
        "dead_letters_missing": report.missing_dead_letters,
        "partitions": [
            partition._asdict() | {result.value: counts[result] for result in COLUMNS}
            for partition, counts in sorted(report.counts.items())
        ],
        "not_read": [part.facts() for part in report.not_read],
        "problems": [problem.model_dump() for problem in report.problems],
        "sessions_not_in_the_log": list(report.not_in_the_log),
        "event_count_disagrees": asdict(report.disagreements),
    }


def _print_tables(report: AuditReport) -> None:
    out = console()
    rows = {printable(p.name): _cells(counts) for p, counts in sorted(report.counts.items())}
    out.print(partition_table(COLUMNS, rows, _cells(report.total)))
    for problem in report.problems:
        place = position_text(*problem.position)
        about = " ".join(map(printable, problem.document or ()))
        said = (problem.problem, place, about, printable(problem.detail))
        out.print(Text(": ".join(filter(None, said))))
    out.print(Text("\n".join(_remarks(report))))


def _cells(counts: Counter[AuditResult]) -> list[Text]:
    return [
        Text(f"{counts[a]:,}", "bold red" if a in PROBLEMS and counts[a] else "") for a in COLUMNS
    ]


def _remarks(report: AuditReport) -> list[str]:
    documents, letters = report.documents, report.missing_dead_letters
    rate = report.total.total() / report.seconds if report.seconds else 0
    records = f"{plural(report.total.total(), 'record')} in {report.seconds:.1f} s ({rate:,.0f}/s)"
    lines = [
        f"{plural(documents[AuditResult.MISSING], 'document')} missing, "
        f"{documents[AuditResult.ALTERED]} altered, {documents[AuditResult.REPEATED]} repeated"
        + (f", {plural(letters, 'dead letter')} missing" if letters else "")
        + f"; {records}"
    ]
    if not (report.counts or report.unread or report.not_in_the_log):
        lines.append(NOTHING_SELECTED)
    if report.nothing_committed:
        lines.append(
            "the group has committed nothing, or its offsets have expired: every record counts as "
            "read, and only its own dead letters account for one; is kafka.group_id right?"
        )
    unknown = report.total[AuditResult.UNKNOWN]
    if unknown:
        lines.append(
            f"{unknown} records can have left nothing but a dead letter, and letters of their time "
            "have expired: a replay of the emitted list sends them again"
        )
    lines += [printable(str(part)) for part in report.not_read]
    lines += report.left_out.remarks()
    if report.unread:
        lines.append(f"{plural(report.unread, 'offset')} left out: the group has not read them yet")
    lines += [
        f"session {printable(session_id)}: no record that the group has read is in the topics, so "
        "nothing is proven"
        for session_id in report.not_in_the_log
    ]
    lines += _of_counts(report.disagreements)
    return lines


def _of_counts(disagreements: Disagreements) -> list[str]:
    lines = [
        f"session {printable(found.session_id)} says {plural(found.declared, 'event')}, "
        f"{found.stored} stored"
        for found in disagreements.first
    ]
    if disagreements.sessions > len(disagreements.first):
        lines.append(f"{disagreements.sessions} sessions disagree with their eventCount")
    for sessions, why in (
        (disagreements.unread, "the group has not read all their events yet"),
        (disagreements.expired, "their first events may have expired"),
    ):
        if sessions:
            lines.append(f"{plural(sessions, 'session')} not compared with their eventCount: {why}")
    return lines
