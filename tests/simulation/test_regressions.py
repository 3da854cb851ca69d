"""Schedules that broke a rule while a fix was missing. Their steps come from their seeds."""

from __future__ import annotations

import pytest

from tests.simulation.regressions import REGRESSIONS
from tests.simulation.schedules import run_schedule


@pytest.mark.parametrize(
    "seed", REGRESSIONS.values(), ids=[mistake.replace(" ", "-") for mistake in REGRESSIONS]
)
def test_a_schedule_in_which_a_mistake_did_harm_does_none(seed: int) -> None:
    run_schedule(seed)
