"""``python -m tests.chaos --minutes 30 --seed S``: harm real processes, then compare everything.

Needs scripts that start and harm servers: TEST_KAFKA_CONTROL and TEST_MONGODB_CONTROL name them.
Exit codes: 0 all held; 1 something did not; 3 there are no servers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import secrets
import sys
import tempfile
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

from tests.chaos.checker import SHOWN
from tests.chaos.fault import FAULTS
from tests.chaos.run import Plan, Report, run
from tests.chaos.schedule import faults_for
from tests.chaos.servers import Database, NoServersError, running_servers

say = partial(print, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument(
        "--minutes",
        type=float,
        default=2.0,
        help="how long faults go on; from 30 on some of them at full length",
    )
    parser.add_argument("--seed", type=int, help="repeats a schedule and its messages")
    parser.add_argument("--rate", type=float, default=200.0, help="messages a second")
    parser.add_argument(
        "--database", type=Database, choices=list(Database), default=Database.PYTHON
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=sorted(FAULTS),
        help="only these faults; repeatable",
    )
    parser.add_argument(
        "--report", type=Path, default=Path("build/chaos.json"), help="where the report is written"
    )
    parser.add_argument("--logs", type=Path, help="where the consumers' logs are kept")
    return parser.parse_args()


async def _run(arguments: argparse.Namespace, plan: Plan) -> Report:
    with tempfile.TemporaryDirectory(prefix="chaos-logs-") as made:
        logs = arguments.logs or Path(made)
        logs.mkdir(parents=True, exist_ok=True)
        async with running_servers(arguments.database) as servers:
            return await run(plan, servers, logs, say)


def _write(path: Path, report: Report, seconds: float) -> None:
    document = {**asdict(report), "seconds": round(seconds, 1), "good": report.verdict.good}
    text = json.dumps(document, indent=1, default=lambda function: function.__name__)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n", encoding="utf-8")


def _tell(report: Report) -> None:
    for name, count in report.verdict.counts.items():
        say(f"  {name}: {count:,}")
    for kind, found in report.verdict.problems.items():
        say(f"{kind}: {len(found) or 'none'}")
        for problem in found[:SHOWN]:
            say(f"  {problem}")


def main() -> int:
    """Run, tell, and return the exit code."""
    # What the producer's client complains about is what is being done to it.
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())
    logging.getLogger("aiokafka").propagate = False
    arguments = _arguments()
    seed = secrets.randbelow(2**31) if arguments.seed is None else arguments.seed
    asked_for = [FAULTS[name] for name in arguments.only or ()]
    only = asked_for or faults_for(arguments.minutes)
    plan = Plan(seed, arguments.minutes, arguments.rate, only)
    say(f"chaos: seed {seed}, {plan.minutes:g} minutes, {plan.rate:g} messages a second")
    begun = time.monotonic()
    try:
        report = asyncio.run(_run(arguments, plan))
    except NoServersError as error:
        say(f"chaos: not run: {error}")
        return 3 if os.environ.get("TEST_REQUIRE_SERVERS") else 0
    _write(arguments.report, report, time.monotonic() - begun)
    _tell(report)
    recoveries = [course.recovery for course in report.courses if course.recovery is not None]
    say(f"longest recovery: {max(recoveries, default=0.0):.1f} s; report: {arguments.report}")
    say(f"{'good' if report.verdict.good else 'VIOLATED'}; repeat with --seed {seed}")
    return 0 if report.verdict.good else 1


if __name__ == "__main__":
    sys.exit(main())
