"""SIGKILL between any two steps: what was read again changes nothing, and nothing is missing."""

from __future__ import annotations

import asyncio
import signal

import pytest

from consumer.state.outcomes import Outcome
from producer_tools.conversations import small_set
from tests.e2e.environment import Environment
from tests.e2e.processes import Fleet, Service
from tests.faults.kafka.frames import Api, Frames
from tests.faults.mongodb_proxy import MongodbProxy
from tests.faults.proxy import Way
from tests.model import Sent, problems

pytestmark = pytest.mark.real_kafka

SESSIONS = 30
SOON = 60.0


async def reached(event: asyncio.Event) -> None:
    async with asyncio.timeout(SOON):
        await event.wait()


async def killed(fleet: Fleet, service: Service) -> None:
    service.signal(signal.SIGKILL)
    assert await fleet.ended(service) == -signal.SIGKILL


async def heir_of(fleet: Fleet) -> Service:
    """Another one takes over, and reads up to the end."""
    service = await fleet.start("--exit-when-caught-up")
    assert await fleet.ended(service) == 0
    return service


async def assert_exact(environment: Environment, sent: list[Sent]) -> None:
    assert problems(sent, *await environment.documents(), []) == []
    assert await environment.dead_letters() == []
    assert await environment.lag() == 0


@pytest.mark.reliability("F1")
async def test_before_the_database_got_anything_all_is_applied_by_the_next_one(
    environment: Environment, mongodb: MongodbProxy, fleet: Fleet, distant_fleet: Fleet, seed: int
) -> None:
    insert = mongodb.hold("insert", Way.REQUESTS)
    update = mongodb.hold("update", Way.REQUESTS)
    sent = await environment.publish(small_set(seed, SESSIONS))
    service = await distant_fleet.start()
    await reached(insert.reached)
    await reached(update.reached)
    await killed(distant_fleet, service)

    assert await environment.documents() == ([], [])
    heir = await heir_of(fleet)
    assert heir.outcomes() == {Outcome.APPLIED: len(sent)}
    await assert_exact(environment, sent)


@pytest.mark.reliability("F32")
async def test_after_the_database_wrote_and_before_the_consumer_knew_all_is_recognised(
    environment: Environment, mongodb: MongodbProxy, fleet: Fleet, distant_fleet: Fleet, seed: int
) -> None:
    insert = mongodb.hold("insert", Way.REPLIES)
    sent = await environment.publish(small_set(seed, SESSIONS))
    service = await distant_fleet.start()
    await reached(insert.reached)
    await killed(distant_fleet, service)

    before = await environment.digests()
    assert before
    heir = await heir_of(fleet)
    outcomes = heir.outcomes()
    assert outcomes[Outcome.REDELIVERED] > 0
    assert outcomes[Outcome.REDELIVERED] + outcomes[Outcome.APPLIED] == len(sent)
    after = await environment.digests()
    events = {name for name in before if name.startswith("conversation_events")}
    assert {name: after[name] for name in events} == {name: before[name] for name in events}
    await assert_exact(environment, sent)


@pytest.mark.reliability("F2")
async def test_after_the_writes_and_before_the_commit_all_is_read_again_and_changes_nothing(
    environment: Environment, kafka: Frames, fleet: Fleet, distant_fleet: Fleet, seed: int
) -> None:
    commit = kafka.hold(Api.OFFSET_COMMIT)
    sent = await environment.publish(small_set(seed, SESSIONS))
    service = await distant_fleet.start()
    await distant_fleet.until(lambda: service.settled == len(sent), "all is settled")
    await reached(commit.met)
    await killed(distant_fleet, service)

    assert await environment.committed() == {}
    before = await environment.digests()
    heir = await heir_of(fleet)
    assert heir.outcomes() == {Outcome.REDELIVERED: len(sent)}
    assert await environment.digests() == before
    await assert_exact(environment, sent)


@pytest.mark.reliability("F3")
async def test_after_the_brokers_committed_and_before_the_consumer_knew_nothing_is_read_again(
    environment: Environment, kafka: Frames, fleet: Fleet, distant_fleet: Fleet, seed: int
) -> None:
    sent = await environment.publish(small_set(seed, SESSIONS))
    service = await distant_fleet.start(settings={"engine.commit_interval": 3.0})
    await distant_fleet.until(lambda: service.settled == len(sent), "all is settled")
    commit = kafka.lose(Api.OFFSET_COMMIT)
    await reached(commit.met)
    await killed(distant_fleet, service)

    assert await environment.lag() == 0
    heir = await heir_of(fleet)
    assert heir.outcomes() == {}
    await assert_exact(environment, sent)


@pytest.mark.reliability("F32")
async def test_a_lost_answer_is_asked_for_again_and_nothing_counts_twice(
    environment: Environment, mongodb: MongodbProxy, distant_fleet: Fleet, seed: int
) -> None:
    holds = [mongodb.hold(command, Way.REPLIES) for command in ("insert", "update")]
    sent = await environment.publish(small_set(seed, SESSIONS))
    service = await distant_fleet.start("--exit-when-caught-up")
    for hold in holds:
        await reached(hold.reached)
        hold.drop()
    assert await distant_fleet.ended(service, seconds=SOON) == 0
    # The driver itself sends again; not every server recognises that and answers as at first.
    outcomes = service.outcomes()
    assert outcomes.total() == len(sent)
    assert set(outcomes) <= {Outcome.APPLIED, Outcome.REDELIVERED}
    await assert_exact(environment, sent)
