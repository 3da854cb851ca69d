"""What the commands print as their results: tables or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from consumer.contract.times import format_time
from consumer.printable import printable, printable_line
from consumer.terminal import OutputClosedError, output_errors


def to_json(content: object) -> str:
    """Return one line of JSON, in ASCII, for something stored; times as RFC 3339, ids as text."""
    return json.dumps(content, default=_plain, ensure_ascii=True)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return format_time(value)
    # The driver takes an object with a name like $ref for a reference; to us it is an object.
    as_document = getattr(value, "as_doc", None)
    return as_document() if as_document is not None else str(value)


def position_text(topic: str, partition: int, offset: int) -> str:
    """Return where a record lies, safe to print."""
    return f"{printable(topic)}-{partition} @ {offset}"


def add_name_column(table: Table, title: str, names: Iterable[str]) -> None:
    """Add a column of partitions or records that a narrow terminal never cuts.

    At its end stands the number, without which the name says nothing.
    """
    longest = max(map(len, names), default=0)
    table.add_column(title, no_wrap=True, overflow="ignore", min_width=longest)


def partition_table(
    columns: Iterable[str], rows: Mapping[str, Sequence[str | Text]], total: Sequence[str | Text]
) -> Table:
    """Return a table of counts by partition, and their sum, of which no number is ever cut."""
    table = Table(box=None, pad_edge=False)
    add_name_column(table, "partition", rows)
    for column in columns:
        table.add_column(column, justify="right", overflow="fold")
    for name, cells in rows.items():
        table.add_row(Text(name), *cells)
    table.add_section()
    table.add_row("total", *total, style="bold")
    return table


def print_statuses(
    out: Console, title: str, about: str, rows: Iterable[tuple[Text, str, str]]
) -> None:
    """Print a line for each thing: its status, its name, and what is ``about`` it."""
    table = Table("", title, about, box=None, pad_edge=False)
    for status, name, detail in rows:
        table.add_row(status, Text(printable_line(name)), Text(printable_line(detail)))
    out.print(table)


NOTHING_SELECTED = "the topics hold nothing of what is selected"


class _Output(Console):
    """Standard output. Where nobody reads it any more the exit code still says how it went."""

    def _check_buffer(self) -> None:
        with suppress(OutputClosedError), output_errors():
            super()._check_buffer()

    def on_broken_pipe(self) -> None:
        raise  # noqa: PLE0704 -- rich calls it where it has caught the error


def console() -> Console:
    """Return a console on standard output that breaks no lines when piped.

    It raises ``OutputError`` where that cannot be written.
    """
    found = _Output(highlight=False, soft_wrap=True)
    return found if found.is_terminal else _Output(highlight=False, width=9999, soft_wrap=True)
