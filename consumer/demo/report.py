"""How the demo ends: expected against found, one conversation as it is stored, what to try next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from consumer.demo.comparison import Comparison

NEXT = (
    ("consumer demo --all", "the same with all 7,168 conversations"),
    ("docker compose up", "Apache Kafka, MongoDB and the consumer in containers"),
    ("producer-tools generate | producer-tools publish -", "your own messages"),
    ("consumer check", "is everything there that the consumer needs?"),
    ("consumer run", "consume until you stop it"),
)


@dataclass(frozen=True, slots=True)
class Report:
    """What came of the demo. ``seconds``: how long it took in all."""

    comparisons: Sequence[Comparison]
    transcript: Sequence[Text]
    seconds: float

    @property
    def agrees(self) -> bool:
        """Whether everything is as it must be."""
        return all(comparison.agrees for comparison in self.comparisons)


def print_report(report: Report, out: Console) -> None:
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
