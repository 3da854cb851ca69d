"""The commands list and show: dead letters as groups, a line each, or with all that they hold."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from consumer.commands.dead_letters.context import open_context, warn
from consumer.commands.dead_letters.dead_letter_record import (
    UNREADABLE,
    AnyDeadLetter,
    DeadLetterRecord,
    UnreadableDeadLetter,
)
from consumer.commands.dead_letters.dead_letter_selection import DeadLetterRequest
from consumer.commands.dead_letters.dead_letter_status import DeadLetterStatus
from consumer.commands.dead_letters.redrive_policy import StatusChange
from consumer.contract.record import Position
from consumer.contract.times import format_time, usable_time
from consumer.errors import ExitCode
from consumer.printable import printable
from consumer.terminal import write, written

SHOWN_BYTES: Final = 4096
"""So much of a value is shown, unless all of it is asked for."""

_WAITING: Final = "waiting"
_COLUMNS: Final = (
    "state",
    "reason",
    "topic",
    "hour",
    "letters",
    "copies",
    "truncated",
    "attempts",
    "first",
)
_NUMBERS: Final = frozenset({"letters", "copies", "truncated", "attempts"})
_SELDOM: Final = frozenset({"copies", "truncated"})


@dataclass(slots=True)
class DeadLetterGroup:
    """Dead letters of one status, reason, topic and hour, and how many they are.

    ``status`` is None where they wait. ``hour`` is that of the failure, in UTC. An unreadable
    one's topic is empty and its hour that of the dead letter itself; None where that has no time
    either. ``copies`` of one failure beyond its first are among the ``letters``. ``first`` is
    where the first one lies; ``attempts`` the highest number of failures.
    """

    status: DeadLetterStatus | None
    reason: str
    topic: str
    hour: datetime | None
    first: Position
    letters: int = 0
    copies: int = 0
    truncated: int = 0
    attempts: int = 0

    @property
    def key(self) -> tuple[str, str, str, float]:
        """What its dead letters share; the groups are in its order, those that wait first."""
        hour = 0.0 if self.hour is None else self.hour.timestamp()
        return self.status or "", self.reason, self.topic, hour


class DeadLetterGroups:
    """Dead letters counted by what they share; as large as there are groups."""

    def __init__(self) -> None:
        """Begin without any."""
        self._groups: dict[tuple[str, str, str, float], DeadLetterGroup] = {}

    def add(
        self, dead_letter: AnyDeadLetter, status: DeadLetterStatus | None, *, copy: bool
    ) -> None:
        """Count a dead letter."""
        position = dead_letter.record.position
        if isinstance(dead_letter, UnreadableDeadLetter):
            group = DeadLetterGroup(status, UNREADABLE, "", _hour(dead_letter.sent_at), position)
        else:
            topic, hour = dead_letter.origin.topic, _hour(dead_letter.failed_at)
            group = DeadLetterGroup(status, dead_letter.reason, topic, hour, position)
        group = self._groups.setdefault(group.key, group)
        group.letters += 1
        group.copies += copy
        if isinstance(dead_letter, DeadLetterRecord):
            group.truncated += dead_letter.truncated
            group.attempts = max(group.attempts, dead_letter.attempt)

    def __iter__(self) -> Iterator[DeadLetterGroup]:
        """Yield the groups in the order of their keys."""
        return (group for _, group in sorted(self._groups.items()))

    @property
    def letters(self) -> int:
        """All dead letters."""
        return sum(group.letters for group in self)

    @property
    def copies(self) -> int:
        """All that repeat another one's failure."""
        return sum(group.copies for group in self)


def _hour(moment: datetime | None) -> datetime | None:
    if moment is None:
        return None
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


async def list_dead_letters(
    request: DeadLetterRequest, *, each: bool, keys: bool, all_statuses: bool
) -> ExitCode:
    """List dead letters, in groups or ``each`` on a line. Raises ``BrokersError``."""
    groups, hidden = DeadLetterGroups(), 0
    async with (
        open_context(request) as context,
        aclosing(context.batches("reading dead letters", quiet=each)) as batches,
    ):
        async for batch in batches:
            for dead_letter in batch:
                key = dead_letter.failure_key
                status = context.statuses.status(key)
                if status is not None and not all_statuses:
                    hidden += 1
                    continue
                groups.add(dead_letter, status, copy=not context.statuses.first_seen(key))
                if each:
                    print_line(dead_letter, status, keys=keys, as_json=request.as_json)
    if not each:
        print_groups(groups, with_status=all_statuses, as_json=request.as_json)
    if hidden:
        warn(f"{hidden:,} letters more have been dealt with; --all lists them too")
    elif not groups.letters:
        warn("no such dead letters")
    return context.exit_code()


async def show_dead_letters(request: DeadLetterRequest, *, limit: int, full: bool) -> ExitCode:
    """Show dead letters with their payloads. Raises ``BrokersError``."""
    shown = 0
    async with (
        open_context(request) as context,
        aclosing(context.batches("looking for them", quiet=True)) as batches,
    ):
        async for batch in batches:
            for dead_letter in batch:
                if shown == limit:
                    warn(f"there may be more than these {limit:,}; --limit shows more")
                    return context.exit_code()
                status = context.statuses.status(dead_letter.failure_key)
                print_dead_letter(dead_letter, status, full=full, as_json=request.as_json)
                shown += 1
    if not shown:
        warn("no such dead letters")
    return context.exit_code(ExitCode.DONE if shown else ExitCode.FOUND)


def print_json(content: object) -> None:
    """Write one line of JSON to standard output."""
    write(json.dumps(content) + "\n")


def print_columns(*columns: str) -> None:
    """Write one line to standard output, its columns separated by tabs."""
    write("\t".join(columns) + "\n")


def position_argument(position: Position) -> str:
    """Return ``TOPIC:PARTITION:OFFSET``, as the options take it."""
    return f"{printable(position.topic)}:{position.partition}:{position.offset}"


def _status_text(status: DeadLetterStatus | None) -> str:
    return _WAITING if status is None else status.value


def print_groups(groups: DeadLetterGroups, *, with_status: bool, as_json: bool) -> None:
    """Write the groups; ``with_status``: with a column for what became of them."""
    if as_json:
        contents = [_content_of(group) for group in groups]
        totals = {"letters": groups.letters, "copies": groups.copies}
        print_json(totals | {"groups": contents})
        return
    columns = _COLUMNS if with_status else _COLUMNS[1:]
    rows = [_cells(group) for group in groups]
    console = Console()
    if console.is_terminal:
        caption = f"{groups.letters:,} letters, {groups.copies:,} of them copies"
        with written():
            console.print(_table(columns, rows, caption))
    elif rows:
        print_columns(*columns)
        for row in rows:
            print_columns(*(row[column] for column in columns))


def _table(columns: Sequence[str], rows: Sequence[Mapping[str, str]], caption: str) -> Table:
    """Return the table, without columns that say nothing but zero."""
    table = Table(
        title="Dead letters",
        title_justify="left",
        caption=caption,
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    told = [one for one in columns if one not in _SELDOM or any(row[one] != "0" for row in rows)]
    for column in told:
        justify: JustifyMethod = "right" if column in _NUMBERS else "left"
        table.add_column(column, justify=justify, overflow="fold", no_wrap=column != "topic")
    for row in rows:
        table.add_row(*(Text(row[column]) for column in told))
    return table


def _content_of(group: DeadLetterGroup) -> dict[str, object]:
    return {
        "state": _status_text(group.status),
        "reason": group.reason,
        "topic": group.topic,
        "hour": None if group.hour is None else format_time(group.hour),
        "letters": group.letters,
        "copies": group.copies,
        "truncated": group.truncated,
        "attempts": group.attempts,
        "first": group.first,
    }


def _cells(group: DeadLetterGroup) -> dict[str, str]:
    texts = {
        "topic": printable(group.topic),
        "hour": "" if group.hour is None else f"{group.hour:%Y-%m-%dT%H}Z",
        "first": f"{group.first.partition}:{group.first.offset}",
    }
    return {name: str(value) for name, value in (_content_of(group) | texts).items()}


def print_line(
    dead_letter: AnyDeadLetter, status: DeadLetterStatus | None, *, keys: bool, as_json: bool
) -> None:
    """Write one line about a dead letter, with its key where that is asked for."""
    key = dead_letter.record.key
    if as_json:
        about = _about(dead_letter, status)
        print_json(about | ({"key": _bytes_content(key)} if keys else {}))
        return
    columns = [
        f"{dead_letter.record.partition}:{dead_letter.record.offset}",
        _status_text(status),
    ]
    if isinstance(dead_letter, DeadLetterRecord):
        columns += [
            position_argument(dead_letter.origin),
            format_time(dead_letter.failed_at),
            str(dead_letter.attempt),
            dead_letter.reason,
            printable(dead_letter.detail),
        ]
    else:
        columns += ["", "", "", UNREADABLE, printable(dead_letter.problem)]
    print_columns(*columns, *([printable(key)] if keys else []))


def print_dead_letter(
    dead_letter: AnyDeadLetter, status: DeadLetterStatus | None, *, full: bool, as_json: bool
) -> None:
    """Write everything about a dead letter, its payload included."""
    record = dead_letter.record
    if as_json:
        content = {
            "key": _bytes_content(record.key),
            "value": _bytes_content(record.value),
            "headers": [[name, _bytes_content(value)] for name, value in record.headers],
        }
        print_json(_about(dead_letter, status) | content)
        return
    size = "" if record.value is None else f" ({len(record.value):,} bytes)"
    rows = [
        ("state", _status_text(status)),
        *_facts(dead_letter),
        ("key", printable(record.key)),
        (f"value{size}", printable(record.value, None if full else SHOWN_BYTES)),
    ]
    headers = [(printable(name), printable(value)) for name, value in record.headers]
    title = position_argument(record.position)
    console = Console()
    if console.is_terminal:
        table = Table(title=title, title_justify="left", show_header=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        headers_table = Table("header", "value")
        for name, text in rows:
            table.add_row(Text(name), Text(text))
        for name, text in headers:
            headers_table.add_row(Text(name), Text(text))
        with written():
            console.print(table, headers_table)
        return
    print_columns(title)
    for name, text in rows:
        print_columns(f"  {name}: {text}")
    for name, text in headers:
        print_columns(f"  header {name}: {text}")
    print_columns()


def _facts(dead_letter: AnyDeadLetter) -> list[tuple[str, str]]:
    if isinstance(dead_letter, UnreadableDeadLetter):
        return [("unreadable", printable(dead_letter.problem))]
    milliseconds = dead_letter.timestamp_ms
    time = usable_time(milliseconds)
    failed_at = format_time(dead_letter.failed_at)
    facts = [
        ("reason", f"{dead_letter.reason}: {printable(dead_letter.detail)}"),
        ("origin", position_argument(dead_letter.origin)),
        ("failed", f"{failed_at}, attempt {dead_letter.attempt}"),
        ("first record's time", str(milliseconds) if time is None else format_time(time)),
    ]
    if dead_letter.truncated:
        facts.append(("truncated", "only the beginning was kept"))
    return facts


def _about(dead_letter: AnyDeadLetter, status: DeadLetterStatus | None) -> dict[str, object]:
    about: dict[str, object] = {
        "letter": dead_letter.record.position,
        "state": _status_text(status),
    }
    if isinstance(dead_letter, UnreadableDeadLetter):
        return about | {"reason": UNREADABLE, "detail": dead_letter.problem}
    return about | {
        "reason": dead_letter.reason,
        "detail": dead_letter.detail,
        "origin": dead_letter.origin,
        "failed_at": format_time(dead_letter.failed_at),
        "timestamp_ms": dead_letter.timestamp_ms,
        "attempt": dead_letter.attempt,
        "truncated": dead_letter.truncated,
    }


def _bytes_content(content: bytes | None) -> object:
    """Return text where the bytes are UTF-8, an object with Base64 where they are not."""
    if content is None:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(content).decode()}


def print_change(change: StatusChange, *, as_json: bool) -> None:
    """Write what would be sent for a dead letter, without what it holds."""
    dead_letter, record = change.dead_letter, change.record
    if record is None or not isinstance(dead_letter, DeadLetterRecord):
        return
    if as_json:
        print_json(
            {
                "would_be": change.status.value,
                "letter": dead_letter.record.position,
                "origin": dead_letter.origin,
                "to": record.topic,
                "partition": record.partition,
                "timestamp_ms": record.timestamp_ms,
                "attempt": dead_letter.attempt,
                "reason": dead_letter.reason,
                "bytes": record.bytes,
                "headers": [name for name, _ in record.headers],
            }
        )
        return
    print_columns(
        f"{dead_letter.record.partition}:{dead_letter.record.offset}",
        f"would be {change.status.value}",
        position_argument(dead_letter.origin),
        f"to {printable(record.topic)}",
        f"attempt {dead_letter.attempt}",
        dead_letter.reason,
        f"{record.bytes} bytes",
    )
