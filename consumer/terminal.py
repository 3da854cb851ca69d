"""What people and scripts get to see: progress on a terminal, results as a table, lines or JSON.

Results go to standard output. Progress, warnings and complaints go to standard error.
"""

from __future__ import annotations

import json
import os
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

from consumer.errors import ConsumerError, ExitCode, PreconditionError
from consumer.printable import printable_line

Advance = Callable[[int], None]


class OutputError(PreconditionError):
    """Standard output cannot be written, such as to a disk that is full."""


class OutputClosedError(ConsumerError):
    """Whoever read standard output has seen enough; nothing is to be said about it."""

    exit_code = ExitCode.DONE


@contextmanager
def output_errors() -> Iterator[None]:
    """Say in our own words why standard output cannot be written.

    Raises ``OutputError`` or ``OutputClosedError``.
    """
    try:
        yield
    except OSError as error:
        # What is buffered would be tried again, and complained of, when the process ends.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
        if isinstance(error, BrokenPipeError):
            raise OutputClosedError from error
        raise OutputError(f"standard output cannot be written ({error.strerror})") from error


def write(text: str, *, flush: bool = False) -> None:
    """Write to standard output. Raises ``OutputError`` and ``OutputClosedError``."""
    with output_errors():
        sys.stdout.write(text)
        if flush:
            sys.stdout.flush()


def print_error(text: str) -> None:
    """Write one line to standard error, escaped where it quotes what a terminal would obey.

    Where nobody takes it, the work goes on.
    """
    with suppress(OSError):
        sys.stderr.write(printable_line(text) + "\n")


@contextmanager
def progress(what: str, total: float | None = None, *, quiet: bool = False) -> Iterator[Advance]:
    """Show a bar on a terminal while the body runs; elsewhere, or where ``quiet``, nothing.

    The body is given a function that takes how much more has been done. With no ``total``
    the bar says only that something is going on.
    """
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
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


def print_results(title: str, results: Mapping[str, object], *, as_json: bool) -> None:
    """Write results: one JSON object, or a table on a terminal, or a plain line each.

    Where nobody reads them any more that is no matter: the exit code says how it went.
    """
    with suppress(OutputClosedError):
        _print_results(title, results, as_json=as_json)


def _print_results(title: str, results: Mapping[str, object], *, as_json: bool) -> None:
    if as_json:
        write(json.dumps(results) + "\n", flush=True)
        return
    console = Console()
    rows = {name.replace("_", " "): _text(value) for name, value in results.items()}
    if console.is_terminal:
        table = Table(title=title, show_header=False, title_justify="left")
        table.add_column(style="bold")
        table.add_column(justify="right")
        for name, text in rows.items():
            table.add_row(name, text)
        with output_errors():
            console.print(table)
    else:
        write("".join(f"{name}: {text}\n" for name, text in rows.items()), flush=True)


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
