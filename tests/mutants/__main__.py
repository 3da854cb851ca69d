"""``python -m tests.mutants``: plant each classic mistake, and see a named test turn red."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue

from tests.mutants.mutant import Mutant, StaleMutantError
from tests.mutants.trees import Tree, new_tree
from tests.servers.provision import KAFKA_VARIABLE
from tests.simulation.regressions import REGRESSIONS

ALL: Sequence[Mutant] = [
    mutant
    for file in sorted(Path(__file__).parent.glob("of_*.py"))
    for mutant in import_module(f"{__package__}.{file.stem}").MUTANTS
]

JOBS = 3
"""More than this machine may have cores: some mistakes let a test wait until its time is over."""


def main() -> int:
    """Judge the mutants that are asked for; 1 where one of them is not noticed, or is stale."""
    options = _options()
    kept = REGRESSIONS if options.schedules and not options.names else ()
    mutants = _chosen(options.names or list(kept))
    if options.list:
        print(table(mutants))
        return 0
    if not os.environ.get(KAFKA_VARIABLE):
        left = [mutant.without_servers() for mutant in mutants]
        fewer = [one.name for one, rest in zip(mutants, left, strict=True) if one != rest]
        if fewer:
            print(f"{KAFKA_VARIABLE} is not set: tests are left out of {', '.join(fewer)}")
        mutants = [mutant for mutant in left if mutant.tests]
    with tempfile.TemporaryDirectory(prefix="mutants-") as directory:
        copies = [new_tree(Path(directory, str(number))) for number in range(options.jobs)]
        if options.schedules:
            return 0 if _find_schedules(mutants, copies, options.schedules) else 1
        return 0 if _judge(mutants, copies) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only those with this in the name")
    parser.add_argument("--list", action="store_true", help="print them, and plant none")
    parser.add_argument(
        "--schedules",
        type=int,
        metavar="SEEDS",
        help="the first schedule that shows each, of so many",
    )
    parser.add_argument("--jobs", type=int, default=JOBS, help="so many at once")
    return parser.parse_args()


def _chosen(names: Sequence[str]) -> list[Mutant]:
    chosen = [one for one in ALL if not names or any(name in one.name for name in names)]
    if not chosen:
        sys.exit("no mutant has such a name; --list shows them all")
    return chosen


def table(mutants: Sequence[Mutant]) -> str:
    """Return what is planted, which rows it would break, and who must notice."""
    lines = ["| mistake | or else | rows | turns red |", "|---|---|---|---|"]
    for one in mutants:
        tests = " ".join(f"`{test}`" for test in one.tests)
        lines.append(f"| {one.name} (`{one.where}`) | {one.why} | {one.rows} | {tests} |")
    return "\n".join(lines)


def _judge(mutants: Sequence[Mutant], copies: Sequence[Tree]) -> bool:
    begun = time.monotonic()
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    with ThreadPoolExecutor(len(copies)) as workers:
        shares = [tests[number :: len(copies)] for number in range(min(len(copies), len(tests)))]
        if not all(list(workers.map(_are_green, copies, shares))):
            print("these tests must be green before any mistake is planted")
            return False
    print(f"{len(tests)} tests are green without mutants, {time.monotonic() - begun:.0f} s")
    noticed = _each(mutants, copies, _is_noticed)
    print(f"{noticed} of {len(mutants)} mutants noticed, {time.monotonic() - begun:.0f} s")
    return noticed == len(mutants)


def _are_green(tree: Tree, tests: Sequence[str]) -> bool:
    for _ in range(2):  # a busy machine makes some of them late
        ran = tree.run(tests)
        if ran.code == 0:
            return True
    print(ran.output)
    return False


def _is_noticed(mutant: Mutant, tree: Tree) -> bool:
    for _ in range(2):  # some do harm in a moment that a busy machine may miss
        unmoved, output = tree.unmoved(mutant)
        if not unmoved:
            print(f"noticed   {mutant.name}", flush=True)
            return True
    print(f"UNNOTICED {mutant.name}: {mutant.why}")
    for test in unmoved:
        print(f"          did not turn red: {test}")
    print(output, flush=True)
    return False


def _find_schedules(mutants: Sequence[Mutant], copies: Sequence[Tree], seeds: int) -> bool:
    """Print what ``REGRESSIONS`` must say; False where no schedule shows one that it names."""

    def find(mutant: Mutant, tree: Tree) -> bool:
        seed = tree.first_schedule(mutant, seeds)
        print(f'    "{mutant.name}": {seed},', flush=True)
        return seed is not None or mutant.name not in REGRESSIONS

    return _each(mutants, copies, find) == len(mutants)


def _each(
    mutants: Sequence[Mutant], copies: Sequence[Tree], judge: Callable[[Mutant, Tree], bool]
) -> int:
    """Let each mutant be judged in a copy of its own; return how many came off well."""
    free: SimpleQueue[Tree] = SimpleQueue()
    for tree in copies:
        free.put(tree)

    def in_a_copy(mutant: Mutant) -> bool:
        tree = free.get()
        try:
            return judge(mutant, tree)
        except StaleMutantError as stale:
            print(f"STALE     {stale}", flush=True)
            return False
        finally:
            free.put(tree)

    with ThreadPoolExecutor(len(copies)) as workers:
        return sum(workers.map(in_a_copy, mutants))


if __name__ == "__main__":
    sys.exit(main())
