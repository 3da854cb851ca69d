"""What the demo shows: a line for each step, how far it is, and the result."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from shutil import which
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from consumer.demo.dataset import Comparison

NEXT: Final = (
    ("consumer demo --all", "the same with all 7,168 conversations"),
    ("docker compose up", "Apache Kafka, MongoDB and the consumer in containers"),
    ("producer-tools generate | producer-tools publish -", "your own messages"),
    ("consumer check", "is everything there that the consumer needs?"),
    ("consumer run", "consume until you stop it"),
)


class Screen:
    """Prints each step and each quarter that is stored; on a terminal bars stand below them.

    ``bars`` is the context in which it is shown.
    """

    def __init__(self, console: Console) -> None:
        """Begin with nothing done."""
        self.total = self.published = self.events = self.stored = 0
        self._console = console
        self._began = 0.0
        self._quarters = 0
        columns = (TextColumn("  {task.description:>9}"), BarColumn(40), MofNCompleteColumn())
        hidden = not console.is_terminal
        self.bars = Progress(*columns, console=console, transient=True, disable=hidden)
        self._tasks = [self.bars.add_task(what, total=None) for what in ("published", "stored")]

    def begin(self, step: str) -> None:
        """Say that a step begins."""
        self._began = time.monotonic()
        self._print(f"{step} …")

    def done(self, result: str = "done") -> None:
        """Say how the step ended, and how long it took."""
        self._print(f"  {result} ({time.monotonic() - self._began:.1f} s)")

    def changed(self) -> None:
        """Show that counts have changed."""
        counts = ((self.published, self.total), (self.stored, self.events))
        for task, (completed, total) in zip(self._tasks, counts, strict=True):
            self.bars.update(task, completed=completed, total=total)
        if self.events and (quarters := 4 * self.stored // self.events):
            if quarters > self._quarters:
                self._print(f"  {self.stored:,} of {self.events:,} events are stored")
            self._quarters = quarters

    def _print(self, line: str) -> None:
        self._console.print(Text(line))


def print_result(
    out: Console, comparisons: Sequence[Comparison], transcript: Sequence[Text], seconds: float
) -> bool:
    """Write the result. Return whether everything is as it must be.

    ``seconds``: how long the demo took in all.
    """
    out.print()
    for line in comparisons:
        counts = f"expected {line.expected:,}, found {line.found:,}"
        out.print(Text(f"{line.what}: {counts}: {'ok' if line.agrees else 'WRONG'}"))
    if transcript:
        out.print("\nOne conversation, as it is stored:")
        for text in transcript:
            out.print(Text("  ") + text, no_wrap=True, overflow="ellipsis")
    activate = Path(sys.prefix, "bin", "activate")
    first = "" if which("consumer") else f", after . {os.path.relpath(activate)}"
    out.print(f"\nTo try next{first}:", highlight=False)
    for command, what in NEXT:
        out.print(f"  {command:<52}{what}", highlight=False)
    agrees = all(comparison.agrees for comparison in comparisons)
    verdict = "Everything agrees." if agrees else "Something does not agree."
    style = "bold green" if agrees else "bold red"
    out.print(Text(f"\n{verdict} ({seconds:.0f} s)", style))
    return agrees
