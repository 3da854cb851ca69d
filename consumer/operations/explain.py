"""``consumer explain``: everything there is about one session, on one screen."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from consumer.contract.dead_letter_headers import DeadLetterInfo, origin_of
from consumer.contract.record import Record, TopicPartition
from consumer.contract.record_time import usable_time
from consumer.contract.rejection import Rejected
from consumer.contract.rfc3339 import format_time
from consumer.errors import ExitCode, PreconditionError, TransientError
from consumer.operations.audit.accounts import unread
from consumer.operations.audit.judging import JudgedRecord, RecordJudge
from consumer.operations.audit.letters import LettersOnDisk
from consumer.operations.console import console, to_json
from consumer.operations.consumed import consumed_by_group
from consumer.operations.replay.filters import MessageFilter
from consumer.operations.replay.on_disk import scratch_database
from consumer.operations.replay.progress import shown_progress
from consumer.operations.replay.request import Request, check_session_id
from consumer.operations.replay.selection import select
from consumer.operations.show import event_line
from consumer.printable import printable
from consumer.settings import Settings
from consumer.state.retention import Retention
from consumer.state.writes import CreateWrite, EndWrite, EventWrite
from consumer.store.opening import open_store
from consumer.store.reading import SessionReader, open_session_reader
from consumer.stream.range_reader import RangeReader, open_range_reader
from consumer.stream.ranges import OffsetRange, offsets_of

AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Explained:
    """What was found of a session. Its records are few, however large the log is."""

    session_id: str
    homes: Sequence[TopicPartition]
    records: Sequence[JudgedRecord]
    letters: Sequence[tuple[Record, DeadLetterInfo]]
    session: Mapping[str, Any] | None
    events: int
    not_read: Sequence[str] = ()
    """What of the topics could not be read: it may have records of the session, too."""


async def explain(
    settings: Settings, request: Request, retention: Retention | None, *, as_json: bool
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
        async with open_session_reader(settings.mongo) as reader:
            await _print(found, reader)
    known = found.records or found.letters or found.events or found.session is not None
    return ExitCode.DONE if known and not found.not_read else ExitCode.FOUND


async def _explained(
    settings: Settings, request: Request, retention: Retention | None
) -> Explained:
    (session_id,) = request.sessions
    async with AsyncExitStack() as stack:
        database = stack.enter_context(scratch_database())
        reader = await stack.enter_async_context(open_range_reader(settings.kafka))
        store = await stack.enter_async_context(open_store(settings.mongo))
        sessions = await stack.enter_async_context(open_session_reader(settings.mongo))
        # Asked before anything is looked up: what was committed by then has left its trace.
        consumed = await consumed_by_group(settings.kafka)
        index = LettersOnDisk(database, settings.kafka.group_id)
        await index.load(reader, settings.dead_letters.topic)
        judge = RecordJudge(store.collections, index, retention, settings.kafka.max_value_bytes)
        topics = request.topics or settings.kafka.topics
        selected = await select(reader, request, topics, datetime.now(UTC))
        records = await _records(reader, selected.ranges, request.sessions, judge)
        letters = await _letters(settings, reader, session_id, records)
        return Explained(
            session_id,
            [part.partition for part in selected.ranges],
            [
                each
                if consumed.covers(each.record)
                else replace(each, judged=unread(each.write, each.judged))
                for each in records
            ],
            letters,
            await sessions.session(session_id),
            await sessions.count_events(session_id),
            [str(part) for part in reader.spoilt],
        )


async def _records(
    reader: RangeReader,
    ranges: Sequence[OffsetRange],
    sessions: Sequence[str],
    judge: RecordJudge,
) -> list[JudgedRecord]:
    """Return the judged records of the sessions."""
    records: list[JudgedRecord] = []
    done = 0
    wanted = MessageFilter(sessions)
    async with shown_progress("explaining", offsets_of(ranges), lambda: done):
        async for _, batch in reader.read(ranges):
            own = [record for record in batch if wanted.wants(record)]
            records += await judge.judged(own)
            done += len(batch)
    return records


async def _letters(
    settings: Settings, reader: RangeReader, session_id: str, records: Sequence[JudgedRecord]
) -> list[tuple[Record, DeadLetterInfo]]:
    """Return the session's dead letters: those of its records, and those under its key."""
    origins = {each.record.position for each in records}
    partitions = await reader.partitions_of([settings.dead_letters.topic])
    found = []
    async for _, batch in reader.read(await reader.ranges(partitions)):
        for record in batch:
            info = origin_of(record.headers)
            own_key = record.key == session_id.encode("utf-8", "surrogatepass")
            if info is not None and (own_key or info.origin in origins):
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


def _facts(found: Explained) -> dict[str, object]:
    return {
        "sessionId": found.session_id,
        "partitions": [f"{home.topic}-{home.partition}" for home in found.homes],
        "records": [
            {
                "topic": each.record.topic,
                "partition": each.record.partition,
                "offset": each.record.offset,
                "timestamp": _stamp(each.record),
                "kind": _kind(each),
                "outcome": each.judged.account.value,
                "detail": each.judged.detail,
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
            }
            for record, info in found.letters
        ],
        "session": json.loads(to_json(found.session)) if found.session else None,
        "storedEvents": found.events,
        "notRead": list(found.not_read),
    }


async def _print(found: Explained, reader: SessionReader) -> None:
    out = console()
    homes = ", ".join(f"{printable(home.topic)}-{home.partition}" for home in found.homes)
    out.print(Text(f"session {printable(found.session_id)}, its key leads to {homes}\n"))
    table = Table("record", "stamped", "kind", "outcome", "", box=None, pad_edge=False)
    for each in found.records:
        record = each.record
        table.add_row(
            _place(record.topic, record.partition, record.offset),
            _stamp(record),
            Text(printable(_kind(each))),
            each.judged.account.value,
            Text(printable(each.judged.detail)),
        )
    out.print(table)
    for line in found.not_read:
        out.print(Text(printable(line)))
    out.print(Text(f"\n{len(found.letters)} dead letters"))
    for record, info in found.letters:
        out.print(
            Text(
                f"  {_place(record.topic, record.partition, record.offset)}: "
                f"{info.reason or 'unknown reason'}: {printable(info.detail)} "
                f"(from {_place(*info.origin)}, attempt {info.attempt})"
            )
        )
    session = to_json(found.session) if found.session else "no session document"
    out.print(Text(f"\n{session}\n{found.events} events stored"))
    async for event in reader.events(found.session_id):
        out.print(event_line(event))
