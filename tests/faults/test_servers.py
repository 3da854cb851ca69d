"""Servers that are killed under load and come back with what they had acknowledged."""

from __future__ import annotations

import asyncio

import pytest

from consumer.errors import ExitCode
from producer_tools.conversations import small_set
from tests.e2e.environment import Environment
from tests.e2e.processes import Fleet
from tests.model import problems
from tests.servers.control import Control

pytestmark = pytest.mark.real_kafka

SESSIONS = 120
SMALL = {"engine.max_poll_records": 100, "mongo.timeout": 2.0}


@pytest.mark.mongodb_control
@pytest.mark.reliability("F29")
async def test_a_database_that_is_killed_under_load_costs_time_and_nothing_else(
    environment: Environment, fleet: Fleet, mongodb_control: Control, seed: int
) -> None:
    sent = await environment.publish(small_set(seed, SESSIONS))
    service = await fleet.start(settings=SMALL)
    await fleet.said(service, "batch_settled")
    await asyncio.to_thread(mongodb_control.kill)
    await fleet.said(service, "retrying", stage="apply")
    await asyncio.to_thread(mongodb_control.start)
    await fleet.until(lambda: service.settled == len(sent), "all is settled", seconds=90)
    assert len(service.said("partitions_assigned")) == 1
    assert await fleet.stopped(service) == ExitCode.DONE
    assert problems(sent, *await environment.documents(), []) == []
    assert await environment.dead_letters() == []
    assert await environment.lag() == 0


@pytest.mark.kafka_control
@pytest.mark.parametrize("harm", ["kill", "freeze"])
@pytest.mark.reliability("F21")
async def test_a_broker_that_dies_or_stands_still_under_load_costs_time_and_nothing_else(
    environment: Environment, fleet: Fleet, kafka_control: Control, seed: int, harm: str
) -> None:
    sent = await environment.publish(small_set(seed, SESSIONS))
    service = await fleet.start(settings=SMALL)
    await fleet.said(service, "batch_settled")
    await asyncio.to_thread(getattr(kafka_control, harm))
    await fleet.said(service, "retrying")
    await asyncio.to_thread(kafka_control.restore)
    await fleet.until(lambda: service.settled >= len(sent), "all is settled", seconds=90)
    last = await fleet.start("--exit-when-caught-up")
    assert await fleet.ended(last, seconds=90) == ExitCode.DONE
    assert await fleet.stopped(service) == ExitCode.DONE
    assert problems(sent, *await environment.documents(), []) == []
    assert await environment.dead_letters() == []
    assert await environment.lag() == 0
