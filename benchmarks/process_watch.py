"""A process watched from outside: its memory, its CPU, and what its log says of its start."""

from __future__ import annotations

import asyncio
import json
import time
from bisect import bisect
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psutil

FIRST_INTERVAL = 0.02
"""Seconds between two looks while it starts."""

INTERVAL = 0.2
"""Seconds between two looks later on."""

STARTS_FOR = 10.0
"""Seconds for which it counts as starting."""

MIB = 1024 * 1024
PARTS = 10
"""Of the records, of each of which the memory is told."""

START_PARTS: Mapping[str, str] = {
    "starting": "load",
    "joining": "check",
    "partitions_assigned": "join",
    "settled": "apply",
}
"""The lines of the log that end each part of a start, and what the parts are called."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a start: its length, and the CPU that it took. Both in seconds."""

    seconds: float
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Watched:
    """What was seen of a process.

    ``peak_mib`` is its own, without what it was forked from. ``growth_mib``: the most memory it had
    while each tenth of the records was committed, as far as there was a look. ``start``: until its
    first records were applied, by parts; empty where its log does not tell.
    """

    peak_mib: float
    growth_mib: Mapping[int, float]
    start: Mapping[str, Part]


class ProcessWatch:
    """Looks at a process until it ends. ``share`` of the records is what it has committed."""

    def __init__(self, pid: int, log: Path, begun: float) -> None:
        """``begun``: when the process was started, on the wall clock, as its log has it."""
        self._process = psutil.Process(pid)
        self._log = log
        self._times = [begun]
        self._cpu = [0.0]
        self._peak = 0.0
        self._growth: dict[int, float] = {}
        self.share = 0.0

    async def watch(self) -> None:
        """Look again and again."""
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            while True:
                self._look()
                starts = self._times[-1] - self._times[0] < STARTS_FOR
                await asyncio.sleep(FIRST_INTERVAL if starts else INTERVAL)

    def _look(self) -> None:
        times = self._process.cpu_times()
        self._times.append(time.time())
        self._cpu.append(times.user + times.system)
        memory = self._process.memory_info().rss / MIB
        self._peak = max(self._peak, memory, _highest(self._process.pid))
        part = min(int(self.share * PARTS), PARTS - 1)
        self._growth[part] = max(self._growth.get(part, 0.0), memory)

    def seen(self) -> Watched:
        """Return what was seen so far."""
        return Watched(self._peak, dict(self._growth), self._start())

    def _start(self) -> dict[str, Part]:
        """Return the parts in which the log says that it started."""
        before, cpu_before = self._times[0], 0.0
        parts = {}
        for at, event in _first_lines(self._log.read_text(errors="replace").splitlines()):
            cpu = self._cpu_at(at)
            parts[START_PARTS[event]] = Part(at - before, cpu - cpu_before)
            before, cpu_before = at, cpu
        return parts if len(parts) == len(START_PARTS) else {}

    def _cpu_at(self, at: float) -> float:
        """Return what had been taken by then, between two looks in proportion."""
        after = min(max(bisect(self._times, at), 1), len(self._times) - 1)
        (low, high), (first, last) = (
            self._times[after - 1 : after + 1],
            self._cpu[after - 1 : after + 1],
        )
        return first + (last - first) * min((at - low) / (high - low), 1.0)


def _highest(pid: int) -> float:
    """Return the most memory since the program was loaded, where the system tells.

    What ``getrusage`` tells begins with the process that it was forked from.
    """
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _first_lines(lines: Iterable[str]) -> Iterator[tuple[float, str]]:
    """Yield when each part of the start ended."""
    wanted = list(START_PARTS)
    for line in lines:
        with suppress(ValueError):
            said = json.loads(line)
            if isinstance(said, dict) and said.get("event") in wanted[:1]:
                yield datetime.fromisoformat(said["timestamp"]).timestamp(), wanted.pop(0)
