"""Runs a command of ours as a process of its own and measures it from outside."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.backlog import Place

LAST_BYTES = 4000


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run took, its start included."""

    seconds: float
    cpu_seconds: float
    peak_mib: float


async def measured(arguments: Sequence[str], place: Place) -> Measured:
    """Run ``consumer ARGUMENTS`` at a place. Ends the benchmark where it fails."""
    return await asyncio.to_thread(_run, arguments, place)


def _run(arguments: Sequence[str], place: Place) -> Measured:
    own = {name: value for name, value in os.environ.items() if not name.startswith("CONSUMER_")}
    with tempfile.TemporaryFile() as log:
        begun = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "consumer", *arguments],
            env={**own, **place.environment()},
            stdout=log,
            stderr=log,
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            sys.stderr.write(log.read().decode(errors="replace")[-LAST_BYTES:])
            raise SystemExit(f"consumer {' '.join(arguments)} ended with {process.returncode}")
    return Measured(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
