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

from consumer.demo.members import Member, MemberState


@dataclass(slots=True)
class Step:
    """One step of the demo. ``result`` is set when it has been done."""

    title: str
    began: float | None = None
    took: float = 0.0
    result: str | None = None


@dataclass(slots=True)
class Scene:
    """Everything there is to see."""

    steps: Sequence[Step]
    members: list[Member] = field(default_factory=list)
    total: int | None = None
    """How many messages there are; None while nobody knows."""
    published: int = 0
    events: int = 0
    stored: int = 0


class Screen(Protocol):
    """Shows a scene as it changes."""

    scene: Scene

    @contextmanager
    def step(self, index: int) -> Iterator[Step]:
        """Mark a step as being done during the body, which says with what result."""
        ...

    def changed(self) -> None:
        """Be told that counts have changed."""
        ...


def _timed(scene: Scene, index: int) -> Step:
    step = scene.steps[index]
    step.began = time.monotonic()
    return step


def _finish(step: Step) -> None:
    step.took = time.monotonic() - (step.began or 0)


class PlainScreen:
    """A line for each step, and one for each quarter of what is stored."""

    def __init__(self, scene: Scene) -> None:
        """Begin with nothing said."""
        self.scene = scene
        self._quarters = 0

    @contextmanager
    def step(self, index: int) -> Iterator[Step]:
        """Say what is being done, then what came of it."""
        step = _timed(self.scene, index)
        self._say(f"{step.title} …")
        yield step
        _finish(step)
        self._say(f"  {step.result or 'done'} ({step.took:.1f} s)")

    def changed(self) -> None:
        """Say how much is stored when another quarter is."""
        if self.scene.events and (quarters := 4 * self.scene.stored // self.scene.events):
            if quarters > self._quarters:
                self._say(f"  {self.scene.stored:,} of {self.scene.events:,} events are stored")
            self._quarters = quarters

    def _say(self, text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


class LiveScreen:
    """The whole scene, drawn again several times a second by a thread of its own."""

    def __init__(self, scene: Scene) -> None:
        """Draw ``scene`` as it is at each moment."""
        self.scene = scene
        self._spinner = Spinner("dots")
        self._bars = Progress(
            TextColumn("  {task.description:>9}"), BarColumn(40), MofNCompleteColumn()
        )
        self._published = self._bars.add_task("published", total=None)
        self._stored = self._bars.add_task("stored", total=None)

    @contextmanager
    def step(self, index: int) -> Iterator[Step]:
        """Let the step's mark turn while the body runs."""
        step = _timed(self.scene, index)
        yield step
        _finish(step)
        step.result = step.result or "done"

    def changed(self) -> None:
        """Do nothing: the next drawing shows it."""

    def __rich__(self) -> RenderableType:
        """Draw the scene."""
        scene = self.scene
        self._bars.update(self._published, completed=scene.published, total=scene.total)
        self._bars.update(self._stored, completed=scene.stored, total=scene.events or None)
        parts: list[RenderableType] = [self._steps(), Text(), self._bars]
        if scene.members:
            parts += [Text(), _members(scene.members)]
        return Group(*parts)

    def _steps(self) -> Table:
        table = Table.grid(padding=(0, 1))
        for step in self.scene.steps:
            if step.result is not None:
                mark: RenderableType = Text("✓", style="green")
                result = Text(f"{step.result} ({step.took:.1f} s)", style="dim")
            elif step.began is not None:
                mark, result = self._spinner, Text(f"{time.monotonic() - step.began:.0f} s", "dim")
            else:
                mark, result = Text("·", style="dim"), Text()
            table.add_row(Text(" "), mark, step.title, result)
        return table


def _members(members: Sequence[Member]) -> Table:
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for title in ("consumer", "state"):
        table.add_column(title)
    for title in ("partitions", "applied", "redelivered", "lag"):
        table.add_column(title, justify="right")
    for member in members:
        style = "red" if member.state in {MemberState.KILLED, MemberState.ENDED} else ""
        counts = (
            member.partitions,
            member.outcomes["applied"],
            member.outcomes["redelivered"],
            member.lag,
        )
        table.add_row(member.name, Text(member.state, style), *(f"{count:,}" for count in counts))
    return table


@contextmanager
def open_screen(scene: Scene, console: Console) -> Iterator[Screen]:
    """Show ``scene`` during the body, live where ``console`` is a terminal."""
    if not console.is_terminal:
        yield PlainScreen(scene)
        return
    screen = LiveScreen(scene)
    with Live(screen, console=console, refresh_per_second=8):
        yield screen
