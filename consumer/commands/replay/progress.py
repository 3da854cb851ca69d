"""How far a replay is: a bar on a terminal, a log line now and then elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

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
from rich.text import Text

from consumer.observability.logs import get_logger

REFRESH = 0.5
"""Seconds between two looks at how far it is."""

LOG_INTERVAL = 10.0
"""Seconds between two lines."""


class _Rate(ProgressColumn):
    """Offsets a second, as of the last half minute."""

    def render(self, task: Task) -> Text:
        """Show the rate once it is known."""
        return Text("" if task.speed is None else f"{task.speed:,.0f}/s")


@contextlib.asynccontextmanager
async def shown_progress(what: str, total: int, done: Callable[[], int]) -> AsyncIterator[None]:
    """Show how much of ``total`` is ``done()`` while the body runs, on standard error."""
    console = Console(stderr=True)
    show = _bar(console, what, total, done) if console.is_terminal else _lines(what, total, done)
    task = asyncio.ensure_future(show)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


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
