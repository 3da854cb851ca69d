"""How letters and groups look: tables on a terminal, plain lines or JSON elsewhere."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from consumer.commands.dead_letters.dead_letter_groups import Group, GroupKey, Groups
from consumer.commands.dead_letters.dead_letter_record import DeadLetterRecord, UnreadableDeadLetter
from consumer.commands.dead_letters.dead_letter_selection import UNREADABLE
from consumer.commands.dead_letters.dead_letter_status import DeadLetterStatus
from consumer.commands.dead_letters.redrive_policy import Redrive
from consumer.contract.record import Headers, Position
from consumer.contract.times import format_time, usable_time
from consumer.printable import printable
from consumer.terminal import write, written

SHOWN_BYTES: Final = 4096
"""So much of a value is shown, unless all of it is asked for."""

_WAITING: Final = "waiting"
_COLUMNS: Final = ("reason", "topic", "hour", "letters", "copies", "truncated", "attempts", "first")
_NUMBERS: Final = frozenset({"letters", "copies", "truncated", "attempts"})
_SELDOM: Final = frozenset({"copies", "truncated"})


def write_json(content: object) -> None:
    """Write one line of JSON to standard output."""
    write(json.dumps(content) + "\n")


def write_line(*columns: str) -> None:
    """Write one line to standard output, its columns separated by tabs."""
    write("\t".join(columns) + "\n")


def place(position: Position) -> str:
    """Return ``TOPIC:PARTITION:OFFSET``, as the options take it."""
    return f"{printable(position.topic)}:{position.partition}:{position.offset}"


def status_text(fate: DeadLetterStatus | None) -> str:
    """Return the word for what became of a letter."""
    return _WAITING if fate is None else fate.value


def show_groups(groups: Groups, *, fates: bool, as_json: bool) -> None:
    """Write the groups; ``fates``: with a column for what became of them."""
    if as_json:
        write_json(
            {
                "letters": groups.letters,
                "copies": groups.copies,
                "groups": [_group_content(key, group) for key, group in groups],
            }
        )
        return
    columns = ("state", *_COLUMNS) if fates else _COLUMNS
    rows = [
        [*([status_text(key.fate)] if fates else []), *_row(key, group)] for key, group in groups
    ]
    console = Console()
    if console.is_terminal:
        with written():
            console.print(_table(columns, rows, groups))
    elif rows:
        write_line(*columns)
        for row in rows:
            write_line(*row)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], groups: Groups) -> Table:
    """Return the table, without columns that say nothing but zero."""
    shown = [
        index
        for index, column in enumerate(columns)
        if column not in _SELDOM or any(row[index] != "0" for row in rows)
    ]
    table = Table(
        title="Dead letters",
        title_justify="left",
        caption=f"{groups.letters:,} letters, {groups.copies:,} of them copies",
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for index in shown:
        justify: JustifyMethod = "right" if columns[index] in _NUMBERS else "left"
        folds = columns[index] == "topic"
        table.add_column(columns[index], justify=justify, overflow="fold", no_wrap=not folds)
    for row in rows:
        table.add_row(*(Text(row[index]) for index in shown))
    return table


def _row(key: GroupKey, group: Group) -> list[str]:
    return [
        key.reason,
        printable(key.topic),
        _hour(key.hour),
        str(group.letters),
        str(group.copies),
        str(group.truncated),
        str(group.attempts),
        f"{group.first.partition}:{group.first.offset}",
    ]


def _hour(hour: datetime | None) -> str:
    return "" if hour is None else f"{hour:%Y-%m-%dT%H}Z"


def _group_content(key: GroupKey, group: Group) -> dict[str, object]:
    return {
        "state": status_text(key.fate),
        "reason": key.reason,
        "topic": key.topic,
        "hour": None if key.hour is None else format_time(key.hour),
        "letters": group.letters,
        "copies": group.copies,
        "truncated": group.truncated,
        "attempts": group.attempts,
        "first": group.first,
    }


def list_letter(
    letter: DeadLetterRecord | UnreadableDeadLetter,
    fate: DeadLetterStatus | None,
    *,
    keys: bool,
    as_json: bool,
) -> None:
    """Write one line about a letter, with its key where that is asked for."""
    if as_json:
        content = _about(letter, fate)
        write_json(content | ({"key": _bytes_content(letter.record.key)} if keys else {}))
        return
    columns = [f"{letter.position.partition}:{letter.position.offset}", status_text(fate)]
    if isinstance(letter, DeadLetterRecord):
        columns += [
            place(letter.origin),
            format_time(letter.failed_at),
            str(letter.attempt),
            letter.reason,
            printable(letter.detail),
        ]
    else:
        columns += ["", "", "", UNREADABLE, printable(letter.problem)]
    write_line(*columns, *([printable(letter.record.key)] if keys else []))


def show_letter(
    letter: DeadLetterRecord | UnreadableDeadLetter,
    fate: DeadLetterStatus | None,
    *,
    full: bool,
    as_json: bool,
) -> None:
    """Write everything about a letter, its payload included."""
    record = letter.record
    if as_json:
        write_json(
            _about(letter, fate)
            | {
                "key": _bytes_content(record.key),
                "value": _bytes_content(record.value),
                "headers": [[name, _bytes_content(value)] for name, value in record.headers],
            }
        )
        return
    rows = [*_facts(letter, fate), *_content(letter, None if full else SHOWN_BYTES)]
    console = Console()
    if console.is_terminal:
        table = Table(title=place(record.position), title_justify="left", show_header=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for name, text in rows:
            table.add_row(Text(name), Text(text))
        with written():
            console.print(table)
            console.print(_headers_table(record.headers))
        return
    write_line(place(record.position))
    for name, text in rows:
        write_line(f"  {name}: {text}")
    for name, value in record.headers:
        write_line(f"  header {printable(name)}: {printable(value)}")
    write_line()


def _headers_table(headers: Headers) -> Table:
    table = Table("header", "value")
    for name, value in headers:
        table.add_row(Text(printable(name)), Text(printable(value)))
    return table


def _facts(
    letter: DeadLetterRecord | UnreadableDeadLetter, fate: DeadLetterStatus | None
) -> list[tuple[str, str]]:
    if isinstance(letter, UnreadableDeadLetter):
        return [("state", status_text(fate)), ("unreadable", printable(letter.problem))]
    time = usable_time(letter.timestamp_ms)
    return [
        ("state", status_text(fate)),
        ("reason", f"{letter.reason}: {printable(letter.detail)}"),
        ("origin", place(letter.origin)),
        ("failed", f"{format_time(letter.failed_at)}, attempt {letter.attempt}"),
        ("first record's time", str(letter.timestamp_ms) if time is None else format_time(time)),
        *([("truncated", "only the beginning was kept")] if letter.truncated else []),
    ]


def _content(
    letter: DeadLetterRecord | UnreadableDeadLetter, limit: int | None
) -> list[tuple[str, str]]:
    record = letter.record
    size = "" if record.value is None else f" ({len(record.value):,} bytes)"
    return [
        ("key", printable(record.key)),
        (f"value{size}", printable(record.value, limit)),
    ]


def _about(
    letter: DeadLetterRecord | UnreadableDeadLetter, fate: DeadLetterStatus | None
) -> dict[str, object]:
    about: dict[str, object] = {"letter": letter.position, "state": status_text(fate)}
    if isinstance(letter, UnreadableDeadLetter):
        return about | {"reason": UNREADABLE, "detail": letter.problem}
    return about | {
        "reason": letter.reason,
        "detail": letter.detail,
        "origin": letter.origin,
        "failed_at": format_time(letter.failed_at),
        "timestamp_ms": letter.timestamp_ms,
        "attempt": letter.attempt,
        "truncated": letter.truncated,
    }


def _bytes_content(content: bytes | None) -> object:
    """Return text where the bytes are UTF-8, an object with Base64 where they are not."""
    if content is None:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(content).decode()}


def rehearse(redrive: Redrive, *, as_json: bool) -> None:
    """Write what would be sent, without what it holds."""
    letter, record = redrive.letter, redrive.record
    if as_json:
        write_json(
            {
                "would_be": redrive.fate.value,
                "letter": letter.position,
                "origin": letter.origin,
                "to": record.topic,
                "partition": record.partition,
                "timestamp_ms": record.timestamp_ms,
                "attempt": letter.attempt,
                "reason": letter.reason,
                "bytes": record.bytes,
                "headers": [name for name, _ in record.headers],
            }
        )
        return
    write_line(
        f"{letter.position.partition}:{letter.position.offset}",
        f"would be {redrive.fate.value}",
        place(letter.origin),
        f"to {printable(record.topic)}",
        f"attempt {letter.attempt}",
        letter.reason,
        f"{record.bytes} bytes",
    )
