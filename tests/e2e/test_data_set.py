"""Real conversations, through real brokers and real processes, some of which die on the way."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Sequence

import pytest

from consumer.state.outcomes import Outcome
from producer_tools.chitchat import chitchat_messages
from producer_tools.conversations import Message
from tests.e2e.bookkeeping import (
    account_problems,
    coverage_problems,
    metrics_problems,
    repeated,
    settled_spans,
)
from tests.e2e.environment import Environment
from tests.e2e.processes import Fleet
from tests.model import problems

SESSIONS = os.environ.get("TEST_E2E_SESSIONS", "1000")
"""How many of the 7,168 conversations: a number, or ``all``."""

ALL = (7168, 258_145, 5988)


@pytest.mark.real_kafka
@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_real_conversations_survive_killed_and_stopped_consumers_and_a_second_reading(
    environment: Environment, fleet: Fleet
) -> None:
    messages = list(chitchat_messages(None if SESSIONS == "all" else int(SESSIONS)))
    sent = await environment.publish(messages)

    killed, stopped, survivor = [await fleet.start(serves=True) for _ in range(3)]
    await fleet.until(lambda: all(s.partitions for s in fleet.services), "all three get partitions")
    await fleet.until(
        lambda: bool(killed.settled and stopped.settled) and fleet.settled > len(sent) // 4,
        "a quarter is settled",
        seconds=120,
    )
    killed.signal(signal.SIGKILL)
    assert await fleet.ended(killed) == -signal.SIGKILL
    await fleet.until(lambda: fleet.settled > len(sent) // 2, "half is settled", seconds=120)
    assert await fleet.stopped(stopped) == 0

    late = await fleet.start("--exit-when-caught-up")
    assert await fleet.ended(late, seconds=200) == 0

    assert await environment.lag() == 0
    sessions, events = await environment.documents()
    letters = await environment.dead_letters()
    assert letters == []
    assert problems(sent, sessions, events, []) == []
    counts = (len(sessions), len(events), sum(one["status"] == "completed" for one in sessions))
    expected = ALL if SESSIONS == "all" else _counts(messages)
    assert counts == expected

    assert account_problems(fleet.services) == []
    assert await metrics_problems(survivor) == []
    spans = settled_spans(fleet.services)
    ends = await environment.ends(*_topics(environment))
    assert coverage_problems(spans, ends) == []
    outcomes = sum((service.outcomes() for service in fleet.services), start=Counter[str]())
    assert outcomes[Outcome.APPLIED] + outcomes[Outcome.REDELIVERED] == len(sent) + repeated(spans)
    assert outcomes[Outcome.APPLIED] <= len(sent) <= outcomes.total()
    assert await fleet.stopped(survivor) == 0

    before = await environment.digests()
    reader = await fleet.start(
        "--exit-when-caught-up", settings={"kafka.group_id": f"{environment.name}-again"}
    )
    assert await fleet.ended(reader, seconds=200) == 0
    assert reader.outcomes() == {Outcome.REDELIVERED: len(sent)}
    assert await environment.digests() == before


def _topics(environment: Environment) -> tuple[str, str]:
    return environment.sessions, environment.events


def _counts(messages: Sequence[Message]) -> tuple[int, int, int]:
    kinds = Counter(message["type"] for message in messages)
    return kinds["session.created"], kinds["event.recorded"], kinds["session.completed"]
