"""What the commands print: tables or JSON as a result, and meanwhile how far they are."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import datetime

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from consumer.aio import cancel_and_wait
from consumer.contract.times import format_time
from consumer.observability.logs import get_logger
from consumer.printable import printable

REFRESH = 0.5
"""Seconds between two looks at how far a command is."""

LOG_INTERVAL = 10.0
"""Seconds between two log lines that say how far a command is."""


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


def plural(count: int, noun: str) -> str:
    """Return so many of them."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def said_of_times(outside: int, before: int) -> Iterable[str]:
    """Say what a range of times has passed over."""
    if before:
        yield (
            f"{plural(before, 'offset')} before the first record of that time, by the brokers' "
            "index of times"
        )
    if outside:
        yield (f"{plural(outside, 'record')} read and passed over, whose own time lies outside")


def console() -> Console:
    """Return a console on standard output that breaks no lines when piped."""
    found = Console(highlight=False, soft_wrap=True)
    return found if found.is_terminal else Console(highlight=False, width=200, soft_wrap=True)


class _Rate(ProgressColumn):
    """Offsets a second, as of the last half minute."""

    def render(self, task: Task) -> Text:
        """Show the rate once it is known."""
        return Text("" if task.speed is None else f"{task.speed:,.0f}/s")


@contextlib.asynccontextmanager
async def show_progress(what: str, total: int, done: Callable[[], int]) -> AsyncIterator[None]:
    """Show how much of ``total`` is ``done()`` while the body runs, on standard error."""
    console = Console(stderr=True)
    show = _bar(console, what, total, done) if console.is_terminal else _lines(what, total, done)
    task = asyncio.ensure_future(show)
    try:
        yield
    finally:
        await cancel_and_wait(task)


async def _bar(console: Console, what: str, total: int, done: Callable[[], int]) -> None:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, auto_refresh=False) as progress:
        bar = progress.add_task(what, total=total, completed=done())
        try:
            while True:
                progress.update(bar, completed=done(), refresh=True)
                await asyncio.sleep(REFRESH)
        finally:
            progress.update(bar, completed=done(), refresh=True)


async def _lines(what: str, total: int, done: Callable[[], int]) -> None:
    clock = asyncio.get_running_loop().time
    before, at = done(), clock()
    while True:
        await asyncio.sleep(LOG_INTERVAL)
        now, reached = clock(), done()
        rate = (reached - before) / (now - at)
        left = (total - reached) / rate if rate else None
        get_logger().info(
            what,
            done=reached,
            total=total,
            rate=round(rate),
            seconds_left=None if left is None else round(left),
        )
        before, at = reached, now
