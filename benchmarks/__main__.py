"""``python -m benchmarks``: whole commands on the same backlog, as ratios inside one run.

Needs a Kafka and a MongoDB by ``TEST_KAFKA_BOOTSTRAP_SERVERS`` and ``TEST_MONGODB_URI``. A
backlog of generated conversations is published once; then every variant handles the whole of
it, one after the other, round after round, each round in another order. Absolute rates depend
on the machine and on who shares it; the ratio of two variants of one round does much less.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import random
import secrets
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.backlog import Backlog, published
from benchmarks.commands import Measured, measured
from benchmarks.variants import VARIANTS, Variant, prepare


@dataclass(slots=True)
class Series:
    """What one variant took, round by round."""

    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)

    def add(self, found: Measured) -> None:
        """Keep one round."""
        self.seconds.append(found.seconds)
        self.cpu.append(found.cpu_seconds)
        self.memory.append(found.peak_mib)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure, how often, and what decides the data and the order."""

    sessions: int
    rounds: int
    seed: int
    variants: Sequence[Variant]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print. Returns the exit code: 0, or 2 where no servers are named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--sessions", type=int, default=3000, help="conversations of 36 events")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32))
    parser.add_argument("--only", nargs="*", choices=[variant.name for variant in VARIANTS])
    options = parser.parse_args(arguments)
    kafka = os.environ.get("TEST_KAFKA_BOOTSTRAP_SERVERS")
    mongodb = os.environ.get("TEST_MONGODB_URI")
    if not kafka or not mongodb:
        print("set TEST_KAFKA_BOOTSTRAP_SERVERS and TEST_MONGODB_URI", file=sys.stderr)
        return 2
    chosen = [v for v in VARIANTS if not options.only or v.name in options.only]
    plan = Plan(options.sessions, options.rounds, options.seed, chosen)
    _print(asyncio.run(measure(kafka, mongodb, plan)), plan)
    return 0


async def measure(kafka: str, mongodb: str, plan: Plan) -> dict[str, Series]:
    """Publish the backlog, then let every variant handle it in every round."""
    backlog = await published(kafka, mongodb, plan.sessions, plan.seed)
    print(f"{backlog.records:,} records in {backlog.name}, seed {plan.seed}", flush=True)
    series = {variant.name: Series() for variant in plan.variants}
    order = random.Random(plan.seed)
    for number in range(plan.rounds):
        shuffled = list(plan.variants)
        order.shuffle(shuffled)
        for variant in shuffled:
            found = await _one(variant, backlog, number)
            series[variant.name].add(found)
            print(f"round {number + 1}: {variant.name}: {found.seconds:.1f} s", flush=True)
    return series


async def _one(variant: Variant, backlog: Backlog, number: int) -> Measured:
    place = backlog.place(f"{variant.short}-{number}")
    await prepare(variant, place)
    return await measured(variant.arguments, place)


def _print(series: dict[str, Series], plan: Plan) -> None:
    base = series[plan.variants[0].name]
    machine = f"{os.cpu_count()} cores, {_processor()}, Python {platform.python_version()}"
    print(f"\n{plan.rounds} rounds, {plan.sessions} sessions, seed {plan.seed}; {machine}")
    print(f"{'variant':<20}{'s':>8}{'time':>8}{'spread':>14}{'CPU s':>8}{'CPU':>7}{'MiB':>6}")
    for variant in plan.variants:
        own = series[variant.name]
        times = [a / b for a, b in zip(own.seconds, base.seconds, strict=True)]
        cpu = [a / b for a, b in zip(own.cpu, base.cpu, strict=True)]
        spread = f"{min(times):.2f}..{max(times):.2f}"
        print(
            f"{variant.name:<20}{statistics.median(own.seconds):>8.1f}"
            f"{statistics.median(times):>8.2f}{spread:>14}"
            f"{statistics.median(own.cpu):>8.1f}{statistics.median(cpu):>7.2f}"
            f"{max(own.memory):>6.0f}"
        )
    print(f"time and CPU: ratios to '{plan.variants[0].name}' of the same round, median and spread")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


if __name__ == "__main__":
    sys.exit(main())
