"""Members of the group that stand still, are slow, or have to share partitions anew."""

from __future__ import annotations

import signal

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from consumer.errors import ExitCode
from producer_tools.conversations import small_set
from tests.builders import event
from tests.e2e.environment import Environment
from tests.e2e.processes import Fleet
from tests.faults.exact import assert_exact
from tests.faults.kafka.frames import Frames
from tests.faults.mongodb_proxy import MongodbProxy
from tests.faults.proxy import Proxy, Way
from tests.model import problems

pytestmark = pytest.mark.real_kafka

SESSIONS = 60
SMALL = {"engine.max_poll_records": 100}


@pytest.mark.reliability("F7")
async def test_a_member_that_stood_still_past_its_session_does_no_harm_when_it_goes_on(
    environment: Environment, mongodb_proxy: Proxy, distant_fleet: Fleet, seed: int
) -> None:
    sent = await environment.publish(small_set(seed, SESSIONS))
    mongodb_proxy.delay = 0.05
    zombie = await distant_fleet.start(settings=SMALL)
    await distant_fleet.said(zombie, "batch_settled")
    zombie.signal(signal.SIGSTOP)
    mongodb_proxy.heal()
    heir = await distant_fleet.start("--exit-when-caught-up")
    assert await distant_fleet.ended(heir, seconds=90) == ExitCode.DONE
    before = await environment.digests()

    zombie.signal(signal.SIGCONT)
    await distant_fleet.until(
        lambda: len(zombie.said("partitions_assigned")) > 1, "the zombie joins again"
    )
    assert await distant_fleet.stopped(zombie) == ExitCode.DONE
    assert await environment.digests() == before
    await assert_exact(environment, sent, distant_fleet)


@pytest.mark.reliability("F11")
async def test_a_batch_that_outlasts_the_rebalance_is_abandoned_and_another_member_settles_it(
    environment: Environment, mongodb: MongodbProxy, fleet: Fleet, distant_fleet: Fleet, seed: int
) -> None:
    insert = mongodb.hold("insert", Way.REQUESTS)
    sent = await environment.publish(small_set(seed, SESSIONS))
    slow = await distant_fleet.start(settings={**SMALL, "mongo.timeout": 60.0})
    await insert.reached.wait()
    other = await fleet.start()
    await distant_fleet.said(slow, "partitions_revoked", drained=False)
    await fleet.said(other, "batch_settled")
    insert.drop()
    await distant_fleet.said(slow, "batch_abandoned")
    last = await fleet.start("--exit-when-caught-up")
    assert await fleet.ended(last, seconds=90) == ExitCode.DONE
    assert problems(sent, *await environment.documents(), []) == []
    assert await environment.lag() == 0
    for services, service in ((distant_fleet, slow), (fleet, other)):
        assert await services.stopped(service) == ExitCode.DONE


@pytest.mark.reliability("F25")
async def test_partitions_that_are_added_while_it_runs_are_read_as_well(
    environment: Environment, kafka: Frames, distant_fleet: Fleet
) -> None:
    service = await distant_fleet.start()
    await distant_fleet.said(service, "partitions_assigned")
    admin = AIOKafkaAdminClient(bootstrap_servers=environment.kafka)
    await admin.start()
    more = environment.partitions + 2
    await admin.create_partitions(
        {topic: NewPartitions(more) for topic in (environment.sessions, environment.events)}
    )
    await admin.close()
    wanted = {f"{environment.events}-{number}" for number in range(more)}
    for _ in range(10):
        # The client asks for the topics anew every five minutes, and when it was cut off.
        for proxy in kafka.proxies:
            proxy.reset()
        if await distant_fleet.comes_true(lambda: wanted <= service.partitions, 6.0):
            break
    assert wanted <= service.partitions
    sent = await environment.publish([event(f"s-{n}", "e") for n in range(100)])
    assert {one.position.partition for one in sent} == set(range(more))
    await distant_fleet.until(lambda: service.settled == len(sent), "all are settled")
    assert await distant_fleet.stopped(service) == ExitCode.DONE
    assert problems(sent, *await environment.documents(), []) == []


@pytest.mark.reliability("F54")
async def test_between_the_alters_of_two_topics_an_instance_starts_and_applies(
    environment: Environment, fleet: Fleet
) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=environment.kafka)
    await admin.start()
    await admin.create_partitions({environment.events: NewPartitions(environment.partitions + 1)})
    await admin.close()
    service = await fleet.start()
    sent = await environment.publish([event(f"s-{n}", "e") for n in range(20)])
    await fleet.until(lambda: service.settled == len(sent), "all are settled")
    assert await fleet.stopped(service) == ExitCode.DONE
    assert problems(sent, *await environment.documents(), []) == []
