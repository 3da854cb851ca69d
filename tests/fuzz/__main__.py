"""``python -m tests.fuzz``: half a million damaged records, and the heaviest there can be."""

from __future__ import annotations

import argparse
import resource
import secrets
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from random import Random

from consumer.contract.record import Record
from tests.fuzz.examining import Input, examine
from tests.fuzz.heavy import (
    AIM,
    MIB,
    TRIES,
    Weight,
    made_up,
    shapes,
    too_heavy,
    unpacked,
    weigh,
)
from tests.fuzz.making import make

INPUTS = 500_000
MADE_UP = 100
SHOWN = 5


@dataclass(slots=True)
class Tally:
    """What came of the inputs so far."""

    ends: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    slowest_number: int = 0

    def add(self, number: int, end: str, seconds: float) -> None:
        self.ends[end] += 1
        if seconds > self.slowest:
            self.slowest, self.slowest_number = seconds, number


def main() -> int:
    """Fuzz as asked; 1 where an input does what none may do."""
    options = _options()
    if options.input is not None:
        return _alone(Input.of(options.input))
    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    if options.first == 0 and not _heavy(seed):
        return 1
    return 0 if _many(seed, options) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=INPUTS, help="how many to try")
    parser.add_argument("--seconds", type=float, help="stop after so many seconds")
    parser.add_argument("--seed", type=int, help="try the inputs of this seed")
    parser.add_argument("--first", type=int, default=0, help="begin with the input of this number")
    parser.add_argument("--input", help="try this one alone, as an earlier run printed it")
    return parser.parse_args()


# --- many small ones ------------------------------------------------------------------------


def _many(seed: int, options: argparse.Namespace) -> bool:
    tally = Tally()
    begun = time.monotonic()
    for number in range(options.first, options.first + options.inputs):
        if options.seconds is not None and time.monotonic() - begun > options.seconds:
            break
        one = make(seed, number)
        started = time.perf_counter()
        try:
            end = examine(one)
        except Exception:  # noqa: BLE001 -- whatever it is, it is what was looked for
            _report(seed, number, one)
            return False
        tally.add(number, end, time.perf_counter() - started)
    _summary(tally, time.monotonic() - begun)
    return True


def _report(seed: int, number: int, one: Input) -> None:
    traceback.print_exc(file=sys.stdout)
    print(f"\ninput {number} of seed {seed} breaks a rule:\n{one}")
    print(f"again: python -m tests.fuzz --seed {seed} --first {number} --inputs 1")
    print(f"or: python -m tests.fuzz --input {one.encoded()}")


def _alone(one: Input) -> int:
    print(one)
    try:
        print(examine(one))
    except Exception:  # noqa: BLE001 -- as above
        traceback.print_exc(file=sys.stdout)
        return 1
    return 0


def _summary(tally: Tally, seconds: float) -> None:
    count = tally.ends.total()
    print(f"{count} inputs, {seconds:.1f} s, {count / seconds:.0f} a second")
    for end, times in tally.ends.most_common():
        print(f"{times:9}  {end}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        f"slowest: number {tally.slowest_number}, {tally.slowest * 1000:.1f} ms; "
        f"the process took {peak / MIB:.0f} MiB at most"
    )


# --- few heavy ones --------------------------------------------------------------------------


def _weighed(seed: int, records: Iterable[tuple[str, Record]], tries: int = TRIES) -> list[Weight]:
    """Weigh records one at a time, since the memory of this process counts; none: too heavy."""
    weights: list[Weight] = []
    for name, record in records:
        weights.append(weigh(name, record, tries))
        if too_heavy(weights[-1]):
            print(f"too heavy: {weights[-1]}")
            print(
                f"{len(record.value or b'')} bytes, beginning with {(record.value or b'')[:200]!r}"
            )
            print(f"again: python -m tests.fuzz --seed {seed} --inputs 0")
            return []
    return weights


def _heavy(seed: int) -> bool:
    rng = Random(f"{seed} heavy")
    others = ((f"made up, {number}", made_up(rng)) for number in range(MADE_UP))
    if not _weighed(seed, unpacked(), tries=1):
        return False
    weights = _weighed(seed, chain(shapes(), others))
    if not weights:
        return False
    slow = sum(weight.seconds > AIM for weight in weights)
    largest = max(weights, key=lambda weight: weight.memory)
    print(
        f"{len(weights)} records of a mebibyte: {slow} take more than {AIM * 1000:.0f} ms of the "
        f"processor, none more than {largest.memory / MIB:.1f} MiB; the slowest:"
    )
    for weight in sorted(weights, key=lambda weight: -weight.seconds)[:SHOWN]:
        print(f"  {weight}")
    return True


if __name__ == "__main__":
    sys.exit(main())
