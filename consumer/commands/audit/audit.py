"""``consumer audit``: proof, record by record, that nothing was lost and nothing was changed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime

from consumer.commands.audit.audit_report import AuditReport, print_audit
from consumer.commands.audit.judging import JudgedRecord, LogJudge, open_log_judge
from consumer.commands.audit.problems import SHOWN, Disagreements, EventCounts, ProblemList
from consumer.commands.common.record_list import STANDARD_INPUT
from consumer.commands.common.record_selection import (
    MessageFilter,
    RecordSelection,
    check_selection,
)
from consumer.contract.record import OffsetRange, TopicPartition
from consumer.errors import ExitCode, SettingsError, must_answer
from consumer.kafka.ranges import offsets_of
from consumer.observability.logs import configure_logging
from consumer.settings.model import Settings
from consumer.state.writes import DocumentWrite
from consumer.terminal import open_result_file
from consumer.wiring import retry_until


async def show_audit(
    settings: Settings, selection: RecordSelection, *, emit: str | None, as_json: bool
) -> ExitCode:
    """Audit, print the report, list the problems in the file ``emit``.

    ``FOUND`` as exit code where there are problems. Raises ``PreconditionError`` where a server
    does not answer, ``SettingsError`` where the selection contradicts itself or the list cannot
    be written: at once where that can be known, else when the report is printed.
    """
    check_selection(selection)
    if emit == STANDARD_INPUT:
        raise SettingsError("--emit -: the report goes to standard output; name a file")
    with nullcontext() if emit is None else open_result_file("--emit", emit) as write:
        configure_logging(settings)
        with must_answer("a server"):
            async with open_log_judge(settings) as log:
                auditor = Auditor(log)
                report = await auditor.run(selection)
                print_audit(report, as_json=as_json)
                if write is not None:
                    write(one.line() for one in auditor.problems.listed())
    return ExitCode.FOUND if report.found else ExitCode.DONE


class Auditor:
    """One audit; keeps nothing of what it reads but the problems, and those on disk."""

    def __init__(self, log: LogJudge) -> None:
        """Keep the problems in the database of ``log``."""
        self._log = log
        self.problems = ProblemList(log.database)
        self._counts = EventCounts(log)
        self._unseen: set[str] = set()

    async def run(self, selection: RecordSelection) -> AuditReport:
        """Audit what is selected of what the group has committed.

        Raises ``PreconditionError`` where a server does not answer at the start; later it is
        waited for.
        """
        begun = asyncio.get_running_loop().time()
        now = datetime.now(UTC)
        selected = await self._log.select(selection, now)
        # Letters that expire meanwhile are no problem; records that nobody could look at are.
        not_read = list(self._log.reader.unreadable)
        self._log.reader.unread.clear()
        self._unseen = set(selection.sessions)
        record_filter = MessageFilter(
            self._log.settings.kafka.max_value_bytes,
            selection.sessions,
            selection.kinds,
            selected.bounds,
        )
        not_committed = await self._judge(selected.ranges, record_filter)
        left_out = selected.left_out
        if self._unseen and selected.elsewhere:
            # Nothing where its key leads is no sign that there is nothing.
            not_committed += await self._judge(selected.elsewhere, record_filter)
            left_out = replace(left_out, partitions_left_out=0)
        not_read += self._log.reader.unread
        self.problems.settle_suspects()
        disagreements = await self._compare_counts(now)
        return AuditReport(
            counts=self.problems.counts(),
            documents=self.problems.documents(),
            missing_dead_letters=self.problems.missing_dead_letters(),
            problems=list(self.problems.listed(SHOWN)),
            dead_letters=self._log.dead_letters.count,
            unread=not_committed,
            disagreements=disagreements,
            seconds=asyncio.get_running_loop().time() - begun,
            not_read=list(dict.fromkeys(not_read)),
            not_in_the_log=sorted(self._unseen),
            left_out=replace(left_out, outside_times=record_filter.outside),
            nothing_committed=not self._log.committed.offsets,
        )

    async def _judge(self, ranges: Sequence[OffsetRange], record_filter: MessageFilter) -> int:
        """Judge what the group has committed of the ranges; return how many offsets it has not.

        Nothing has to account for those yet.
        """
        committed = [replace(part, end=self._log.committed.end(part)) for part in ranges]
        await self._log.judge("auditing", committed, record_filter, self._add)
        return offsets_of(ranges) - offsets_of(committed)

    def _add(self, partition: TopicPartition, judged: Sequence[JudgedRecord]) -> None:
        self.problems.add(partition, judged)
        self._counts.add(
            each.write.session_id
            for each in judged
            if isinstance(each.write, DocumentWrite) and each.write.ends_as is not None
        )
        if self._unseen:
            self._unseen.difference_update(each.session_id or "" for each in judged)

    async def _compare_counts(self, now: datetime) -> Disagreements:
        """Compare ended sessions with their events.

        Where any has fewer than it says, what the group has not read is looked through for
        them, on every topic: an audit of a part of the log counts all that is stored.
        """
        ranges: Sequence[OffsetRange] = ()
        if await self._counts.compare(now):
            ranges = await retry_until("Kafka", self._uncommitted_ranges, self._log.policy)
        return await self._counts.excuse_by(self._log.read(ranges))

    async def _uncommitted_ranges(self) -> list[OffsetRange]:
        return [
            replace(part, first=self._log.committed.end(part))
            for part in await self._log.reader.ranges(self._log.settings.kafka.topics)
        ]
