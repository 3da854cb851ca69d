"""Many schedules of a whole deployment, each from a seed; what the simulation itself promises."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.simulation.faults import KINDS
from tests.simulation.nemesis import READ_AGAIN, READ_AGAIN_KINDS, THEMES, plan
from tests.simulation.regressions import REGRESSIONS
from tests.simulation.schedules import build, live, run_schedule

SECONDS = 15.0
"""Of processor time for the slice below; ``make simulate`` runs as many as it is told."""

AT_LEAST = 100


def test_a_slice_of_all_schedules_breaks_no_rule() -> None:
    begun, seed = time.process_time(), 0
    while seed < AT_LEAST or time.process_time() - begun < SECONDS:
        run_schedule(seed)
        if seed < AT_LEAST // 2:
            run_schedule(READ_AGAIN + seed)
        seed += 1


@pytest.mark.parametrize(
    "seed", REGRESSIONS.values(), ids=[mistake.replace(" ", "-") for mistake in REGRESSIONS]
)
def test_a_schedule_in_which_a_mistake_did_harm_does_none(seed: int) -> None:
    run_schedule(seed)


def test_a_partition_that_is_held_time_and_again_has_its_time_from_each_release_on() -> None:
    run_schedule(5667)  # four records of ten contradict others, and three are enough


def test_a_seed_tells_everything_that_happens_whatever_the_interpreters_own_seed() -> None:
    told = {
        subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--seed", "7", "--schedule"],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.rpartition("schedules,")[0]
        for hash_seed in ("1", "2")
    }
    assert len(told) == 1
    assert "assigned" in told.pop()


def test_the_schedules_know_every_kind_of_fault() -> None:
    drawn = {fault.kind for seed in range(500) for fault in plan(seed)}
    assert drawn == KINDS.keys()
    assert {kind for theme in (*THEMES, READ_AGAIN_KINDS) for kind in theme} <= KINDS.keys()


def test_a_schedule_leaves_nothing_running() -> None:
    world = build(5)
    live(world, 5)
    assert all(not host.tasks for host in world.loop.hosts)
    assert world.loop.troubles == []
