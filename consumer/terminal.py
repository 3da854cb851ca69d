"""What people and scripts get to see: progress on a terminal, results as lines or JSON.

Results go to standard output. Progress, warnings and complaints go to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from consumer.errors import ConsumerError, ExitCode, PreconditionError, SettingsError
from consumer.printable import printable_line

Advance = Callable[[int], None]

LOG_INTERVAL: Final = 10.0
"""Seconds between two log lines that say how far a command is."""


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


@contextmanager
def open_result_file(option: str, name: str | Path) -> Iterator[Callable[[Iterable[str]], None]]:
    """Open the file of ``option``; yield what puts lines in place of what it holds.

    That it can be written shows before anything is done, and until then it stays as it was; one
    that was not there does not stay where the body raises. Both raise ``SettingsError``.
    """
    path = Path(name)
    there = path.exists()

    def replace(lines: Iterable[str]) -> None:
        try:
            if path.is_file():
                file.truncate(0)
            file.writelines(lines)
            file.flush()
        except OSError as error:
            raise unwritable(error) from error

    def unwritable(error: OSError) -> SettingsError:
        return SettingsError(f"{option} {name} cannot be written ({error.strerror})")

    try:
        file = path.open("a", encoding="utf-8")
    except OSError as error:
        raise unwritable(error) from error
    try:
        yield replace
    except BaseException:
        if not there:
            path.unlink(missing_ok=True)
        raise
    finally:
        # What a failed write has left over fails once more.
        with suppress(OSError):
            file.close()


def print_error(text: str) -> None:
    """Write one line to standard error, escaped where it quotes what a terminal would obey.

    Where nobody takes it, the work goes on.
    """
    with suppress(OSError):
        sys.stderr.write(printable_line(text) + "\n")


@contextmanager
def progress(
    what: str,
    total: int | None = None,
    *,
    quiet: bool = False,
    log: Callable[..., object] | None = None,
) -> Iterator[Advance]:
    """Show how far the body is: a bar on a terminal, unless ``quiet``; else lines in ``log``.

    The body is given a function that takes how much more has been done. With no ``total``
    the bar says only that something is going on.
    """
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield _logged(what, total, log)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.advance(task, done)


class _Rate(ProgressColumn):
    """How much is done a second, as of the last half minute, once it is known."""

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:,.0f}/s")


def _logged(what: str, total: int | None, log: Callable[..., object] | None) -> Advance:
    begun = told = time.monotonic()
    done = 0

    def advance(more: int) -> None:
        nonlocal done, told
        done, now = done + more, time.monotonic()
        if log is not None and now - told >= LOG_INTERVAL:
            told, rate = now, done / (now - begun)
            left = round((total - done) / rate) if total and rate else None
            log(what, done=done, total=total, rate=round(rate), seconds_left=left)

    return advance


def print_results(results: Mapping[str, object], *, as_json: bool) -> None:
    """Write results: one JSON object, or a plain line each.

    Where nobody reads them any more that is no matter: the exit code says how it went.
    """
    lines = (f"{name.replace('_', ' ')}: {_text(value)}\n" for name, value in results.items())
    with suppress(OutputClosedError):
        write(json.dumps(results) + "\n" if as_json else "".join(lines), flush=True)


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
