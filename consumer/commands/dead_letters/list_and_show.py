"""The commands list and show: dead letters as groups, a line each, or with all that they hold."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Final

from rich.table import Table
from rich.text import Text

from consumer.commands.common.output import add_name_column, console
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
from consumer.quantities import plural
from consumer.terminal import write

SHOWN_BYTES: Final = 4096
"""So much of a value is shown, unless all of it is asked for."""

_WAITING: Final = "waiting"
_LINE: Final = ("letter", "state", "origin", "failed_at", "attempt", "reason", "detail")


@dataclass(slots=True)
class DeadLetterGroup:
    """Dead letters of one state, reason, topic and hour, and how many they are.

    ``hour`` is that of the failure, in UTC. An unreadable one's topic is empty and its hour that
    of the dead letter itself; None where that has no time either. ``copies`` of one failure
    beyond its first are among the ``letters``. ``attempts`` is the highest number of failures,
    and ``first`` the lowest position, whichever partition was read first.
    """

    state: str
    reason: str
    topic: str
    hour: str | None
    letters: int = 0
    copies: int = 0
    truncated: int = 0
    attempts: int = 0
    first: Position | None = None

    @property
    def key(self) -> tuple[str, ...]:
        """What its dead letters share; the groups are in its order, those that wait first."""
        state = "" if self.state == _WAITING else self.state
        return state, self.reason, self.topic, self.hour or ""


class DeadLetterGroups(dict[tuple[str, ...], DeadLetterGroup]):
    """Dead letters counted by what they share; as large as there are groups."""

    def add(
        self, dead_letter: AnyDeadLetter, status: DeadLetterStatus | None, *, copy: bool
    ) -> None:
        """Count a dead letter."""
        if isinstance(dead_letter, UnreadableDeadLetter):
            hour = _hour(usable_time(dead_letter.record.timestamp_ms))
            group = DeadLetterGroup(_state(status), UNREADABLE, "", hour)
        else:
            failed, hour = dead_letter.failed, _hour(dead_letter.failed_at)
            group = DeadLetterGroup(_state(status), failed.reason, failed.origin.topic, hour)
        group = self.setdefault(group.key, group)
        position = dead_letter.record.position
        group.first = min(group.first or position, position)
        group.letters += 1
        group.copies += copy
        if isinstance(dead_letter, DeadLetterRecord):
            group.truncated += dead_letter.truncated
            group.attempts = max(group.attempts, dead_letter.attempt)


def _hour(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    return format_time(moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0))


def _state(status: DeadLetterStatus | None) -> str:
    return _WAITING if status is None else status.value


async def list_dead_letters(
    request: DeadLetterRequest, *, each: bool, keys: bool, all_statuses: bool
) -> ExitCode:
    """List dead letters, in groups or ``each`` on a line. Raises ``BrokersError``."""
    groups, listed, hidden = DeadLetterGroups(), 0, 0
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
                listed += 1
                if each:
                    print_line(dead_letter, status, keys=keys, as_json=request.as_json)
                else:
                    groups.add(dead_letter, status, copy=not context.statuses.first_seen(key))
    if not each:
        print_groups(groups, with_state=all_statuses, as_json=request.as_json)
    if hidden:
        warn(f"dealt with and not listed: {plural(hidden, 'dead letter')}; --all lists them too")
    elif not listed:
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
                    warn(f"stopped at --limit {limit}; there may be more")
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
    return f"{printable(position.topic)}:{offset_argument(position)}"


def offset_argument(position: Position) -> str:
    """Return ``PARTITION:OFFSET``, as ``--letter`` takes it."""
    return f"{position.partition}:{position.offset}"


def print_groups(groups: DeadLetterGroups, *, with_state: bool, as_json: bool) -> None:
    """Write the groups; ``with_state``: with a column for what became of them."""
    listed = [groups[key] for key in sorted(groups)]
    letters, copies = sum(one.letters for one in listed), sum(one.copies for one in listed)
    contents = [asdict(group) for group in listed]
    if as_json:
        print_json({"letters": letters, "copies": copies, "groups": contents})
        return
    columns = [one.name for one in fields(DeadLetterGroup) if with_state or one.name != "state"]
    rows = [_cells(content) for content in contents]
    out = console()
    if out.is_terminal:
        table = Table(box=None, pad_edge=False)
        for column in columns[:-1]:
            table.add_column(column, overflow="fold")
        # As --letter takes it: half of it is another one.
        add_name_column(table, columns[-1], [row[columns[-1]] for row in rows])
        for row in rows:
            table.add_row(*(Text(row[column], overflow="fold") for column in columns))
        out.print(table)
        out.print(f"{plural(letters, 'dead letter')}, {copies:,} of them copies")
    elif rows:
        print_columns(*columns)
        for row in rows:
            print_columns(*(row[column] for column in columns))


def _cells(content: Mapping[str, object]) -> dict[str, str]:
    """Return the text for each value that is printed as JSON otherwise."""
    return {name: _cell(name, value) for name, value in content.items()}


def _cell(name: str, value: object) -> str:
    match value:
        case None:
            return ""
        case Position():
            return position_argument(value) if name == "origin" else offset_argument(value)
        case str() if name == "hour":
            return f"{value[:13]}Z"
        case int() if name == "timestamp_ms" and (time := usable_time(value)) is not None:
            return f"{value} ({format_time(time)})"
        case str():
            return printable(value)
        case _:
            return str(value)


def print_line(
    dead_letter: AnyDeadLetter, status: DeadLetterStatus | None, *, keys: bool, as_json: bool
) -> None:
    """Write one line about a dead letter, with its key where that is asked for."""
    about, key = _about(dead_letter, status), dead_letter.record.key
    if as_json:
        print_json(about | ({"key": _bytes_content(key)} if keys else {}))
        return
    cells = _cells(about)
    print_columns(*(cells.get(name, "") for name in _LINE), *([printable(key)] if keys else []))


def print_dead_letter(
    dead_letter: AnyDeadLetter, status: DeadLetterStatus | None, *, full: bool, as_json: bool
) -> None:
    """Write everything about a dead letter, its payload included."""
    about, record = _about(dead_letter, status), dead_letter.record
    if as_json:
        content = {
            "key": _bytes_content(record.key),
            "value": _bytes_content(record.value),
            "headers": [[name, _bytes_content(value)] for name, value in record.headers],
        }
        print_json(about | content)
        return
    size = "" if record.value is None else f" ({len(record.value):,} bytes)"
    print_columns(position_argument(record.position))
    for name, text in _cells(about).items():
        print_columns(f"  {name}: {text}")
    print_columns(f"  key: {printable(record.key)}")
    print_columns(f"  value{size}: {printable(record.value, None if full else SHOWN_BYTES)}")
    for name, value in record.headers:
        print_columns(f"  header {printable(name)}: {printable(value)}")
    print_columns()


def _about(dead_letter: AnyDeadLetter, status: DeadLetterStatus | None) -> dict[str, object]:
    about: dict[str, object] = {"letter": dead_letter.record.position, "state": _state(status)}
    if isinstance(dead_letter, UnreadableDeadLetter):
        return about | {"reason": UNREADABLE, "detail": dead_letter.problem}
    failed = dead_letter.failed
    return about | {
        "reason": failed.reason,
        "detail": failed.detail,
        "origin": failed.origin,
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
    record = change.record
    if record is None or not isinstance(change.dead_letter, DeadLetterRecord):
        return
    about = _about(change.dead_letter, None)
    content = {
        "would_be": change.status.value,
        **{name: about[name] for name in ("letter", "origin", "attempt", "reason")},
        "to": record.topic,
        "partition": record.partition,
        "timestamp_ms": record.timestamp_ms,
        "bytes": record.bytes,
        "headers": [name for name, _ in record.headers],
    }
    if as_json:
        print_json(content)
        return
    cells = _cells(content)
    print_columns(
        cells["letter"],
        f"would be {cells['would_be']}",
        cells["origin"],
        f"to {cells['to']}",
        f"attempt {cells['attempt']}",
        cells["reason"],
        f"{cells['bytes']} bytes",
    )
