"""What was measured, as a table, as JSON and as a chart."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.counting_proxy import Asked
from benchmarks.measuring import Measured
from benchmarks.process_watch import START_PARTS, Part

MOST = 0.5
"""Of the records; a rate is not told of fewer."""


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
        """Records a second; 0 where most had been read before all instances had joined."""
        share = self.measured.timed_share
        return share * self.records / self.measured.seconds if share > MOST else 0.0

    @property
    def cpu(self) -> float:
        """Microseconds of the consumers' CPU a record."""
        return self.measured.cpu_seconds / self.records * 1e6

    @property
    def server_cpu(self) -> float:
        """Microseconds of the database's CPU a record."""
        return self.measured.mongodb_cpu_seconds / self.records * 1e6


@dataclass(frozen=True, slots=True)
class AskedRun:
    """What one consumer has asked of the store for a whole backlog."""

    workload: str
    duplicates: bool
    contestant: str
    records: int
    asked: Asked

    def facts(self) -> dict[str, Any]:
        """Return everything by name; ``asdict`` cannot copy a counter."""
        return {
            **{name: getattr(self, name) for name in ("workload", "duplicates", "contestant")},
            "records": self.records,
            "commands": self.asked.commands,
            "documents": self.asked.documents,
            "bytes_sent": self.asked.bytes_sent,
            "bytes_answered": self.asked.bytes_answered,
        }

    def __str__(self) -> str:
        """Say it in a line, for a thousand records."""
        kind = "all duplicates" if self.duplicates else "new"
        asked, thousands = self.asked, self.records / 1_000
        commands = ", ".join(
            f"{count / thousands:.2f} {name}"
            + (f" of {asked.documents[name] / count:,.0f}" if name in asked.documents else "")
            for name, count in asked.commands.most_common(5)
        )
        return (
            f"{self.contestant}, {self.workload}, {kind}, a thousand records: {commands}; "
            f"{asked.bytes_sent / thousands / 1024:,.0f} KiB sent, "
            f"{asked.bytes_answered / thousands / 1024:,.0f} KiB answered"
        )


Key = tuple[str, bool, int, str]


class Results:
    """All runs of one benchmark. Ratios are to ``base`` in the same round."""

    def __init__(self, base: str) -> None:
        """``base``: the contestant that the others are compared with."""
        self._base = base
        self.runs: list[Run] = []
        self.asked: list[AskedRun] = []

    def sort(self) -> None:
        """Let new records of all contestants stand together, then duplicates."""
        places: dict[str, int] = {}
        for run in self.runs:
            places.setdefault(run.workload, len(places))
        self.runs.sort(
            key=lambda run: (
                *(places[run.workload], run.duplicates, run.contestant != self._base),
                *(run.contestant, run.instances),
            )
        )

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
        for (workload, duplicates, _, _), runs in self.series().items():
            if situation != (workload, duplicates):
                situation = workload, duplicates
                kind = "all duplicates" if duplicates else "new"
                lines += ["", f"{workload}, {kind}, {runs[0].records:,} records", head]
            lines.append(
                f"{_name(runs[0]):<24}{_rate(runs):>10}"
                f"{_spread(self.ratios(runs, lambda run: run.rate)):>20}"
                f"{_median(runs, lambda run: run.cpu):>8.1f}"
                f"{_spread(self.ratios(runs, lambda run: run.cpu)):>20}"
                f"{_median(runs, lambda run: run.server_cpu):>11.1f}"
                f"{max(run.measured.peak_mib for run in runs):>6.0f}"
            )
        lines += self._starts()
        lines += self._growth()
        if self.asked:
            lines += ["", "asked of the store", *map(str, self.asked)]
        return "\n".join([*lines, "", f"ratios to '{self._base}' in the same round"])

    def _starts(self) -> Iterator[str]:
        """Yield the parts of each contestant's start, the medians of all its processes."""
        starts: defaultdict[str, list[Mapping[str, Part]]] = defaultdict(list)
        for run in self.runs:
            for one in run.measured.watched:
                if one.start:  # not of the floor, whose log does not tell
                    starts[run.contestant].append(one.start)
        for number, (contestant, found) in enumerate(starts.items()):
            if not number:
                yield from ("", "start, ms of time (of CPU), until its first records are applied")
            parts = [
                f"{name} {_milliseconds(found, name, 'seconds'):,.0f}"
                f" ({_milliseconds(found, name, 'cpu_seconds'):,.0f})"
                for name in START_PARTS.values()
            ]
            yield f"{contestant:<24}" + ", ".join(parts)

    def _growth(self) -> Iterator[str]:
        """Yield the memory of each contestant while each tenth of the records was committed."""
        for number, runs in enumerate(self.series().values()):
            found = [one.growth_mib for run in runs for one in run.measured.watched]
            tenths = sorted({tenth for growth in found for tenth in growth})
            if not number:
                yield from ("", "MiB, the most in each tenth of the records")
            most = (max(growth.get(tenth, 0.0) for growth in found) for tenth in tenths)
            yield f"{_name(runs[0])}, {runs[0].workload}: " + " ".join(f"{mib:.0f}" for mib in most)

    def write_json(self, path: Path, facts: dict[str, Any]) -> None:
        """Write every single run."""
        path.write_text(
            json.dumps(
                {
                    **facts,
                    "runs": [asdict(run) for run in self.runs],
                    "asked": [run.facts() for run in self.asked],
                },
                indent=1,
            )
            + "\n",
            encoding="utf-8",
        )

    def write_chart(self, path: Path) -> None:
        """Draw CPU and rate of each contestant, a row for each situation."""
        import matplotlib as mpl  # noqa: PLC0415 -- large, and wanted only here

        mpl.use("Agg")
        from matplotlib import pyplot as plt  # noqa: PLC0415 -- as above

        situations: dict[tuple[str, bool], list[tuple[str, list[Run]]]] = {}
        for (workload, duplicates, _, _), runs in self.series().items():
            situations.setdefault((workload, duplicates), []).append((_name(runs[0]), runs))
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


def _name(run: Run) -> str:
    return run.contestant + (f" x{run.instances}" if run.instances > 1 else "")


def _milliseconds(starts: Sequence[Mapping[str, Part]], part: str, value: str) -> float:
    return 1_000 * float(statistics.median(getattr(start[part], value) for start in starts))


def _median(runs: Sequence[Run], value: Callable[[Run], float]) -> float:
    return statistics.median(value(run) for run in runs)


def _rate(runs: Sequence[Run]) -> str:
    rate = _median(runs, lambda run: run.rate)
    return f"{rate:,.0f}" if rate else "-"


def _spread(ratios: Sequence[float]) -> str:
    if not any(ratios):
        return "-"
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}..{max(ratios):.2f})"
