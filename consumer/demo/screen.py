"""What the demo shows while it runs: a live picture on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from consumer.demo.consumers import ConsumerProcess, ConsumerState
from consumer.demo.dataset import Comparison


@dataclass(slots=True)
class Step:
    """One step of the demo. ``result`` is set when it has been done."""

    title: str
    began: float | None = None
    took: float = 0.0
    result: str | None = None


@dataclass(slots=True)
class DemoProgress:
    """Everything there is to see."""

    steps: Sequence[Step]
    consumers: list[ConsumerProcess] = field(default_factory=list)
    total: int | None = None
    """How many messages there are; None while nobody knows."""
    published: int = 0
    events: int = 0
    stored: int = 0


class Screen(Protocol):
    """Shows a progress as it changes."""

    progress: DemoProgress

    @contextmanager
    def step(self, index: int) -> Iterator[Step]:
        """Mark a step as being done during the body, which says with what result."""
        ...

    def changed(self) -> None:
        """Be told that counts have changed."""
        ...


def _timed(progress: DemoProgress, index: int) -> Step:
    step = progress.steps[index]
    step.began = time.monotonic()
    return step


def _finish(step: Step) -> None:
    step.took = time.monotonic() - (step.began or 0)


class PlainScreen:
    """A line for each step, and one for each quarter of what is stored."""

    def __init__(self, progress: DemoProgress) -> None:
        """Begin with nothing said."""
        self.progress = progress
        self._quarters = 0

    @contextmanager
    def step(self, index: int) -> Iterator[Step]:
        """Say what is being done, then what came of it."""
        step = _timed(self.progress, index)
        self._say(f"{step.title} …")
        yield step
        _finish(step)
        self._say(f"  {step.result or 'done'} ({step.took:.1f} s)")

    def changed(self) -> None:
        """Say how much is stored when another quarter is."""
        if self.progress.events and (quarters := 4 * self.progress.stored // self.progress.events):
            if quarters > self._quarters:
                self._say(
                    f"  {self.progress.stored:,} of {self.progress.events:,} events are stored"
                )
            self._quarters = quarters

    def _say(self, text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


class LiveScreen:
    """The whole progress, drawn again several times a second by a thread of its own."""

    def __init__(self, progress: DemoProgress) -> None:
        """Draw ``progress`` as it is at each moment."""
        self.progress = progress
        self._spinner = Spinner("dots")
        self._bars = Progress(
            TextColumn("  {task.description:>9}"), BarColumn(40), MofNCompleteColumn()
        )
        self._published = self._bars.add_task("published", total=None)
        self._stored = self._bars.add_task("stored", total=None)

    @contextmanager
    def step(self, index: int) -> Iterator[Step]:
        """Let the step's mark turn while the body runs."""
        step = _timed(self.progress, index)
        yield step
        _finish(step)
        step.result = step.result or "done"

    def changed(self) -> None:
        """Do nothing: the next drawing shows it."""

    def __rich__(self) -> RenderableType:
        """Draw the progress."""
        progress = self.progress
        self._bars.update(self._published, completed=progress.published, total=progress.total)
        self._bars.update(self._stored, completed=progress.stored, total=progress.events or None)
        parts: list[RenderableType] = [self._steps(), Text(), self._bars]
        if progress.consumers:
            parts += [Text(), _consumer_table(progress.consumers)]
        return Group(*parts)

    def _steps(self) -> Table:
        table = Table.grid(padding=(0, 1))
        for step in self.progress.steps:
            if step.result is not None:
                mark: RenderableType = Text("✓", style="green")
                result = Text(f"{step.result} ({step.took:.1f} s)", style="dim")
            elif step.began is not None:
                mark, result = self._spinner, Text(f"{time.monotonic() - step.began:.0f} s", "dim")
            else:
                mark, result = Text("·", style="dim"), Text()
            table.add_row(Text(" "), mark, step.title, result)
        return table


def _consumer_table(consumers: Sequence[ConsumerProcess]) -> Table:
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for title in ("consumer", "state"):
        table.add_column(title)
    for title in ("partitions", "applied", "redelivered", "lag"):
        table.add_column(title, justify="right")
    for consumer in consumers:
        style = "red" if consumer.state in {ConsumerState.KILLED, ConsumerState.ENDED} else ""
        counts = (
            consumer.partitions,
            consumer.outcomes["applied"],
            consumer.outcomes["redelivered"],
            consumer.lag,
        )
        table.add_row(
            consumer.name, Text(consumer.state, style), *(f"{count:,}" for count in counts)
        )
    return table


@contextmanager
def open_screen(progress: DemoProgress, console: Console) -> Iterator[Screen]:
    """Show ``progress`` during the body, live where ``console`` is a terminal."""
    if not console.is_terminal:
        yield PlainScreen(progress)
        return
    screen = LiveScreen(progress)
    with Live(screen, console=console, refresh_per_second=8):
        yield screen


NEXT = (
    ("consumer demo --all", "the same with all 7,168 conversations"),
    ("docker compose up", "Apache Kafka, MongoDB and the consumer in containers"),
    ("producer-tools generate | producer-tools publish -", "your own messages"),
    ("consumer check", "is everything there that the consumer needs?"),
    ("consumer run", "consume until you stop it"),
)


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What came of the demo. ``seconds``: how long it took in all."""

    comparisons: Sequence[Comparison]
    transcript: Sequence[Text]
    seconds: float

    @property
    def agrees(self) -> bool:
        """Whether everything is as it must be."""
        return all(comparison.agrees for comparison in self.comparisons)


def print_result(report: DemoResult, out: Console) -> None:
    """Write the report to ``out``: a table on a terminal, a line each elsewhere."""
    out.print()
    if out.is_terminal:
        out.print(_table(report.comparisons))
    else:
        for line in report.comparisons:
            verdict = "ok" if line.agrees else "WRONG"
            counts = f"expected {line.expected:,}, found {line.found:,}"
            out.print(f"{line.what}: {counts}: {verdict}")
    if report.transcript:
        out.print("\nOne conversation, as it is stored:")
        for text in report.transcript:
            out.print(Text("  ") + text, no_wrap=True, overflow="ellipsis")
    out.print("\nTo try next:")
    for command, what in NEXT:
        out.print(f"  {command:<52}{what}", highlight=False)
    verdict = "Everything agrees." if report.agrees else "Something does not agree."
    style = "bold green" if report.agrees else "bold red"
    out.print(Text(f"\n{verdict} ({report.seconds:.0f} s)", style))


def _table(comparisons: Sequence[Comparison]) -> Table:
    table = Table(title="What was published, and what is stored", title_justify="left")
    table.add_column("")
    table.add_column("expected", justify="right")
    table.add_column("found", justify="right")
    table.add_column("")
    for line in comparisons:
        mark = Text("✓", "green") if line.agrees else Text("✗", "bold red")
        table.add_row(line.what, f"{line.expected:,}", f"{line.found:,}", mark)
    return table
