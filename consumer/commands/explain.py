"""``consumer explain``: everything there is about one session, on one screen."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from consumer.aio import Backoff
from consumer.commands.audit.judging import (
    JudgedRecord,
    RecordJudge,
    answered,
    over_outages,
    read_through,
)
from consumer.commands.audit.letters import DeadLetterIndex
from consumer.commands.audit.verdicts import judge_unread
from consumer.commands.common.output import add_name_column, console, show_progress, to_json
from consumer.commands.common.record_selection import (
    MessageFilter,
    RecordSelection,
    check_session_id,
)
from consumer.commands.common.scratch import scratch_database
from consumer.commands.common.selected_ranges import (
    CommittedOffsets,
    fetch_committed_offsets,
    select_ranges,
)
from consumer.commands.show import event_line
from consumer.contract.dead_letter import DeadLetterInfo, attempt_of, origin_of
from consumer.contract.record import Record, TopicPartition, last_header
from consumer.contract.rejection import Rejected
from consumer.contract.times import REDRIVE_TIMESTAMP, format_time, usable_time
from consumer.errors import ExitCode, PreconditionError, TransientError
from consumer.kafka.range_reader import RangeReader, open_range_reader
from consumer.kafka.ranges import OffsetRange, offsets_of
from consumer.mongo.collections import Collections
from consumer.mongo.session_reader import SessionReader, open_session_reader
from consumer.mongo.store import open_store
from consumer.printable import printable
from consumer.settings import Settings
from consumer.state.retention import Retention
from consumer.state.writes import CreateWrite, EndWrite, EventWrite
from consumer.wiring import retry_until, startup_policy


@dataclass(frozen=True, slots=True)
class Explained:
    """What was found of a session. Its records are few, however large the log is."""

    session_id: str
    looked_at: Sequence[TopicPartition]
    records: Sequence[JudgedRecord]
    letters: Sequence[tuple[Record, DeadLetterInfo]]
    session: Mapping[str, Any] | None
    events: int
    not_read: Sequence[str] = ()
    """What of the topics could not be read: it may have records of the session, too."""
    left_out: int = 0
    """Partitions that were not read, since no record of the session should be there."""


async def explain(
    settings: Settings, request: RecordSelection, retention: Retention | None, *, as_json: bool
) -> ExitCode:
    """Print what the log, the store and the dead-letter topic hold of the request's one session.

    ``FOUND`` as exit code where nothing is known of it anywhere, or where part of the topics
    cannot be read. Raises
    ``PreconditionError`` where a server does not answer, ``SettingsError`` for what cannot
    be the id of a session.
    """
    for session_id in request.sessions:
        check_session_id(session_id)
    try:
        found = await _explained(settings, request, retention)
    except TransientError as error:
        raise PreconditionError(f"a server does not answer ({error})") from error
    if as_json:
        console().out(json.dumps(_facts(found)))
    else:
        backoff = Backoff(settings.engine.backoff_initial, settings.engine.backoff_max)
        async with open_session_reader(settings.mongo) as reader:
            with _paged(console(), found) as out:
                await _print(out, found, _events(reader, found.session_id, backoff))
    known = found.records or found.letters or found.events or found.session is not None
    return ExitCode.DONE if known and not found.not_read else ExitCode.FOUND


async def _explained(
    settings: Settings, request: RecordSelection, retention: Retention | None
) -> Explained:
    async with AsyncExitStack() as stack:
        database = stack.enter_context(scratch_database())
        reader = await retry_until(
            "Kafka",
            lambda: stack.enter_async_context(open_range_reader(settings.kafka)),
            startup_policy(settings),
        )
        store = await stack.enter_async_context(open_store(settings.mongo))
        sessions = await stack.enter_async_context(open_session_reader(settings.mongo))
        # Asked before anything is looked up: what was committed by then has left its trace.
        consumed = await retry_until(
            "Kafka", lambda: fetch_committed_offsets(settings.kafka), startup_policy(settings)
        )
        explainer = Explainer(settings, database, reader, store.collections, sessions, retention)
        return await explainer.explained(request, consumed)


class Explainer:
    """Looks up everything there is about one session."""

    def __init__(
        self,
        settings: Settings,
        database: sqlite3.Connection,
        reader: RangeReader,
        collections: Collections,
        sessions: SessionReader,
        retention: Retention | None,
    ) -> None:
        """Keep the index of dead letters in ``database``."""
        self._settings = settings
        self._reader = reader
        self._sessions = sessions
        self._backoff = Backoff(settings.engine.backoff_initial, settings.engine.backoff_max)
        self._index = DeadLetterIndex(database, settings.kafka.group_id)
        self._judge = RecordJudge(
            collections, self._index, retention, settings.kafka.max_value_bytes, self._backoff
        )

    async def explained(self, request: RecordSelection, consumed: CommittedOffsets) -> Explained:
        """Return what was found of the request's one session.

        Raises ``PreconditionError`` where a server does not answer at the start; later it is
        waited for.
        """
        (session_id,) = request.sessions
        came_from = await retry_until(
            "MongoDB",
            lambda: self._sessions.came_from([session_id]),
            startup_policy(self._settings),
        )
        topics, now = request.topics or self._settings.kafka.topics, datetime.now(UTC)
        selected = await retry_until(
            "Kafka",
            lambda: select_ranges(self._reader, request, topics, now, came_from),
            startup_policy(self._settings),
        )
        dead = self._settings.dead_letters.topic
        await answered("Kafka", lambda: self._index.load(self._reader, dead), self._backoff)
        looked_at, left_out = list(selected.ranges), selected.elsewhere
        records = await self._records(looked_at, session_id)
        if not records and left_out:
            # Nothing where its key leads is no sign that there is nothing.
            records = await self._records(left_out, session_id)
            looked_at, left_out = looked_at + list(left_out), ()
        letters = await self._letters(session_id, records)
        session = await answered(
            "MongoDB", lambda: self._sessions.session(session_id), self._backoff
        )
        events = await answered(
            "MongoDB", lambda: self._sessions.count_events(session_id), self._backoff
        )
        return Explained(
            session_id,
            [part.partition for part in looked_at],
            [
                each
                if consumed.covers(each.record)
                else replace(each, judgement=judge_unread(each.write, each.judgement))
                for each in records
            ],
            letters,
            session,
            events,
            list(dict.fromkeys(map(str, self._reader.spoilt))),
            len(left_out),
        )

    async def _records(self, ranges: Sequence[OffsetRange], session_id: str) -> list[JudgedRecord]:
        """Return the judged records of the session."""
        records: list[JudgedRecord] = []
        done = 0
        wanted = MessageFilter([session_id])
        async with show_progress("explaining", offsets_of(ranges), lambda: done):
            async for _, batch in read_through(self._reader, ranges, self._backoff):
                own = [record for record in batch if wanted.matches(record)]
                records += await self._judge.judged(own)
                done += len(batch)
        return records

    async def _letters(
        self, session_id: str, records: Sequence[JudgedRecord]
    ) -> list[tuple[Record, DeadLetterInfo]]:
        """Return the session's dead letters: those of its records, and those that are about it.

        Whatever their key: a letter has the key of its record, which need not be the session.
        """
        origins = {each.record.position for each in records}
        wanted = MessageFilter([session_id])
        topic = self._settings.dead_letters.topic

        async def ranges() -> list[OffsetRange]:
            return await self._reader.ranges(await self._reader.partitions_of([topic]))

        found = []
        whole = await answered("Kafka", ranges, self._backoff)
        async for _, batch in read_through(self._reader, whole, self._backoff):
            for record in batch:
                info = origin_of(record.headers)
                if info is not None and (info.origin in origins or wanted.matches(record)):
                    found.append((record, info))
        return found


def _kind(each: JudgedRecord) -> str:
    write = each.write
    match write:
        case EventWrite():
            return f"event {write.event_id}"
        case CreateWrite():
            return "created"
        case EndWrite():
            return write.status.value
        case Rejected():
            return f"rejected: {write.reason}"
        case None:
            return "skipped"


def _stamp(record: Record) -> str:
    stamped = usable_time(record.timestamp_ms)
    return format_time(stamped) if stamped else str(record.timestamp_ms)


def _place(topic: str, partition: int, offset: int) -> str:
    return f"{printable(topic)}-{partition} @ {offset}"


def _sent_back(found: Explained, letter: Record, info: DeadLetterInfo) -> JudgedRecord | None:
    """Return the record as which a letter was sent back, None where none of the session is it.

    It goes to the topic it came from, counts the letter's attempts on and keeps its timestamp.
    A transform may have changed its value, but not into that of another letter.
    """
    stamped = b"" if info.timestamp_ms is None else str(info.timestamp_ms).encode()
    candidates = [
        each
        for each in found.records
        if each.record.topic == info.origin.topic
        and each.record.position != info.origin
        and last_header(each.record.headers, REDRIVE_TIMESTAMP) == stamped
        and attempt_of(each.record.headers) == info.attempt
    ]
    others = {other.value for other, _ in found.letters if other is not letter}
    same = [each for each in candidates if each.record.value == letter.value]
    changed = [each for each in candidates if each.record.value not in others]
    return next(iter(same or changed), None)


def _facts(found: Explained) -> dict[str, object]:
    return {
        "sessionId": found.session_id,
        "partitions": [f"{part.topic}-{part.partition}" for part in found.looked_at],
        "partitionsLeftOut": found.left_out,
        "records": [
            {
                "topic": each.record.topic,
                "partition": each.record.partition,
                "offset": each.record.offset,
                "timestamp": _stamp(each.record),
                "kind": _kind(each),
                "outcome": each.judgement.result.value,
                "detail": each.judgement.detail,
            }
            for each in found.records
        ],
        "deadLetters": [
            {
                "topic": record.topic,
                "partition": record.partition,
                "offset": record.offset,
                "reason": info.reason,
                "detail": info.detail,
                "origin": list(info.origin),
                "attempt": info.attempt,
                "sentBack": list(back.record.position) if back else None,
            }
            for record, info in found.letters
            for back in [_sent_back(found, record, info)]
        ],
        "session": json.loads(to_json(found.session)) if found.session else None,
        "storedEvents": found.events,
        "notRead": list(found.not_read),
    }


async def _events(
    reader: SessionReader, session_id: str, backoff: Backoff
) -> AsyncIterator[Mapping[str, Any]]:
    """Yield the session's events in order, over any outage: half of it is printed by then."""
    last: Mapping[str, Any] | None = None
    found = over_outages("MongoDB", lambda: reader.events(session_id, last), backoff)
    async for event in found:
        last = event
        yield event


@contextmanager
def _paged(out: Console, found: Explained) -> Iterator[Console]:
    """Print through the user's pager on a terminal that is too short for it."""
    lines = len(found.records) + len(found.letters) + found.events
    if out.is_terminal and lines > out.height:
        with out.pager():
            yield out
    else:
        yield out


async def _print(out: Console, found: Explained, events: AsyncIterable[Mapping[str, Any]]) -> None:
    looked_at = ", ".join(f"{printable(one.topic)}-{one.partition}" for one in found.looked_at)
    out.print(Text(f"session {printable(found.session_id)}, looked for in {looked_at}"))
    if found.left_out:
        out.print(
            Text(
                f"{found.left_out} partitions not read: its key does not lead there, and no "
                "document came from there; --all-partitions reads them too"
            )
        )
    out.print()
    table = Table(box=None, pad_edge=False)
    records = [each.record for each in found.records]
    add_name_column(table, "record", [_place(r.topic, r.partition, r.offset) for r in records])
    for title in ("stamped", "kind", "outcome", ""):
        table.add_column(title)
    for each in found.records:
        record = each.record
        table.add_row(
            _place(record.topic, record.partition, record.offset),
            _stamp(record),
            Text(printable(_kind(each))),
            each.judgement.result.value,
            Text(printable(each.judgement.detail)),
        )
    out.print(table)
    for line in found.not_read:
        out.print(Text(printable(line)))
    out.print(Text(f"\n{len(found.letters)} dead letters"))
    for record, info in found.letters:
        back = _sent_back(found, record, info)
        said = f"; sent back as {_place(*back.record.position)}" if back else ""
        out.print(
            Text(
                f"  {_place(record.topic, record.partition, record.offset)}: "
                f"{info.reason or 'unknown reason'}: {printable(info.detail)} "
                f"(from {_place(*info.origin)}, attempt {info.attempt}{said})"
            )
        )
    session = to_json(found.session) if found.session else "no session document"
    out.print(Text(f"\n{session}\n{found.events} events stored"))
    async for event in events:
        out.print(event_line(event))
