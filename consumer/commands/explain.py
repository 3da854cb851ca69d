"""``consumer explain``: everything there is about one session, on one screen."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from consumer.commands.audit.judging import (
    JudgedRecord,
    LogJudge,
    open_log_judge,
    read_over_outages,
)
from consumer.commands.audit.verdicts import judge_unread
from consumer.commands.common.output import (
    add_name_column,
    console,
    position_text,
    to_json,
)
from consumer.commands.common.record_selection import (
    MessageFilter,
    RecordSelection,
    check_selection,
    check_session_id,
)
from consumer.commands.common.selected_ranges import LeftOut
from consumer.commands.show import event_line
from consumer.contract.dead_letter import DeadLetterInfo, attempt_of, origin_of
from consumer.contract.record import Record, TopicPartition, last_header
from consumer.contract.rejection import Rejected
from consumer.contract.times import REDRIVE_TIMESTAMP, format_time, usable_time
from consumer.errors import ExitCode, must_answer
from consumer.mongo.session_reader import SessionReader
from consumer.printable import printable
from consumer.quantities import plural
from consumer.settings.model import Settings
from consumer.state.writes import DocumentWrite, EventWrite
from consumer.wiring import RetryPolicy, retry_until


@dataclass(frozen=True, slots=True)
class Explanation:
    """What was found of a session. Its records are few, however large the log is."""

    session_id: str
    looked_at: Sequence[TopicPartition]
    records: Sequence[JudgedRecord]
    dead_letters: Sequence[tuple[Record, DeadLetterInfo]]
    session: Mapping[str, Any] | None
    events: int
    not_read: Sequence[str] = ()
    """What of the topics could not be read: it may have records of the session, too."""
    left_out: LeftOut = field(default_factory=LeftOut)
    others: Mapping[str, int] = field(default_factory=dict)
    """How many documents there are of kinds that others declared, by collection."""


async def explain_session(
    settings: Settings, selection: RecordSelection, *, as_json: bool
) -> ExitCode:
    """Print what log, store and dead-letter topic hold of the one session that is selected.

    ``FOUND`` as exit code where nothing is known of it anywhere, or where part of the topics
    cannot be read. Raises ``PreconditionError`` where a server does not answer,
    ``SettingsError`` for what cannot be the id of a session, or a time.
    """
    for session_id in selection.sessions:
        check_session_id(session_id)
    check_selection(selection)
    out = console()
    with must_answer("a server"), ExitStack() as stack:
        async with open_log_judge(settings) as log:
            found = await find_session(log, selection)
            if as_json:
                out.out(json.dumps(_facts(found)))
            else:
                # A pager shows what it was given at its end, when all is closed.
                stack.enter_context(_paged(out, found))
                events = _events(log.sessions, found.session_id, log.policy)
                await _print(out, found, events)
                async for collection, document in log.sessions.others(found.session_id):
                    out.print(Text(printable(f"{collection}: {to_json(document)}")))
    stored = found.session is not None or found.events or any(found.others.values())
    known = found.records or found.dead_letters or stored
    return ExitCode.DONE if known and not found.not_read else ExitCode.FOUND


async def find_session(log: LogJudge, selection: RecordSelection) -> Explanation:
    """Return what there is of the one session that is selected.

    Raises ``PreconditionError`` where a server does not answer at the start; later it is
    waited for.
    """
    (session_id,) = selection.sessions
    selected = await log.select(selection, datetime.now(UTC))
    looked_at, left_out = list(selected.ranges), selected.left_out
    wanted = MessageFilter(log.settings.kafka.max_value_bytes, [session_id])
    records: list[JudgedRecord] = []

    def accept(_: TopicPartition, judged: Sequence[JudgedRecord]) -> None:
        for each in judged:
            read = log.committed.covers(each.record)
            found = each.judgement if read else judge_unread(each.write, each.judgement)
            records.append(each._replace(judgement=found))

    await log.judge("explaining", looked_at, wanted, accept)
    if not records and selected.elsewhere:
        # Nothing where its key leads is no sign that there is nothing.
        await log.judge("explaining", selected.elsewhere, wanted, accept)
        looked_at += selected.elsewhere
        left_out = replace(left_out, partitions_left_out=0)
    dead_letters = await _find_dead_letters(log, wanted, records)
    sessions, policy = log.sessions, log.policy
    return Explanation(
        session_id,
        [part.partition for part in looked_at],
        records,
        dead_letters,
        await retry_until("MongoDB", lambda: sessions.session(session_id), policy),
        await retry_until("MongoDB", lambda: sessions.count_events(session_id), policy),
        list(dict.fromkeys(map(str, log.reader.unreadable))),
        left_out,
        await retry_until("MongoDB", lambda: sessions.count_others(session_id), policy),
    )


async def _find_dead_letters(
    log: LogJudge, wanted: MessageFilter, records: Sequence[JudgedRecord]
) -> list[tuple[Record, DeadLetterInfo]]:
    """Return the session's dead letters: those of its records, and those that are about it.

    Whatever their key: a letter has the key of its record, which need not be the session.
    """
    origins = {each.record.position for each in records}
    topic = log.settings.dead_letters.topic
    ranges = await retry_until("Kafka", lambda: log.reader.ranges([topic]), log.policy)
    found = []
    async for _, batch in log.read(ranges):
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
        case DocumentWrite() if write.is_whole:
            return " ".join((write.kind.name, *write.ids[1:]))
        case DocumentWrite():
            return write.ends_as or "created"
        case Rejected():
            return f"rejected: {write.reason}"
        case None:
            return "skipped"


def _stamp(record: Record) -> str:
    stamped = usable_time(record.timestamp_ms)
    return format_time(stamped) if stamped else str(record.timestamp_ms)


def _sent_back(
    found: Explanation, dead_letter: Record, info: DeadLetterInfo
) -> JudgedRecord | None:
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
    others = {other.value for other, _ in found.dead_letters if other is not dead_letter}
    same = [each for each in candidates if each.record.value == dead_letter.value]
    changed = [each for each in candidates if each.record.value not in others]
    return next(iter(same or changed), None)


def _facts(found: Explanation) -> dict[str, object]:
    return {
        "session_id": found.session_id,
        "partitions": [part.name for part in found.looked_at],
        **asdict(found.left_out),
        "records": [
            {
                **each.record.position._asdict(),
                "timestamp": _stamp(each.record),
                "kind": _kind(each),
                "outcome": each.judgement.result.value,
                "detail": each.judgement.detail,
            }
            for each in found.records
        ],
        "dead_letters": [
            {
                **record.position._asdict(),
                "reason": info.reason,
                "detail": info.detail,
                "origin": list(info.origin),
                "attempt": info.attempt,
                "sent_back": list(back.record.position) if back else None,
            }
            for record, info in found.dead_letters
            for back in [_sent_back(found, record, info)]
        ],
        "session": json.loads(to_json(found.session)) if found.session else None,
        "stored_events": found.events,
        "stored_documents": dict(found.others),
        "not_read": list(found.not_read),
    }


async def _events(
    reader: SessionReader, session_id: str, policy: RetryPolicy
) -> AsyncIterator[Mapping[str, Any]]:
    """Yield the session's events in order, over any outage: half of it is printed by then."""
    last: Mapping[str, Any] | None = None
    found = read_over_outages("MongoDB", lambda: reader.events(session_id, last), policy)
    async for event in found:
        last = event
        yield event


def _paged(out: Console, found: Explanation) -> AbstractContextManager[object]:
    """Return the user's pager on a terminal that is too short for it."""
    lines = len(found.records) + len(found.dead_letters) + found.events
    return out.pager() if out.is_terminal and lines > out.height else nullcontext()


async def _print(
    out: Console, found: Explanation, events: AsyncIterable[Mapping[str, Any]]
) -> None:
    looked_at = ", ".join(printable(one.name) for one in found.looked_at)
    out.print(Text(f"session {printable(found.session_id)}, looked for in {looked_at}"))
    for line in found.left_out.remarks():
        out.print(Text(line))
    out.print()
    table = Table(box=None, pad_edge=False)
    places = [position_text(*each.record.position) for each in found.records]
    add_name_column(table, "record", places)
    for title in ("stamped", "kind", "outcome", ""):
        table.add_column(title, overflow="fold")
    for place, each in zip(places, found.records, strict=True):
        table.add_row(
            place,
            _stamp(each.record),
            Text(printable(_kind(each))),
            each.judgement.result.value,
            Text(printable(each.judgement.detail)),
        )
    out.print(table)
    for line in found.not_read:
        out.print(Text(printable(line)))
    out.print(Text(f"\n{plural(len(found.dead_letters), 'dead letter')}"))
    for record, info in found.dead_letters:
        back = _sent_back(found, record, info)
        said = f"; sent back as {position_text(*back.record.position)}" if back else ""
        out.print(
            Text(
                f"  {position_text(*record.position)}: "
                f"{info.reason or 'unknown reason'}: {printable(info.detail)} "
                f"(from {position_text(*info.origin)}, attempt {info.attempt}{said})"
            )
        )
    session = to_json(found.session) if found.session else "no session document"
    out.print(Text(f"\n{session}\n{plural(found.events, 'event')} stored"))
    for collection, count in found.others.items():
        out.print(Text(f"{plural(count, 'document')} in {printable(collection)}"))
    async for event in events:
        out.print(event_line(event))
