"""The database goes away under load and comes back: waited out, and nothing else happens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from functools import partial
from itertools import islice
from operator import eq

import pytest
from prometheus_client.parser import text_string_to_metric_families

from producer_tools.conversations import small_set
from tests.e2e.environment import Environment
from tests.e2e.processes import LOOPBACK, Fleet, Service, free_port
from tests.faults.kafka.frames import Api, Frames
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


@pytest.mark.parametrize(
    ("setting", "address", "waits"),
    [
        ("kafka.bootstrap_servers", "{}", "waits for Kafka to describe its topics: "),
        ("mongo.uri", "mongodb://{}", "waits for MongoDB to answer: "),
    ],
)
async def test_while_a_start_waits_for_a_server_readyz_says_for_what_and_the_last_error(
    fleet: Fleet, setting: str, address: str, waits: str
) -> None:
    nobody = f"{LOOPBACK}:{free_port()}"
    service = await fleet.start(serves=True, settings={setting: address.format(nobody)})
    await fleet.said(service, "waiting_for_server")
    status = json.loads(await service.get("/status.json"))
    assert (status["kafka_up"], status["mongodb_up"]) == (setting == "mongo.uri", False)
    told = json.loads(await service.get("/readyz"))["reasons"]["starting"]
    assert told.startswith(waits)
    assert f"{nobody}: " in told
    assert "attempt" in told


async def test_while_a_start_waits_for_its_group_readyz_says_so(
    environment: Environment, kafka: Frames, distant_fleet: Fleet
) -> None:
    joining = kafka.hold(Api.JOIN_GROUP)
    service = await distant_fleet.start(serves=True)
    await joining.met.wait()
    told = json.loads(await service.get("/readyz"))["reasons"]["starting"]
    assert told == f"waits for group {environment.name} to assign partitions"
    joining.end()
    await distant_fleet.said(service, "partitions_assigned")
    assert "starting" not in json.loads(await service.get("/readyz"))["reasons"]


class Measured:
    """What a service's metrics say, read again and again."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def sum(self, name: str) -> float:
        """The sum over all its labels."""
        text = await self._service.get("/metrics")
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name
        )

    async def unaccounted(self) -> float:
        """Records consumed of which nothing says what became of them."""
        ended = [
            await self.sum(f"consumer_records_{name}")
            for name in ("total", "abandoned_total", "in_flight")
        ]
        return await self.sum("consumer_records_consumed_total") - sum(ended)

    async def until(self, name: str, condition: Callable[[float], bool]) -> float:
        """Return the first sum for which the condition holds."""
        async with asyncio.timeout(60):
            while True:
                found = await self.sum(name)
                if condition(found):
                    return found
                await asyncio.sleep(0.1)


@pytest.mark.reliability("F95")
async def test_while_the_database_is_away_lag_grows_by_what_is_published_and_by_the_second(
    environment: Environment, mongodb_proxy: Proxy, distant_fleet: Fleet, seed: int
) -> None:
    messages = small_set(seed, SESSIONS)
    sent = await environment.publish(islice(messages, 100))
    service = await distant_fleet.start(serves=True, settings={"mongo.timeout": 1.0})
    await distant_fleet.until(lambda: service.settled == len(sent), "all are settled")
    measured = Measured(service)
    await measured.until("consumer_mongodb_up", lambda up: up == 1)
    await measured.until("consumer_lag_records", lambda lag: lag == 0)
    mongodb_proxy.refuse()
    waiting = 0
    for count in (100, 300):
        waiting += len(await environment.publish(islice(messages, count)))
        await measured.until("consumer_lag_records", partial(eq, waiting))
    await measured.until("consumer_mongodb_up", lambda up: up == 0)
    before = await measured.until("consumer_lag_seconds", lambda seconds: seconds > 1)
    await measured.until("consumer_lag_seconds", lambda seconds: seconds > before + 3)
    mongodb_proxy.heal()
    await distant_fleet.until(
        lambda: service.settled == len(sent) + waiting, "all are settled", seconds=100
    )
    await measured.until("consumer_mongodb_up", lambda up: up == 1)
    for gauge in ("lag_records", "lag_seconds", "records_in_flight", "stage_failing"):
        await measured.until(f"consumer_{gauge}", lambda value: value == 0)
    assert await measured.unaccounted() == 0
    assert await distant_fleet.stopped(service) == 0


@pytest.mark.slow
@pytest.mark.reliability("F95")
async def test_while_the_brokers_are_away_kafka_is_down(
    environment: Environment, kafka: Frames, distant_fleet: Fleet
) -> None:
    service = await distant_fleet.start(serves=True)
    await distant_fleet.said(service, "partitions_assigned")
    measured = Measured(service)
    await measured.until("consumer_kafka_up", lambda up: up == 1)
    for proxy in kafka.proxies:
        proxy.refuse()
    await measured.until("consumer_kafka_up", lambda up: up == 0)
    for proxy in kafka.proxies:
        proxy.heal()
    await measured.until("consumer_kafka_up", lambda up: up == 1)
    assert await distant_fleet.stopped(service) == 0
