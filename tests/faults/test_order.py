"""What is stored depends on the set of messages, not on their order or number."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

import pytest

from consumer.errors import ExitCode
from consumer.state.outcomes import Outcome
from producer_tools.conversations import small_set
from tests.e2e.environment import Environment
from tests.e2e.processes import Fleet
from tests.model import problems

SESSIONS = 60


@pytest.mark.real_kafka
@pytest.mark.reliability("F41")
async def test_a_log_that_is_shuffled_and_tripled_leaves_the_same_documents(
    environment: Environment, fleet: Fleet, seed: int, rng: Random
) -> None:
    messages: list[Mapping[str, Any]] = list(small_set(seed, SESSIONS)) * 3
    rng.shuffle(messages)
    sent = await environment.publish(messages)
    services = [await fleet.start("--exit-when-caught-up") for _ in range(2)]
    for service in services:
        assert await fleet.ended(service, seconds=90) == ExitCode.DONE
    assert problems(sent, *await environment.documents(), []) == []
    outcomes = services[0].outcomes() + services[1].outcomes()
    assert outcomes[Outcome.APPLIED] >= len(sent) // 3
    assert set(outcomes) <= {Outcome.APPLIED, Outcome.DUPLICATE, Outcome.REDELIVERED}
