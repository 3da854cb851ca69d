"""What people and scripts get to see: progress on a terminal, results as a table, lines or JSON.

Results go to standard output. Progress, warnings and complaints go to standard error.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from consumer.printable import printable_line

Advance = Callable[[int], None]


def complain(text: str) -> None:
    """Write one line to standard error, escaped where it quotes what a terminal would obey.

    Where nobody takes it, the work goes on.
    """
    with suppress(OSError):
        sys.stderr.write(printable_line(text) + "\n")


@contextmanager
def progress(what: str, total: float | None = None) -> Iterator[Advance]:
    """Show a bar on a terminal while the body runs; elsewhere nothing.

    The body is given a function that takes how much more has been done. With no ``total``
    the bar says only that something is going on.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _ignore
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(show_speed=True),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.advance(task, done)


def _ignore(_: int) -> None:
    return None


def show(title: str, results: Mapping[str, object], *, as_json: bool) -> None:
    """Write results: one JSON object, or a table on a terminal, or a plain line each."""
    if as_json:
        sys.stdout.write(json.dumps(results) + "\n")
        return
    console = Console()
    rows = {name.replace("_", " "): _text(value) for name, value in results.items()}
    if console.is_terminal:
        table = Table(title=title, show_header=False, title_justify="left")
        table.add_column(style="bold")
        table.add_column(justify="right")
        for name, text in rows.items():
            table.add_row(name, text)
        console.print(table)
    else:
        sys.stdout.writelines(f"{name}: {text}\n" for name, text in rows.items())


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
