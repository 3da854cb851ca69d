"""Reads a part of the log and proves, for every record, what accounts for it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from consumer.aio import Backoff
from consumer.commands.audit.audit_report import AuditReport, Disagreements, print_audit
from consumer.commands.audit.event_counts import EventCounts
from consumer.commands.audit.judging import RecordJudge, answered, read_through
from consumer.commands.audit.letters import DeadLetterIndex
from consumer.commands.audit.problems import ProblemList
from consumer.commands.common.output import show_progress
from consumer.commands.common.record_list import RecordListWriter, open_record_list_writer
from consumer.commands.common.record_selection import (
    MessageFilter,
    RecordSelection,
    check_selection,
    filter_of,
)
from consumer.commands.common.scratch import scratch_database
from consumer.commands.common.selected_ranges import (
    CommittedOffsets,
    SelectedRanges,
    fetch_committed_offsets,
    select_ranges,
)
from consumer.contract.record import Record, TopicPartition
from consumer.errors import ExitCode, PreconditionError, SettingsError, TransientError
from consumer.kafka.range_reader import RangeReader, open_range_reader
from consumer.kafka.ranges import OffsetRange, offsets_of
from consumer.mongo.collections import Collections
from consumer.mongo.session_reader import SessionReader, open_session_reader
from consumer.mongo.store import open_store
from consumer.observability.logs import configure_logging
from consumer.settings import Settings
from consumer.state.retention import Retention
from consumer.state.writes import EndWrite
from consumer.wiring import retry_until, startup_policy

BATCHES_AT_ONCE = 3


@dataclass(frozen=True, slots=True)
class AuditRequest:
    """What is audited, and where the list of problems goes."""

    selection: RecordSelection
    emit: str | None = None
    as_json: bool = False


class ReportNotWrittenError(SettingsError):
    """The list of problems could not be written; ``report`` is what was found all the same."""

    def __init__(self, error: SettingsError, report: AuditReport) -> None:
        """Say what the failed write said."""
        super().__init__(str(error))
        self.report = report


async def audit(settings: Settings, request: AuditRequest, retention: Retention | None) -> ExitCode:
    """Audit, print the report; ``FOUND`` as exit code where there are findings.

    Raises ``PreconditionError`` where a server does not answer, ``SettingsError`` where the
    selection contradicts itself or the list of problems cannot be written.
    """
    check_selection(request.selection)
    configure_logging(settings)
    try:
        report = await audited(settings, request, retention)
    except TransientError as error:
        raise PreconditionError(f"a server does not answer ({error})") from error
    except ReportNotWrittenError as error:
        print_audit(error.report, as_json=request.as_json)
        raise
    print_audit(report, as_json=request.as_json)
    return ExitCode.FOUND if report.found else ExitCode.DONE


async def audited(
    settings: Settings, request: AuditRequest, retention: Retention | None = None
) -> AuditReport:
    """Audit and return what was found.

    Raises ``PreconditionError`` where a server is away, ``SettingsError`` where the list of
    problems cannot be opened, ``ReportNotWrittenError`` where it cannot be written in the end.
    """
    async with AsyncExitStack() as stack:
        emitted = (
            None
            if request.emit is None
            else stack.enter_context(open_record_list_writer(request.emit))
        )
        database = stack.enter_context(scratch_database())
        reader = await retry_until(
            "Kafka",
            lambda: stack.enter_async_context(open_range_reader(settings.kafka)),
            startup_policy(settings),
        )
        store = await stack.enter_async_context(open_store(settings.mongo))
        sessions = await stack.enter_async_context(open_session_reader(settings.mongo))
        consumed = await retry_until(
            "Kafka", lambda: fetch_committed_offsets(settings.kafka), startup_policy(settings)
        )
        auditor = Auditor(settings, database, reader, store.collections, sessions, retention)
        return await auditor.run(request.selection, emitted, consumed)


class Auditor:
    """One audit: streams batches, a few at once, and keeps nothing of them but findings."""

    def __init__(
        self,
        settings: Settings,
        database: sqlite3.Connection,
        reader: RangeReader,
        collections: Collections,
        sessions: SessionReader,
        retention: Retention | None,
    ) -> None:
        """Keep the findings in ``database``."""
        backoff = Backoff(settings.engine.backoff_initial, settings.engine.backoff_max)
        self._settings = settings
        self._backoff = backoff
        self._reader = reader
        self._sessions = sessions
        self._letters = DeadLetterIndex(database, settings.kafka.group_id)
        self._judge = RecordJudge(
            collections, self._letters, retention, settings.kafka.max_value_bytes, backoff
        )
        self._problems = ProblemList(database)
        self._counts = EventCounts(database, sessions, backoff)
        self._unseen: set[str] = set()
        self._done = 0

    async def run(
        self,
        selection: RecordSelection,
        emitted: RecordListWriter | None,
        consumed: CommittedOffsets,
    ) -> AuditReport:
        """Audit what is selected of what is consumed.

        Raises ``PreconditionError`` where a server does not answer at the start; later it is
        waited for. Raises ``ReportNotWrittenError`` where the list cannot be written in the end.
        """
        begun = asyncio.get_running_loop().time()
        now = datetime.now(UTC)
        selected = await self._select(selection, now)
        letters = self._settings.dead_letters.topic
        # What could not be read for a look at the keys is met again where it is wanted.
        self._reader.unread.clear()
        await answered("Kafka", lambda: self._letters.load(self._reader, letters), self._backoff)
        # Letters that expire meanwhile are no finding; records that nobody could look at are.
        not_read = list(self._reader.spoilt)
        self._reader.unread.clear()
        self._unseen = set(selection.sessions)
        record_filter = filter_of(selection, selected.bounds)
        unread = await self._read(selected.ranges, record_filter, consumed)
        left_out = selected.elsewhere
        if self._unseen and left_out:
            # Nothing where its key leads is no sign that there is nothing.
            unread += await self._read(left_out, record_filter, consumed)
            left_out = ()
        not_read += self._reader.unread
        self._problems.settle_suspects()
        disagreements = await self._compare_counts(now, consumed)
        report = replace(
            AuditReport.of(
                self._problems,
                self._letters.count,
                unread,
                disagreements,
                asyncio.get_running_loop().time() - begun,
                list(dict.fromkeys(not_read)),
            ),
            not_in_the_log=sorted(self._unseen),
            left_out=len(left_out),
            outside=record_filter.outside,
            before=selected.before,
        )
        if emitted is not None:
            try:
                emitted.write(self._problems.listed())
            except SettingsError as error:
                raise ReportNotWrittenError(error, report) from error
        return report

    async def _select(self, selection: RecordSelection, now: datetime) -> SelectedRanges:
        sessions = selection.sessions
        came_from = await retry_until(
            "MongoDB", lambda: self._sessions.came_from(sessions), startup_policy(self._settings)
        )
        topics = selection.topics or self._settings.kafka.topics
        return await retry_until(
            "Kafka",
            lambda: select_ranges(self._reader, selection, topics, now, came_from),
            startup_policy(self._settings),
        )

    async def _read(
        self,
        ranges: Sequence[OffsetRange],
        record_filter: MessageFilter,
        consumed: CommittedOffsets,
    ) -> int:
        """Judge what the group has committed of the ranges; return how many offsets it has not.

        Nothing has to account for those yet.
        """
        cut = [
            replace(part, end=max(part.first, consumed.end(part.partition, part.end)))
            for part in ranges
        ]
        running: set[asyncio.Task[None]] = set()
        self._done = 0
        try:
            async with show_progress("auditing", offsets_of(cut), lambda: self._done):
                async for partition, records in read_through(self._reader, cut, self._backoff):
                    wanted = [record for record in records if record_filter.matches(record)]
                    running.add(asyncio.ensure_future(self._batch(partition, wanted, len(records))))
                    while len(running) >= BATCHES_AT_ONCE:
                        running = await wait_for_one(running)
                while running:
                    running = await wait_for_one(running)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        return offsets_of(ranges) - offsets_of(cut)

    async def _batch(
        self, partition: TopicPartition, records: Sequence[Record], offsets: int
    ) -> None:
        judged = await self._judge.judged(records)
        self._problems.add(partition, ((each.record.position, each.judgement) for each in judged))
        self._counts.ended(
            each.write.session_id for each in judged if isinstance(each.write, EndWrite)
        )
        if self._unseen:
            self._unseen.difference_update(each.session_id or "" for each in judged)
        self._done += offsets

    async def _compare_counts(self, now: datetime, consumed: CommittedOffsets) -> Disagreements:
        """Compare ended sessions with their events.

        Where any has fewer than it says, what the group has not read is looked through for
        them, on every topic: an audit of a part of the log counts all that is stored.
        """
        ranges: Sequence[OffsetRange] = ()
        if await self._counts.compare(now):
            ranges = await answered("Kafka", lambda: self._unread(consumed), self._backoff)
        return await self._counts.excused_by(read_through(self._reader, ranges, self._backoff))

    async def _unread(self, consumed: CommittedOffsets) -> list[OffsetRange]:
        topics = self._settings.kafka.topics
        ranges = await self._reader.ranges(await self._reader.partitions_of(topics))
        return [
            replace(part, first=max(part.first, consumed.end(part.partition, part.end)))
            for part in ranges
        ]


async def wait_for_one(running: set[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
    """Wait for one to end; a failed one ends the audit."""
    done, left = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    return left
