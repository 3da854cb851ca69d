"""What the demo shows: a live picture on a terminal and plain lines elsewhere, then the result."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from enum import StrEnum

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from consumer.demo.consumers import ConsumerProcess, ConsumerState
from consumer.demo.dataset import Comparison

NEXT = (
    ("consumer demo --all", "the same with all 7,168 conversations"),
    ("docker compose up", "Apache Kafka, MongoDB and the consumer in containers"),
    ("producer-tools generate | producer-tools publish -", "your own messages"),
    ("consumer check", "is everything there that the consumer needs?"),
    ("consumer run", "consume until you stop it"),
)


class Step(StrEnum):
    """The steps of the demo, in their order and in the words that are shown."""

    READ = "read the conversations"
    SERVERS = "start a Kafka and a MongoDB for the demo"
    TOPICS = "create the topics"
    CONSUMERS = "start two consumers of one group"
    FIRST_HALF = "publish the first half"
    JOIN = "wait until both are consuming"
    REST = "publish the rest"
    KILL = "kill one of them while it is at work"
    FINISH = "let the other one finish"
    COMPARE = "compare every document with what was published"


@dataclass(slots=True)
class StepState:
    """How a step is doing. ``result`` is set when it has been done."""

    began: float | None = None
    took: float = 0.0
    result: str | None = None


class Screen:
    """Shows how far the demo is: live on a terminal, elsewhere a line for each step and quarter."""

    def __init__(self, console: Console) -> None:
        """Begin with nothing done."""
        self.steps = {step: StepState() for step in Step}
        self.consumers: list[ConsumerProcess] = []
        self.total: int | None = None  # messages; None while nobody knows
        self.published = self.events = self.stored = 0
        self._console = console
        self._quarters = 0
        self._spinner = Spinner("dots")
        self._bars = Progress(
            TextColumn("  {task.description:>9}"), BarColumn(40), MofNCompleteColumn()
        )
        self._bar_of_published = self._bars.add_task("published", total=None)
        self._bar_of_stored = self._bars.add_task("stored", total=None)

    @contextmanager
    def step(self, step: Step) -> Iterator[StepState]:
        """Show that a step is being done during the body, which may say with what result."""
        state = self.steps[step]
        state.began = time.monotonic()
        self._print_line(f"{step} …")
        yield state
        state.took = time.monotonic() - state.began
        state.result = state.result or "done"
        self._print_line(f"  {state.result} ({state.took:.1f} s)")

    def changed(self) -> None:
        """Show that counts have changed: as a line, whenever another quarter is stored."""
        if self.events and (quarters := 4 * self.stored // self.events):
            if quarters > self._quarters:
                self._print_line(f"  {self.stored:,} of {self.events:,} events are stored")
            self._quarters = quarters

    def _print_line(self, line: str) -> None:
        if not self._console.is_terminal:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    def __rich__(self) -> RenderableType:
        """Draw it as it is at this moment."""
        self._bars.update(self._bar_of_published, completed=self.published, total=self.total)
        self._bars.update(self._bar_of_stored, completed=self.stored, total=self.events or None)
        parts: list[RenderableType] = [self._steps(), Text(), self._bars]
        if self.consumers:
            parts += [Text(), _consumer_table(self.consumers)]
        return Group(*parts)

    def _steps(self) -> Table:
        table = Table.grid(padding=(0, 1))
        for step, state in self.steps.items():
            mark: RenderableType = Text("·", style="dim")
            result = Text()
            if state.result is not None:
                mark = Text("✓", style="green")
                result = Text(f"{state.result} ({state.took:.1f} s)", style="dim")
            elif state.began is not None:
                mark = self._spinner
                result = Text(f"{time.monotonic() - state.began:.0f} s", "dim")
            table.add_row(Text(" "), mark, step, result)
        return table


def _consumer_table(consumers: Sequence[ConsumerProcess]) -> Table:
    table = Table("consumer", "state", box=None, padding=(0, 2), header_style="dim")
    for title in ("partitions", "applied", "redelivered", "lag"):
        table.add_column(title, justify="right")
    for consumer in consumers:
        style = "red" if consumer.state in {ConsumerState.KILLED, ConsumerState.ENDED} else ""
        applied, redelivered = (consumer.outcomes[name] for name in ("applied", "redelivered"))
        counts = (consumer.partitions, applied, redelivered, consumer.lag)
        state = Text(consumer.state, style)
        table.add_row(consumer.name, state, *(f"{count:,}" for count in counts))
    return table


@contextmanager
def open_screen(console: Console) -> Iterator[Screen]:
    """Show what is done during the body, live where ``console`` is a terminal."""
    screen = Screen(console)
    live = Live(screen, console=console, refresh_per_second=8)
    with live if console.is_terminal else nullcontext():
        yield screen


def print_result(
    out: Console, comparisons: Sequence[Comparison], transcript: Sequence[Text], seconds: float
) -> bool:
    """Write the result: a table on a terminal, a line each elsewhere.

    Return whether everything is as it must be. ``seconds``: how long the demo took in all.
    """
    out.print()
    if out.is_terminal:
        out.print(_table(comparisons))
    else:
        for line in comparisons:
            verdict = "ok" if line.agrees else "WRONG"
            counts = f"expected {line.expected:,}, found {line.found:,}"
            out.print(f"{line.what}: {counts}: {verdict}")
    if transcript:
        out.print("\nOne conversation, as it is stored:")
        for text in transcript:
            out.print(Text("  ") + text, no_wrap=True, overflow="ellipsis")
    out.print("\nTo try next:")
    for command, what in NEXT:
        out.print(f"  {command:<52}{what}", highlight=False)
    agrees = all(comparison.agrees for comparison in comparisons)
    verdict = "Everything agrees." if agrees else "Something does not agree."
    style = "bold green" if agrees else "bold red"
    out.print(Text(f"\n{verdict} ({seconds:.0f} s)", style))
    return agrees


def _table(comparisons: Sequence[Comparison]) -> Table:
    table = Table(title="What was published, and what is stored", title_justify="left")
    for title in ("", "expected", "found", ""):
        table.add_column(title, justify="right" if title else "left")
    for line in comparisons:
        mark = Text("✓", "green") if line.agrees else Text("✗", "bold red")
        table.add_row(line.what, f"{line.expected:,}", f"{line.found:,}", mark)
    return table
