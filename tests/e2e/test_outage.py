"""The database goes away under load and comes back: waited out, and nothing else happens."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import islice

import pytest

from producer_tools.conversations import small_set
from tests.e2e.environment import Environment
from tests.e2e.processes import Fleet
from tests.faults.proxy import Proxy
from tests.model import problems

pytestmark = pytest.mark.real_kafka

SESSIONS = 400
ATTEMPTS = 4
STALL_AFTER = 3.0
MAY_GROW = 50 * 1024 * 1024


@pytest.mark.slow
@pytest.mark.parametrize("leave", [Proxy.refuse, Proxy.fall_silent])
@pytest.mark.reliability("F31")
async def test_while_the_database_is_away_the_group_and_memory_stay_and_nothing_is_given_up(
    environment: Environment,
    mongodb_proxy: Proxy,
    distant_fleet: Fleet,
    seed: int,
    leave: Callable[[Proxy], None],
) -> None:
    messages = small_set(seed, SESSIONS)
    sent = await environment.publish(islice(messages, SESSIONS * 10))
    service = await distant_fleet.start(
        serves=True,
        settings={
            "mongo.timeout": 2.0,
            "engine.max_poll_records": 200,
            "engine.stall_after": STALL_AFTER,
        },
    )
    await distant_fleet.said(service, "batch_settled")
    leave(mongodb_proxy)
    await distant_fleet.said(service, "retrying", stage="apply")
    before = service.resident_bytes()
    sent += await environment.publish(messages)
    await distant_fleet.said(service, "retrying", stage="apply", attempt=ATTEMPTS)
    await distant_fleet.said(service, "stalled")
    ready, alive = [json.loads(await service.get(path)) for path in ("/readyz", "/livez")]
    assert (ready["ok"], alive["ok"]) == (False, True)
    assert "apply" in ready["reasons"]
    mongodb_proxy.heal()
    await distant_fleet.until(lambda: service.settled == len(sent), "all are settled", seconds=100)

    assert service.resident_bytes() - before < MAY_GROW
    assert json.loads(await service.get("/readyz")) == {"ok": True, "reasons": {}}
    assert len(service.said("partitions_assigned")) == 1, "the membership was lost meanwhile"
    assert await distant_fleet.stopped(service) == 0
    assert await environment.dead_letters() == []
    assert problems(sent, *await environment.documents(), []) == []
    assert await environment.lag() == 0
