"""What the commands print: tables for a person, plain text when piped, JSON when asked for."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table


def timestamp(moment: datetime) -> str:
    """Return a stored time as RFC 3339 in UTC, with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def to_json(content: object) -> str:
    """Return one line of JSON, in ASCII, for something stored; times as RFC 3339, ids as text."""
    return json.dumps(content, default=_plain, ensure_ascii=True)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return timestamp(value)
    # The driver takes an object with a name like $ref for a reference; to us it is an object.
    as_document = getattr(value, "as_doc", None)
    return as_document() if as_document is not None else str(value)


def add_name_column(table: Table, title: str, names: Iterable[str]) -> None:
    """Add a column of partitions or records that a narrow terminal never cuts.

    At its end stands the number, without which the name says nothing.
    """
    longest = max(map(len, names), default=0)
    table.add_column(title, no_wrap=True, overflow="ignore", min_width=longest)


def console() -> Console:
    """Return a console on standard output that breaks no lines when piped."""
    found = Console(highlight=False, soft_wrap=True)
    return found if found.is_terminal else Console(highlight=False, width=200, soft_wrap=True)
