"""``python -m benchmarks``: this consumer beside the floor and its peers, on the same records.

Starts an Apache Kafka and a store with the scripts in ../shared/tools, or uses those that are
named. Publishes a seeded backlog for each workload; then every contestant reads the whole of it
into a database of its own, and once more by another group, when everything is there already,
round after round, each round in another order. Absolute rates depend on the machine and on who
shares it; the ratio of two contestants in one round does much less, and CPU less than time.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import random
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.contestants import (
    CONTESTANTS,
    FLOOR,
    PEERS_PYTHON,
    REPLAY,
    Contestant,
    Place,
    varied,
)
from benchmarks.counting_proxy import counting
from benchmarks.measuring import measure
from benchmarks.reporting import AskedRun, Results, Run
from benchmarks.workloads import Backlog, Workload, publish

TOOLS = Path(__file__).parents[2] / "shared" / "tools"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure, how often, and what decides the data and the order."""

    records: int
    rounds: int
    seed: int
    workloads: Sequence[Workload]
    contestants: Sequence[Contestant]
    instances: Sequence[int]
    partitions: int
    duplicates: bool
    """Whether to read everything once more; pointless on a store that keeps nothing."""
    counted: bool
    """Whether to read everything through a proxy in the end, which counts what is asked."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, write chart and JSON. Returns the exit code."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended early, not lost
    names = options.only or [one.name for one in CONTESTANTS]
    chosen = [one for one in CONTESTANTS if one.name in names]
    contestants = [other for one in chosen for other in (one, *varied(one, options.vary))]
    if any(one.peer for one in contestants) and not PEERS_PYTHON.exists():
        print("the peers are not installed: make .venv-peers/installed", file=sys.stderr)
        return 2
    plan = Plan(
        options.records,
        options.rounds,
        options.seed,
        [Workload(name) for name in options.workloads],
        contestants,
        options.instances,
        options.partitions,
        duplicates=bool(options.mongodb) or options.store != "free",
        counted=not options.uncounted,
    )
    with ExitStack() as stack:
        kafka = options.bootstrap or stack.enter_context(_started("kafka", "up", "--port", "0"))
        mongodb = options.mongodb or stack.enter_context(_store(options.store))
        results = Results(FLOOR.name if FLOOR in contestants else contestants[0].name)
        try:
            asyncio.run(compare(kafka, mongodb, plan, results))
        except KeyboardInterrupt:
            print("interrupted; what was measured:", flush=True)
            _write(results, plan, options)
            return 130
        except (Exception, SystemExit) as error:
            print(f"ended early ({type(error).__name__}: {error}); what was measured:", flush=True)
            _write(results, plan, options)
            raise
    _write(results, plan, options)
    return 0


def _write(results: Results, plan: Plan, options: argparse.Namespace) -> None:
    """Print the table; write chart and JSON of what there is."""
    results.sort()
    print(results.table(), flush=True)
    facts = {
        "records": plan.records,
        "rounds": plan.rounds,
        "seed": plan.seed,
        "partitions": plan.partitions,
        "store": "named" if options.mongodb else options.store,
        "machine": f"{os.cpu_count()} cores, {_processor()}, Python {platform.python_version()}",
    }
    options.output.mkdir(parents=True, exist_ok=True)
    results.write_json(options.output / "results.json", facts)
    if results.runs:
        results.write_chart(options.output / "results.png")
    print(f"{options.output}/results.json and results.png; {facts['machine']}, seed {plan.seed}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--bootstrap", help="an Apache Kafka that runs")
    parser.add_argument("--mongodb", help="URI of a MongoDB that runs")
    parser.add_argument("--store", choices=("rust", "python", "free"), default="rust")
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5, help="0: only count what is asked")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32))
    kinds = [str(workload) for workload in Workload]
    parser.add_argument("--workloads", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--only", nargs="+", choices=[one.name for one in CONTESTANTS])
    parser.add_argument("--instances", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--partitions", type=int, default=6, help="of each of the two topics")
    helped = "SETTING=VALUE,VALUE: measure run with each of these values, too; may be repeated"
    parser.add_argument("--vary", action="append", default=[], help=helped)
    parser.add_argument("--uncounted", action="store_true", help="count nothing that is asked")
    parser.add_argument("--output", type=Path, default=Path("build/benchmarks"))
    return parser


async def compare(kafka: str, mongodb: str, plan: Plan, results: Results) -> None:
    """Let every contestant read every backlog in every round; count once what each asks."""
    order = random.Random(plan.seed)
    for workload in plan.workloads:
        backlog = await publish(kafka, workload, plan.records, plan.seed, plan.partitions)
        size = backlog.value_bytes // backlog.records
        print(f"{workload}: {backlog.records:,} records of {size:,} bytes", flush=True)
        for number in range(1, plan.rounds + 1):
            entries = [
                (one, many)
                for one in plan.contestants
                for many in plan.instances
                if many == 1 or not (one.peer or one.ends)
            ]
            order.shuffle(entries)
            for contestant, instances in entries:
                place = Place(kafka, mongodb, backlog, "", f"{backlog.name}-{secrets.token_hex(3)}")
                for run in await _both(contestant, place, instances, number, plan):
                    results.runs.append(run)
                    print(f"round {number}: {run}", flush=True)
        for contestant in plan.contestants if plan.counted else ():
            if not (contestant.ends or contestant.only_reads):
                results.asked += await _asked(kafka, mongodb, contestant, backlog, plan)


async def _asked(
    kafka: str, mongodb: str, contestant: Contestant, backlog: Backlog, plan: Plan
) -> list[AskedRun]:
    """Read the backlog through a proxy that counts: not a measurement of time."""
    found = []
    place = Place(kafka, mongodb, backlog, "", f"{backlog.name}-{secrets.token_hex(3)}")
    for duplicates in (False, True) if plan.duplicates else (False,):
        async with counting(mongodb) as (uri, asked):
            group = f"{place.database}-{'again' if duplicates else 'new'}"
            await measure(contestant, replace(place, mongodb=uri, group=group), 1)
        run = AskedRun(backlog.workload.value, duplicates, contestant.name, backlog.records, asked)
        print(f"asked by {run}", flush=True)
        found.append(run)
    return found


async def _both(
    contestant: Contestant, place: Place, instances: int, number: int, plan: Plan
) -> list[Run]:
    """Read the backlog when it is new, and once more, by another group, when all is stored."""
    runs = []
    for duplicates in (False, True) if plan.duplicates else (False,):
        reader = REPLAY if contestant.only_reads and not duplicates else contestant
        group = f"{place.database}-{'again' if duplicates else 'new'}"
        found = await measure(reader, replace(place, group=group), instances)
        if reader is contestant:
            backlog = place.backlog
            runs.append(
                Run(
                    *(backlog.workload.value, duplicates, contestant.name, instances),
                    *(number, backlog.records, found),
                )
            )
    return runs


@contextmanager
def _store(kind: str) -> Iterator[str]:
    match kind:
        case "free":
            command = [sys.executable, "-m", "benchmarks.free_store"]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                yield process.stdout.readline().strip()
                process.terminate()
        case "python":
            with _started("mongo", "up", "--port", "0", "--python") as uri:
                yield uri
        case _:
            with _started("mongo", "up", "--port", "0") as uri:
                yield uri


@contextmanager
def _started(script: str, *arguments: str) -> Iterator[str]:
    """Start servers with a script and purge them in the end; the last line is their address."""
    path = TOOLS / script
    if not path.exists():
        raise SystemExit(f"{path} is not there: name a running server (--bootstrap, --mongodb)")
    with tempfile.TemporaryDirectory() as directory:
        where = ("--dir", directory)
        try:
            done = subprocess.run(
                [path, *arguments, *where], check=True, stdout=subprocess.PIPE, text=True
            )
            yield done.stdout.strip().splitlines()[-1]
        finally:
            subprocess.run([path, "down", *where, "--purge"], check=False, capture_output=True)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


if __name__ == "__main__":
    sys.exit(main())
