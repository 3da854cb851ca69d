"""Members that come and go, and a whole group that is replaced: progress, and no loss."""

from __future__ import annotations

import asyncio

import pytest

from consumer.errors import ExitCode
from producer_tools.conversations import small_set
from tests.e2e.environment import Environment
from tests.e2e.processes import Fleet
from tests.faults.exact import assert_exact
from tests.model import Sent

pytestmark = [pytest.mark.real_kafka, pytest.mark.slow]

SESSIONS = 200
PORTION = 400
VISITS = 5
MEMBERS = 3
SMALL = {"engine.max_poll_records": 50}


async def assert_caught_up_and_exact(
    environment: Environment, sent: list[Sent], fleet: Fleet
) -> None:
    last = await fleet.start("--exit-when-caught-up")
    assert await fleet.ended(last, seconds=60) == ExitCode.DONE
    await assert_exact(environment, sent, fleet)


async def publish_in_portions(environment: Environment, seed: int, sent: list[Sent]) -> None:
    """Send all messages, one portion after the other, so that there is always something new."""
    messages = list(small_set(seed, SESSIONS))
    for start in range(0, len(messages), PORTION):
        sent += await environment.publish(messages[start : start + PORTION])


@pytest.mark.reliability("F9")
async def test_members_that_come_and_go_hold_up_the_others_and_lose_nothing(
    environment: Environment, fleet: Fleet, seed: int
) -> None:
    sent: list[Sent] = []
    stays = await fleet.start(settings=SMALL)
    publishing = asyncio.create_task(publish_in_portions(environment, seed, sent))
    await fleet.said(stays, "batch_settled")
    for _ in range(VISITS):
        before = stays.settled
        visitor = await fleet.start(settings=SMALL)
        await fleet.said(visitor, "partitions_assigned")
        assert await fleet.stopped(visitor) == ExitCode.DONE
        await fleet.until(
            lambda before=before: stays.settled > before or publishing.done(),  # type: ignore[misc]  # a default binds this round's value
            "who stays goes on after each visit",
        )
    await publishing
    assert await fleet.stopped(stays) == ExitCode.DONE
    await assert_caught_up_and_exact(environment, sent, fleet)


@pytest.mark.reliability("F10")
async def test_a_group_whose_members_are_replaced_one_by_one_catches_up(
    environment: Environment, fleet: Fleet, seed: int
) -> None:
    sent: list[Sent] = []
    old = [await fleet.start(settings=SMALL) for _ in range(MEMBERS)]
    for service in old:
        await fleet.said(service, "partitions_assigned")
    publishing = asyncio.create_task(publish_in_portions(environment, seed, sent))
    new = []
    for service in old:
        new.append(await fleet.start(settings=SMALL))
        await fleet.said(new[-1], "partitions_assigned")
        assert await fleet.stopped(service) == ExitCode.DONE
    await publishing
    for service in new:
        assert await fleet.stopped(service) == ExitCode.DONE
    await assert_caught_up_and_exact(environment, sent, fleet)
