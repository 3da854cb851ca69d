"""Reads parts of the log, and judges each record by the documents and dead letters of it."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple, TypeVar

from consumer.aio import Backoff, cancel_and_wait
from consumer.commands.audit.verdicts import (
    NO_LETTER,
    SKIPPED,
    AuditResult,
    DeadLetterEntry,
    Judgement,
    judge_rejected,
    judge_repeated,
    judge_session,
    judge_stored,
)
from consumer.commands.common.record_selection import MessageFilter, RecordSelection
from consumer.commands.common.scratch import scratch_database
from consumer.commands.common.selected_ranges import (
    CommittedOffsets,
    SelectedRanges,
    select_ranges,
)
from consumer.contract.dead_letter import origin_of
from consumer.contract.decode import Decoded, Tombstone, decode
from consumer.contract.record import OffsetRange, Record, TopicPartition
from consumer.contract.rejection import KeyPolicy, Reason, Rejected
from consumer.errors import TransientError
from consumer.kafka.range_reader import RangeReader, open_range_reader
from consumer.kafka.ranges import offsets_of
from consumer.mongo.collections import Collections
from consumer.mongo.duplicates import Asked, LookUp
from consumer.mongo.session_reader import SessionReader
from consumer.mongo.store import open_store
from consumer.observability.logs import get_logger
from consumer.settings.model import Settings
from consumer.state.bson_compare import Stored
from consumer.state.retention import FOR_EVER, Retention
from consumer.state.writes import ActivityWrite, EventWrite, Write, plan
from consumer.terminal import progress
from consumer.wiring import (
    RetryPolicy,
    ask_retention,
    await_database,
    describe_own_group,
    retry_until,
    startup_policy,
)

T = TypeVar("T")

BATCHES_AT_ONCE = 3

_EVEN_IF_OVER = (AuditResult.APPLIED, AuditResult.ALTERED)
"""What is said of a document that is there, though by its record's time it need not be."""


class JudgedRecord(NamedTuple):
    """A record, what it should have written (None: nothing, by policy), and what was found."""

    record: Record
    write: Write | Rejected | None
    judgement: Judgement

    @property
    def session_id(self) -> str | None:
        """The session that the record is about: where it says none, its key."""
        if not isinstance(self.write, Rejected | None):
            return self.write.session_id
        return None if self.record.key is None else self.record.key.decode(errors="replace")


class DeadLetterIndex:
    """Which records have a dead letter, and from when on that is known for certain; on disk.

    Only those of ``group`` count: another one's say what another database holds.
    """

    def __init__(self, database: sqlite3.Connection, group: str) -> None:
        """Keep the index in ``database``."""
        self._database = database
        self._group = group
        self._complete_from_ms = 0
        self.count = 0
        database.execute(
            "CREATE TABLE dead_letters (topic TEXT, part INT, place INT, reason TEXT, "
            "PRIMARY KEY (topic, part, place)) WITHOUT ROWID"
        )

    async def load(self, reader: RangeReader, topic: str) -> None:
        """Read the whole topic, anew. Raises ``TransientError`` while it cannot be read."""
        self._database.execute("DELETE FROM dead_letters")
        self.count, self._complete_from_ms = 0, 0
        ranges = await reader.ranges([topic])
        firsts: dict[int, int] = {}
        async for partition, records in reader.read(ranges):
            firsts.setdefault(partition.partition, records[0].timestamp_ms)
            self._add(records)
        for part in ranges:
            if part.first > 0:
                # Older ones are gone; what is left begins at the first one's time.
                begins = firsts.get(part.partition.partition, int(time.time() * 1000))
                self._complete_from_ms = max(self._complete_from_ms, begins)

    def _add(self, records: Sequence[Record]) -> None:
        rows = []
        for record in records:
            info = origin_of(record.headers)
            if info is not None and info.group == self._group:
                # One whose reason cannot be read accounts for its record all the same.
                rows.append((*info.origin, info.reason or Reason.UNDECODABLE))
        self.count += len(rows)
        self._database.executemany("INSERT OR REPLACE INTO dead_letters VALUES (?, ?, ?, ?)", rows)

    def find(self, records: Sequence[Record]) -> list[DeadLetterEntry]:
        """Return what is known of the dead letter of each record.

        A dead letter is younger than its record, so that those of a record that is younger than
        the oldest one left cannot have expired. Where none has expired, no record's has,
        whatever its time; a record without one may be of any time.
        """
        if not (self.count or self._complete_from_ms):
            return [NO_LETTER] * len(records)
        entries: list[DeadLetterEntry] = []
        for partition, group in groupby(records, attrgetter("topic_partition")):
            of_partition = list(group)
            offsets = [record.offset for record in of_partition]
            rows = self._database.execute(
                "SELECT place, reason FROM dead_letters "
                "WHERE topic = ? AND part = ? AND place BETWEEN ? AND ?",
                (*partition, min(offsets), max(offsets)),
            )
            reasons = {place: Reason(reason) for place, reason in rows}
            entries += [self._entry(record, reasons.get(record.offset)) for record in of_partition]
        return entries

    def _entry(self, record: Record, reason: Reason | None) -> DeadLetterEntry:
        some_are_gone = self._complete_from_ms > 0
        too_old = some_are_gone and record.timestamp_ms < self._complete_from_ms
        return DeadLetterEntry(reason, expired=reason is None and too_old)


@dataclass(frozen=True, slots=True)
class RecordJudge:
    """Judges records by the documents and dead letters that are there now.

    ``dead_letters`` must have been loaded; ``max_value_bytes`` is the setting.
    """

    collections: Collections
    dead_letters: DeadLetterIndex
    retention: Retention | None
    max_value_bytes: int

    async def judge(self, records: Sequence[Record]) -> list[JudgedRecord]:
        """Judge a batch, in its order. Raises ``TransientError`` where the store cannot answer."""
        planned = list(map(self._plan, records, self.dead_letters.find(records)))
        expected = [one for one in planned if isinstance(one, _ExpectedDocument)]
        # Of the sessions of events no more is read than their status.
        ids = {one.write.session_id for one in expected if isinstance(one.write, EventWrite)}
        sessions: dict[str, list[Stored | None]] = {session_id: [] for session_id in ids}
        await self._ask(
            Asked(ActivityWrite(session_id), found.append) for session_id, found in sessions.items()
        )
        for one in expected:
            found = sessions.get(one.write.session_id, ())
            one.sessions = [document for document in found if document is not None]
        same = await self._find_same(expected)
        for number in same:
            one = expected[number]
            one.found.append(judge_session(one.write, one.sessions))
        await self._ask(
            Asked(one.write, one.tell, _fields(one.write))
            for number, one in enumerate(expected)
            if number not in same
        )
        return [one.judge() if isinstance(one, _ExpectedDocument) else one for one in planned]

    def _plan(
        self, record: Record, dead_letter: DeadLetterEntry
    ) -> JudgedRecord | _ExpectedDocument:
        # A key that differs was dead-lettered or not, as the policy was then: both are fine.
        decoded = decode(record, KeyPolicy.WARN, self.max_value_bytes)
        match decoded:
            case Rejected():
                return JudgedRecord(record, decoded, judge_rejected(dead_letter))
            case Tombstone():
                return JudgedRecord(record, None, SKIPPED)
            case Decoded():
                lifetime = FOR_EVER
                if self.retention is not None:
                    lifetime = self.retention.lifetime(record, datetime.now(UTC))
                write = plan(decoded.message, record, lifetime.expire_at)
                if not isinstance(write, Rejected):
                    return _ExpectedDocument(record, write, dead_letter, over=lifetime.over)
                if lifetime.over:
                    return JudgedRecord(record, None, SKIPPED)
                return JudgedRecord(record, write, judge_rejected(dead_letter))

    async def _find_same(self, expected: Sequence[_ExpectedDocument]) -> Collection[int]:
        """Return those events that are there, byte for byte: nothing of them is decoded.

        Of several records of one event the first is looked for so.
        """
        firsts: dict[tuple[str, ...], int] = {}
        events: dict[int, EventWrite] = {}
        for number, one in enumerate(expected):
            write = one.write
            if isinstance(write, EventWrite) and firsts.setdefault(write.ids, number) == number:
                events[number] = write
        return await LookUp(self.collections).find_same(events)

    async def _ask(self, asked: Iterable[Asked]) -> None:
        for error in await LookUp(self.collections).ask(asked):
            raise error


@dataclass(slots=True)
class _ExpectedDocument:
    """What is found under the identity of one write: judged as it comes, and then let go.

    ``over``: it was not written, or has expired, unless it was kept for longer then.
    """

    record: Record
    write: Write
    dead_letter: DeadLetterEntry
    over: bool
    sessions: Sequence[Stored] = ()
    found: list[Judgement] = field(default_factory=list)

    def tell(self, document: Stored | None) -> None:
        self.found.append(judge_stored(self.write, document, self.sessions, self.dead_letter))

    def judge(self) -> JudgedRecord:
        (judgement, *others) = self.found
        if others:
            judgement = judge_repeated(self.write, len(self.found))
        elif self.over and judgement.result not in _EVEN_IF_OVER:
            judgement = SKIPPED
        return JudgedRecord(self.record, self.write, judgement)


def _fields(write: Write) -> tuple[str, ...]:
    """Return what is read of a session besides what it is judged by: all that was written."""
    return () if write.is_whole else tuple(write.content.keys())


@dataclass(slots=True)
class LogJudge:
    """Selects ranges of the log, reads them, and judges their records.

    Once it has begun it waits for either server for ever, as a run does: what was found so far
    would be lost with the command. ``committed``: what the group had committed before anything
    is looked up, so that this has left its trace.
    """

    settings: Settings
    database: sqlite3.Connection
    reader: RangeReader
    collections: Collections
    sessions: SessionReader
    retention: Retention | None
    committed: CommittedOffsets
    policy: RetryPolicy = field(init=False)
    dead_letters: DeadLetterIndex = field(init=False)

    def __post_init__(self) -> None:
        """Keep the index of dead letters in ``database``, a scratch database."""
        engine = self.settings.engine
        self.policy = RetryPolicy(Backoff(engine.backoff_initial, engine.backoff_max))
        self.dead_letters = DeadLetterIndex(self.database, self.settings.kafka.group_id)

    async def select(self, selection: RecordSelection, now: datetime) -> SelectedRanges:
        """Return what the selection means, and index the dead letters.

        Raises ``PreconditionError`` where a server does not answer in time.
        """
        settings = self.settings
        policy, sessions = startup_policy(settings), selection.sessions
        came_from = await retry_until("MongoDB", lambda: self.sessions.came_from(sessions), policy)
        topics = selection.topics or settings.kafka.topics
        selected = await retry_until(
            "Kafka", lambda: select_ranges(self.reader, selection, topics, now, came_from), policy
        )
        dead = settings.dead_letters.topic
        # What could not be read for a look at the keys is met again where it is wanted.
        self.reader.unread.clear()
        await retry_until("Kafka", lambda: self.dead_letters.load(self.reader, dead), self.policy)
        return selected

    async def judge(
        self,
        what: str,
        ranges: Sequence[OffsetRange],
        record_filter: MessageFilter,
        accept: Callable[[TopicPartition, Sequence[JudgedRecord]], None],
    ) -> None:
        """Judge the wanted records of the ranges; ``accept`` gets them in the order of the log.

        A few batches at once, of which nothing is kept. ``what`` names it to whoever watches.
        """
        max_bytes = self.settings.kafka.max_value_bytes
        judge = RecordJudge(self.collections, self.dead_letters, self.retention, max_bytes)
        running: deque[asyncio.Task[tuple[TopicPartition, int, list[JudgedRecord]]]] = deque()

        async def judge_batch(
            partition: TopicPartition, records: Sequence[Record]
        ) -> tuple[TopicPartition, int, list[JudgedRecord]]:
            wanted = [record for record in records if record_filter.matches(record)]
            judged = await retry_until("MongoDB", lambda: judge.judge(wanted), self.policy)
            return partition, len(records), judged

        async def finish_first() -> None:
            partition, offsets, judged = await running.popleft()
            accept(partition, judged)
            advance(offsets)

        try:
            with progress(what, offsets_of(ranges), log=get_logger().info) as advance:
                async for partition, records in self.read(ranges):
                    running.append(asyncio.ensure_future(judge_batch(partition, records)))
                    if len(running) >= BATCHES_AT_ONCE:
                        await finish_first()
                while running:
                    await finish_first()
        finally:
            await cancel_and_wait(*running)

    async def read(
        self, ranges: Iterable[OffsetRange]
    ) -> AsyncIterator[tuple[TopicPartition, Sequence[Record]]]:
        """Yield the records of all ranges as ``RangeReader.read`` does, over any outage."""
        left = {part.partition: part for part in ranges}
        found = read_over_outages(
            "Kafka", lambda: self.reader.read(list(left.values())), self.policy
        )
        async for partition, records in found:
            yield partition, records
            left[partition] = replace(left[partition], first=records[-1].offset + 1)


async def read_over_outages(
    server: str, read_on: Callable[[], AsyncIterator[T]], policy: RetryPolicy
) -> AsyncIterator[T]:
    """Yield all that ``read_on`` yields, calling it anew behind what came before each outage."""
    items = read_on()

    async def read_next() -> tuple[T, ...]:
        nonlocal items
        try:
            return (await anext(items),)
        except StopAsyncIteration:
            return ()
        except TransientError:
            items = read_on()
            raise

    while item := await retry_until(server, read_next, policy):
        yield item[0]


@asynccontextmanager
async def open_log_judge(settings: Settings) -> AsyncIterator[LogJudge]:
    """Open all that is looked at.

    Raises ``PreconditionError`` where a server does not answer, or the group's records were stored
    elsewhere: all of them would be missing here.
    """
    retention = await ask_retention(settings)
    async with AsyncExitStack() as stack:
        database = stack.enter_context(scratch_database())
        policy = startup_policy(settings)
        reader = await retry_until(
            "Kafka", lambda: stack.enter_async_context(open_range_reader(settings.kafka)), policy
        )
        store = await stack.enter_async_context(open_store(settings.mongo))
        await await_database(store, policy)
        ask_target = partial(retry_until, "MongoDB", store.target, policy)
        ask_group = partial(describe_own_group, settings, ask_target)
        # Not cut short: MongoDB is asked within, by a name of its own.
        group = await retry_until("Kafka", ask_group, policy, cancel=False)
        sessions = SessionReader(store.client, settings.mongo)
        committed = CommittedOffsets(group.offsets)
        yield LogJudge(
            settings, database, reader, store.collections, sessions, retention, committed
        )
