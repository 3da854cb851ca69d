"""``python -m tests.simulation --seeds 1000``: many schedules, and the first that breaks a rule."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable
from contextlib import suppress

from tests.simulation.nemesis import READ_AGAIN, plan
from tests.simulation.schedules import build, live, run_schedule
from tests.simulation.world import Violation


def main() -> int:
    """Run the schedules that are asked for; 1 where one of them breaks a rule."""
    options = _options()
    if options.schedule:
        print_schedule(options.seed or 0)
    begun = time.monotonic()
    number = steps = failed = 0
    for seed in _seeds(options):
        number += 1
        try:
            steps += run_schedule(seed).loop.steps
        except Violation as violation:
            print_failure(seed, violation)
            failed += 1
            if failed >= options.failures:
                break
    seconds = time.monotonic() - begun
    rate = 60 * number / seconds
    print(f"{number} schedules, {steps} steps, {seconds:.1f} s, {rate:.0f} a minute")
    return 1 if failed else 0


def _seeds(options: argparse.Namespace) -> Iterable[int]:
    if options.seed is not None:
        return [options.seed]
    seeds = range(options.first, options.first + options.seeds)
    return [*seeds, *(READ_AGAIN + seed for seed in seeds[: options.seeds // 10])]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many schedules to run")
    parser.add_argument("--first", type=int, default=0, help="the first of their seeds")
    parser.add_argument("--seed", type=int, help="run this one alone")
    parser.add_argument("--failures", type=int, default=1, help="stop after so many failures")
    parser.add_argument("--schedule", action="store_true", help="print what happens, and when")
    return parser.parse_args()


def print_failure(seed: int, violation: Violation) -> None:
    """Say what did not hold, how it came to that, and how to see it again."""
    print_schedule(seed)
    print(f"\nseed {seed} breaks a rule:\n{violation}")
    print(f"again: python -m tests.simulation --seed {seed} --schedule\n")


def print_schedule(seed: int) -> None:
    """Print the deployment, the faults and everything that happens."""
    world = build(seed, tracing=True)
    print(f"seed {seed}: {world.shape}")
    for fault in plan(seed):
        print(f"planned: {fault}")
    with suppress(Violation):
        live(world, seed)
    for moment, who, what in world.trace:
        print(f"{moment:9.4f}  {who:8} {what}")


if __name__ == "__main__":
    sys.exit(main())
