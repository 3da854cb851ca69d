"""Schedules of a whole deployment in which every second message is of a kind that a team added."""

from __future__ import annotations

import pytest

from tests.own_kinds import ACME, GRADED, SCORED, installed, say_own
from tests.simulation.nemesis import READ_AGAIN
from tests.simulation.schedules import build, live

SCHEDULES = 40


@pytest.mark.reliability("F140")
def test_own_kinds_break_no_rule_in_any_schedule() -> None:
    stored = set()
    with installed(**ACME, **SCORED, **GRADED):
        for seed in (*range(SCHEDULES), *range(READ_AGAIN, READ_AGAIN + SCHEDULES // 2)):
            world = build(seed)
            world.workload.say_own = say_own
            live(world, seed)
            stored |= {name for name, found in world.database.memory.others.items() if found}
    assert stored == {"session_grades", "session_ratings", "session_scores", "session_summaries"}
