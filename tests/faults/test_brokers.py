"""Brokers that do not answer, answer late, or break off; and what only Kafka's log can hold."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from functools import partial
from random import Random

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from consumer.errors import ExitCode
from consumer.state.outcomes import Outcome
from producer_tools.conversations import small_set
from tests.builders import encoded, event
from tests.e2e.environment import Environment, reasons_of
from tests.e2e.processes import Fleet
from tests.faults.kafka.frames import Api, Frames
from tests.faults.proxy import Proxy, Way
from tests.model import problems
from tests.servers.topics import create_topics

pytestmark = pytest.mark.real_kafka

SESSIONS = 60
DEADLINE = {"engine.drain_deadline": 3.0}


@pytest.fixture
def broker(kafka: Frames) -> Proxy:
    (proxy,) = kafka.proxies
    return proxy


@pytest.mark.reliability("F6")
async def test_a_stop_in_the_middle_of_a_rebalance_with_a_dead_broker_keeps_its_deadline(
    environment: Environment, kafka: Frames, broker: Proxy, distant_fleet: Fleet
) -> None:
    joining = kafka.hold(Api.JOIN_GROUP)
    service = await distant_fleet.start(settings=DEADLINE)
    async with asyncio.timeout(60):
        await joining.met.wait()
    broker.fall_silent()
    begun = asyncio.get_running_loop().time()
    assert await distant_fleet.stopped(service) in {ExitCode.DONE, ExitCode.DEADLINE}
    assert asyncio.get_running_loop().time() - begun < 10.0
    assert await environment.committed() == {}


@pytest.mark.parametrize("leave", [Proxy.refuse, Proxy.fall_silent])
@pytest.mark.reliability("F21")
async def test_while_no_broker_can_be_reached_it_lives_is_not_ready_and_resumes(
    environment: Environment,
    broker: Proxy,
    distant_fleet: Fleet,
    seed: int,
    leave: Callable[[Proxy], None],
) -> None:
    messages = list(small_set(seed, SESSIONS))
    half = len(messages) // 2
    sent = await environment.publish(messages[:half])
    service = await distant_fleet.start(serves=True)
    await distant_fleet.until(lambda: service.settled == half, "the first half is settled")
    leave(broker)
    sent += await environment.publish(messages[half:])
    await distant_fleet.until(
        lambda: len(service.said("retrying")) + len(service.said("partitions_revoked")) > 1,
        "the trouble is noticed",
    )
    ready, alive = [json.loads(await service.get(path)) for path in ("/readyz", "/livez")]
    assert (ready["ok"], alive["ok"]) == (False, True)
    broker.heal()
    last = await distant_fleet.start("--exit-when-caught-up")
    assert await distant_fleet.ended(last, seconds=90) == ExitCode.DONE
    assert service.running
    assert await distant_fleet.stopped(service) == ExitCode.DONE
    assert problems(sent, *await environment.documents(), []) == []


@pytest.mark.reliability("F22")
async def test_late_slow_and_broken_off_answers_cost_time_and_nothing_else(
    environment: Environment, broker: Proxy, distant_fleet: Fleet, seed: int, rng: Random
) -> None:
    sent = await environment.publish(small_set(seed, SESSIONS))
    broker.delay = 0.1
    service = await distant_fleet.start("--exit-when-caught-up")
    await distant_fleet.said(service, "partitions_assigned")
    broker.heal()

    def cut_again(before: int) -> bool:
        return broker.cuts > before or not service.running

    for _ in range(5):
        broker.cut_after(Way.REPLIES, rng.randrange(5000))
        await distant_fleet.comes_true(partial(cut_again, broker.cuts), 3.0)
    broker.heal()
    assert await distant_fleet.ended(service, seconds=90) == ExitCode.DONE
    assert problems(sent, *await environment.documents(), []) == []
    assert await environment.lag() == 0


@pytest.mark.reliability("F28")
async def test_aborted_transactions_are_unseen_and_their_markers_do_not_hide_the_end(
    environment: Environment, fleet: Fleet
) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=environment.kafka, transactional_id=environment.name
    )
    await producer.start()
    for number, good in enumerate([True, False, True, False]):
        await producer.begin_transaction()
        value = encoded(event("s", f"e-{number}"))
        await producer.send_and_wait(environment.events, value, b"s", partition=0)
        await (producer.commit_transaction() if good else producer.abort_transaction())
    await producer.stop()

    service = await fleet.start("--exit-when-caught-up")
    assert await fleet.ended(service) == ExitCode.DONE
    assert service.outcomes() == {Outcome.APPLIED: 2}
    assert await environment.lag() == 0
    _, events = await environment.documents()
    assert {one["eventId"] for one in events} == {"e-0", "e-2"}


@pytest.mark.reliability("F39")
async def test_while_the_dead_letter_topic_is_gone_its_partition_holds_and_nothing_is_lost(
    environment: Environment, fleet: Fleet
) -> None:
    service = await fleet.start()
    await fleet.said(service, "partitions_assigned")
    admin = AIOKafkaAdminClient(bootstrap_servers=environment.kafka)
    await admin.start()
    await admin.delete_topics([environment.letters])
    await admin.close()
    poison = environment.record_of(event("s", "poison"))._replace(value=b"{")
    ((place, _),) = await environment.send([poison])
    await fleet.said(service, "retrying", stage="dead_letters")
    await create_topics(environment.kafka, environment.letters, partitions=environment.partitions)
    await fleet.said(service, "recovered", stage="dead_letters", seconds=90)
    assert await fleet.stopped(service) == ExitCode.DONE
    assert [position for position, _ in reasons_of(await environment.dead_letters())] == [place]
    assert await environment.lag() == 0
