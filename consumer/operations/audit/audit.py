"""Reads a part of the log and proves, for every record, what accounts for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from consumer.contract.record import Record, TopicPartition
from consumer.errors import ExitCode, PreconditionError, SettingsError, TransientError
from consumer.observe.logging import configure_logging
from consumer.operations.audit.emitted import EmittedList, open_list
from consumer.operations.audit.judging import RecordJudge
from consumer.operations.audit.letters import LettersOnDisk
from consumer.operations.audit.problems import Problems
from consumer.operations.audit.report import Report, disagreeing, print_report
from consumer.operations.consumed import consumed_by_group
from consumer.operations.replay.on_disk import scratch_database
from consumer.operations.replay.progress import shown_progress
from consumer.operations.replay.request import Request, check_selection
from consumer.operations.replay.selection import select, selector_of
from consumer.settings import Settings
from consumer.state.retention import Retention
from consumer.state.writes import EndWrite
from consumer.store.opening import open_store
from consumer.store.reading import open_session_reader
from consumer.stream.range_reader import RangeReader, open_range_reader
from consumer.stream.ranges import OffsetRange, offsets_of
from consumer.stream.selector import Selector

BATCHES_AT_ONCE = 3


@dataclass(frozen=True, slots=True)
class AuditRequest:
    """What is audited, and where the list of problems goes."""

    selection: Request
    emit: str | None = None
    as_json: bool = False


class UnwrittenError(SettingsError):
    """The list of problems could not be written; ``report`` is what was found all the same."""

    def __init__(self, error: SettingsError, report: Report) -> None:
        """Say what the failed write said."""
        super().__init__(str(error))
        self.report = report


async def audit(settings: Settings, request: AuditRequest, retention: Retention | None) -> ExitCode:
    """Audit, print the report; ``FOUND`` as exit code where anything is missing or altered.

    Raises ``PreconditionError`` where a server does not answer, ``SettingsError`` where the
    selection contradicts itself or the list of problems cannot be written.
    """
    check_selection(request.selection)
    configure_logging(settings)
    try:
        report = await audited(settings, request, retention)
    except TransientError as error:
        raise PreconditionError(f"a server does not answer ({error})") from error
    except UnwrittenError as error:
        print_report(error.report, as_json=request.as_json)
        raise
    print_report(report, as_json=request.as_json)
    return ExitCode.FOUND if report.found else ExitCode.DONE


async def audited(
    settings: Settings, request: AuditRequest, retention: Retention | None = None
) -> Report:
    """Audit and return what was found.

    Raises ``TransientError`` where a server is away, ``SettingsError`` where the list of
    problems cannot be opened, ``UnwrittenError`` where it cannot be written in the end.
    """
    async with AsyncExitStack() as stack:
        emitted = None if request.emit is None else stack.enter_context(open_list(request.emit))
        auditor = await _prepare(settings, stack, retention)
        return await auditor.run(request.selection, emitted)


async def _prepare(
    settings: Settings, stack: AsyncExitStack, retention: Retention | None
) -> _Auditor:
    database = stack.enter_context(scratch_database())
    reader = await stack.enter_async_context(open_range_reader(settings.kafka))
    store = await stack.enter_async_context(open_store(settings.mongo))
    letters = LettersOnDisk(database, settings.kafka.group_id)
    judge = RecordJudge(store.collections, letters, retention, settings.kafka.max_value_bytes)
    return _Auditor(settings, reader, letters, judge, Problems(database))


class _Auditor:
    """One audit: streams batches, a few at once, and keeps nothing of them but findings."""

    def __init__(
        self,
        settings: Settings,
        reader: RangeReader,
        letters: LettersOnDisk,
        judge: RecordJudge,
        problems: Problems,
    ) -> None:
        self._settings = settings
        self._reader = reader
        self._letters = letters
        self._judge = judge
        self._problems = problems
        self._done = 0

    async def run(self, selection: Request, emitted: EmittedList | None) -> Report:
        begun = asyncio.get_running_loop().time()
        topics = selection.topics or self._settings.kafka.topics
        selected = await select(self._reader, selection, topics, datetime.now(UTC))
        ranges, unread = await self._consumed(selected.ranges)
        await self._letters.load(self._reader, self._settings.dead_letters.topic)
        # Letters that expire meanwhile are no finding; records that nobody could look at are.
        not_read = list(self._reader.spoilt)
        self._reader.unread.clear()
        total = offsets_of(ranges)
        async with shown_progress("auditing", total, lambda: self._done):
            await self._read(ranges, selector_of(selection, None))
        self._problems.settle_suspects()
        async with open_session_reader(self._settings.mongo) as sessions:
            disagreeing_sessions = await disagreeing(self._problems, sessions)
        seconds = asyncio.get_running_loop().time() - begun
        report = Report.of(
            self._problems,
            self._letters.count,
            unread,
            disagreeing_sessions,
            seconds,
            [*not_read, *self._reader.unread],
        )
        if emitted is not None:
            try:
                emitted.write(self._problems.listed())
            except SettingsError as error:
                raise UnwrittenError(error, report) from error
        return report

    async def _consumed(self, ranges: Sequence[OffsetRange]) -> tuple[list[OffsetRange], int]:
        """Leave out what the group has not committed yet: nothing has to account for it."""
        consumed = await consumed_by_group(self._settings.kafka)
        cut = [
            replace(part, end=max(part.first, consumed.end(part.partition, part.end)))
            for part in ranges
        ]
        return cut, offsets_of(ranges) - offsets_of(cut)

    async def _read(self, ranges: Sequence[OffsetRange], selector: Selector) -> None:
        running: set[asyncio.Task[None]] = set()
        try:
            async for partition, records in self._reader.read(ranges):
                wanted = [record for record in records if selector.wants(record)]
                running.add(asyncio.ensure_future(self._batch(partition, wanted, len(records))))
                while len(running) >= BATCHES_AT_ONCE:
                    running = await _one_less(running)
            while running:
                running = await _one_less(running)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _batch(
        self, partition: TopicPartition, records: Sequence[Record], offsets: int
    ) -> None:
        judged = await self._judge.judged(records)
        self._problems.add(partition, ((each.record.position, each.judged) for each in judged))
        self._problems.ended(
            each.write.session_id for each in judged if isinstance(each.write, EndWrite)
        )
        self._done += offsets


async def _one_less(running: set[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
    """Wait for one to end; a failed one ends the audit."""
    done, left = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    return left
