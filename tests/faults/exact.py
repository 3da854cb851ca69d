"""What must hold of a whole group once it has caught up, whatever happened to its members."""

from __future__ import annotations

from tests.e2e.bookkeeping import account_problems, coverage_problems, settled_spans
from tests.e2e.environment import Environment
from tests.e2e.processes import Fleet
from tests.model import Sent, problems


async def assert_exact(environment: Environment, sent: list[Sent], fleet: Fleet) -> None:
    """All is stored and nothing else, nothing is left to read, every record has one outcome."""
    assert problems(sent, *await environment.documents(), []) == []
    assert await environment.dead_letters() == []
    assert await environment.lag() == 0
    assert account_problems(fleet.services) == []
    ends = await environment.ends(environment.events)
    assert coverage_problems(settled_spans(fleet.services), ends) == []
