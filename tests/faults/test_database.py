"""A database that refuses, cannot promise, or is slow: waited out, and nothing is given up."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pymongo import AsyncMongoClient

from consumer.errors import ExitCode
from consumer.state.outcomes import Outcome
from producer_tools.conversations import small_set
from tests.builders import event
from tests.e2e.environment import Environment
from tests.e2e.processes import Fleet
from tests.faults.proxy import Proxy
from tests.model import problems

pytestmark = pytest.mark.real_kafka

SESSIONS = 30
ATTEMPTS = 4

OBJECT_TOO_LARGE = 10334


@asynccontextmanager
async def failing(uri: str, *commands: str, **how: Any) -> AsyncIterator[None]:
    """Let the server fail all of these commands so."""
    point = {"configureFailPoint": "failCommand"}
    data = {"failCommands": commands, **how}
    async with AsyncMongoClient[dict[str, Any]](uri) as client:
        await client.admin.command({**point, "mode": "alwaysOn", "data": data})
        try:
            yield
        finally:
            await client.admin.command({**point, "mode": "off"})


def concern_of(code: int) -> dict[str, Any]:
    return {"writeConcernError": {"code": code, "errmsg": "not by a majority"}}


@pytest.mark.fail_command
@pytest.mark.parametrize(
    "how",
    [
        pytest.param(concern_of(64), id="F30 no majority in time"),
        pytest.param(concern_of(100), id="F30 no majority at all"),
        pytest.param({"errorCode": 13}, id="F34 rights revoked"),
        pytest.param({"errorCode": 14031}, id="F34 disk full"),
        pytest.param({"errorCode": 10107}, id="F34 no primary"),
    ],
)
@pytest.mark.reliability("F30", "F34")
async def test_while_the_database_refuses_no_offset_moves_and_then_it_heals_by_itself(
    environment: Environment, fleet: Fleet, seed: int, how: dict[str, Any]
) -> None:
    sent = await environment.publish(small_set(seed, SESSIONS))
    async with failing(environment.mongodb, "insert", "update", **how):
        service = await fleet.start(serves=True, settings={"mongo.timeout": 1.0})
        await fleet.said(service, "retrying", stage="apply", attempt=ATTEMPTS)
        ready, alive = [json.loads(await service.get(path)) for path in ("/readyz", "/livez")]
        assert (ready["ok"], alive["ok"]) == (False, True)
        assert "apply" in ready["reasons"]
        assert await environment.committed() == {}
    await fleet.until(lambda: service.settled == len(sent), "all are settled")
    assert await fleet.stopped(service) == ExitCode.DONE
    assert await environment.dead_letters() == []
    assert problems(sent, *await environment.documents(), []) == []
    assert await environment.lag() == 0


@pytest.mark.reliability("F33")
async def test_a_slow_database_and_a_single_connection_hold_up_and_cost_no_membership(
    environment: Environment, mongodb_proxy: Proxy, distant_fleet: Fleet, seed: int
) -> None:
    service = await distant_fleet.start(
        settings={"mongo.timeout": 20.0, "mongo.max_pool_size": 1, "engine.max_poll_records": 20}
    )
    await distant_fleet.said(service, "partitions_assigned")
    # A round trip takes three seconds; the session ends after six without a heartbeat.
    mongodb_proxy.delay = 1.5
    sent = await environment.publish(small_set(seed, SESSIONS))
    # All partitions' commands take turns on the one connection, so that the first batch takes long.
    await distant_fleet.until(
        lambda: len(service.said("batch_settled")) > 1, "it makes progress", seconds=90
    )
    assert service.settled < len(sent), "it was to be slow"
    assert not service.said("retrying"), "a command lost its time waiting for the connection"
    mongodb_proxy.heal()
    await distant_fleet.until(lambda: service.settled == len(sent), "all are settled")
    assert len(service.said("partitions_assigned")) == 1, "the membership was lost meanwhile"
    assert await distant_fleet.stopped(service) == ExitCode.DONE
    assert await environment.dead_letters() == []
    assert problems(sent, *await environment.documents(), []) == []


@pytest.mark.fail_command
async def test_an_activity_that_is_refused_for_good_is_counted_and_logged_and_costs_no_record(
    environment: Environment, fleet: Fleet
) -> None:
    events = [environment.record_of(event("s", f"e-{number}")) for number in range(SESSIONS)]
    async with failing(environment.mongodb, "update", errorCode=OBJECT_TOO_LARGE):
        service = await fleet.start(serves=True)
        await environment.send(events)
        refusal = await fleet.said(service, "activity_refused")
        await fleet.until(lambda: service.settled == SESSIONS, "all events are stored")
        metrics = await service.get("/metrics")
    assert refusal["cause"] == "BSONObjectTooLarge"
    assert "consumer_activities_refused_total 0.0" not in metrics
    assert await fleet.stopped(service) == ExitCode.DONE
    assert service.outcomes() == {Outcome.APPLIED: SESSIONS}
    assert await environment.dead_letters() == []
