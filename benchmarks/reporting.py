"""What was measured, as a table, as JSON and as a chart."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.measuring import Measured


@dataclass(frozen=True, slots=True)
class Run:
    """One measured run. ``duplicates``: everything was stored before it began."""

    workload: str
    duplicates: bool
    contestant: str
    instances: int
    number: int
    records: int
    measured: Measured

    def __str__(self) -> str:
        """Say in a line what it was and what it took."""
        kind = "all duplicates" if self.duplicates else "new"
        return f"{self.contestant} x{self.instances}, {kind}: {self.rate:,.0f}/s, {self.cpu:.1f} us"

    @property
    def rate(self) -> float:
        """Records a second."""
        return self.records / self.measured.seconds

    @property
    def cpu(self) -> float:
        """Microseconds of the consumers' CPU a record."""
        return self.measured.cpu_seconds / self.records * 1e6

    @property
    def server_cpu(self) -> float:
        """Microseconds of the database's CPU a record."""
        return self.measured.mongodb_cpu_seconds / self.records * 1e6


Key = tuple[str, bool, int, str]


class Results:
    """All runs of one benchmark. Ratios are to ``base`` in the same round."""

    def __init__(self, base: str) -> None:
        """``base``: the contestant that the others are compared with."""
        self._base = base
        self.runs: list[Run] = []

    def series(self) -> dict[Key, list[Run]]:
        """Return the rounds of each contestant in each situation, in the order of measuring."""
        found: dict[Key, list[Run]] = {}
        for run in self.runs:
            key = (run.workload, run.duplicates, run.instances, run.contestant)
            found.setdefault(key, []).append(run)
        return found

    def ratios(self, runs: Sequence[Run], value: Callable[[Run], float]) -> list[float]:
        """Return the ratio to the base of each round in which the base was measured, too."""
        base = {
            run.number: value(run)
            for run in self.runs
            if run.contestant == self._base
            and (run.workload, run.duplicates) == (runs[0].workload, runs[0].duplicates)
            and run.instances == 1
        }
        return [value(run) / base[run.number] for run in runs if base.get(run.number)]

    def table(self) -> str:
        """Return medians, with the spread of the ratios in brackets."""
        head = (
            f"{'consumer':<24}{'records/s':>10}{'ratio':>20}{'CPU us':>8}{'ratio':>20}"
            f"{'server us':>11}{'MiB':>6}"
        )
        lines: list[str] = []
        situation: tuple[str, bool] | None = None
        for (workload, duplicates, instances, contestant), runs in self.series().items():
            if situation != (workload, duplicates):
                situation = workload, duplicates
                kind = "all duplicates" if duplicates else "new"
                lines += ["", f"{workload}, {kind}, {runs[0].records:,} records", head]
            many = f" x{instances}" if instances > 1 else ""
            lines.append(
                f"{contestant + many:<24}{_median(runs, lambda run: run.rate):>10,.0f}"
                f"{_spread(self.ratios(runs, lambda run: run.rate)):>20}"
                f"{_median(runs, lambda run: run.cpu):>8.1f}"
                f"{_spread(self.ratios(runs, lambda run: run.cpu)):>20}"
                f"{_median(runs, lambda run: run.server_cpu):>11.1f}"
                f"{max(run.measured.peak_mib for run in runs):>6.0f}"
            )
        return "\n".join([*lines, "", f"ratios to '{self._base}' in the same round"])

    def write_json(self, path: Path, facts: dict[str, Any]) -> None:
        """Write every single run."""
        path.write_text(
            json.dumps({**facts, "runs": [asdict(run) for run in self.runs]}, indent=1) + "\n",
            encoding="utf-8",
        )

    def write_chart(self, path: Path) -> None:
        """Draw CPU and rate of each contestant, a row for each situation."""
        import matplotlib as mpl  # noqa: PLC0415 -- large, and wanted only here

        mpl.use("Agg")
        from matplotlib import pyplot as plt  # noqa: PLC0415 -- as above

        situations: dict[tuple[str, bool], list[tuple[str, list[Run]]]] = {}
        for (workload, duplicates, instances, contestant), runs in self.series().items():
            many = f" x{instances}" if instances > 1 else ""
            situations.setdefault((workload, duplicates), []).append((contestant + many, runs))
        figure, grid = plt.subplots(
            len(situations), 2, figsize=(11, 0.6 + 2.2 * len(situations)), squeeze=False
        )
        titles: tuple[tuple[str, Callable[[Run], float]], ...] = (
            ("CPU, µs a record", lambda run: run.cpu),
            ("records/s", lambda run: run.rate),
        )
        for row, ((workload, duplicates), bars) in zip(grid, situations.items(), strict=True):
            for axes, (title, value) in zip(row, titles, strict=True):
                found = [[value(run) for run in runs] for _, runs in bars]
                middle = [statistics.median(values) for values in found]
                low = [m - min(values) for m, values in zip(middle, found, strict=True)]
                high = [max(values) - m for m, values in zip(middle, found, strict=True)]
                names = [name for name, _ in bars]
                colors = ["#b07020" if name.startswith("product") else "#8899aa" for name in names]
                axes.barh(names, middle, xerr=[low, high], color=colors)
                axes.invert_yaxis()
                kind = "all duplicates" if duplicates else "new"
                axes.set_title(f"{workload}, {kind}: {title}", fontsize=9)
                axes.tick_params(labelsize=8)
        figure.tight_layout()
        figure.savefig(path, dpi=120)
        plt.close(figure)


def _median(runs: Sequence[Run], value: Callable[[Run], float]) -> float:
    return statistics.median(value(run) for run in runs)


def _spread(ratios: Sequence[float]) -> str:
    if not ratios:
        return "-"
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}..{max(ratios):.2f})"
