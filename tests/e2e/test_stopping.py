"""A process that is told to end loses nothing, promises nothing, and keeps its deadline."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping

import pytest

from consumer.contract.record import TopicPartition
from consumer.errors import ExitCode
from producer_tools.conversations import small_set
from tests.builders import event
from tests.e2e.environment import Environment
from tests.e2e.processes import Fleet
from tests.faults.kafka.frames import Api, Frames
from tests.faults.proxy import Proxy
from tests.model import Document, Sent, problems

pytestmark = pytest.mark.real_kafka

SESSIONS = 120
GRACE_SECONDS = 30.0
"""What a container is given between SIGTERM and SIGKILL."""


async def published(environment: Environment, seed: int) -> list[Sent]:
    return await environment.publish(small_set(seed, SESSIONS))


def positions(sessions: list[Document], events: list[Document]) -> set[tuple[str, int, int]]:
    """Where everything that is stored came from."""
    origins = [one["from"] for one in events]
    origins += [
        one[name] for one in sessions for name in ("createdFrom", "endedFrom") if name in one
    ]
    return {(one["topic"], one["partition"], one["offset"]) for one in origins}


def below(committed: Mapping[TopicPartition, int]) -> set[tuple[str, int, int]]:
    """Every position that is committed as done."""
    return {
        (partition.topic, partition.partition, offset)
        for partition, end in committed.items()
        for offset in range(end)
    }


@pytest.mark.reliability("F4")
async def test_sigterm_in_the_middle_of_batches_commits_all_that_is_applied_and_nothing_else(
    environment: Environment, mongodb_proxy: Proxy, distant_fleet: Fleet, seed: int
) -> None:
    sent = await published(environment, seed)
    mongodb_proxy.delay = 0.05  # so that batches are in flight whenever the signal comes
    service = await distant_fleet.start(settings={"engine.max_poll_records": 100})
    await distant_fleet.said(service, "batch_settled")
    assert await distant_fleet.stopped(service, seconds=GRACE_SECONDS) == ExitCode.DONE

    stored, done = positions(*await environment.documents()), below(await environment.committed())
    assert stored == done
    assert 0 < len(done) < len(sent), "the signal was to come in the middle"


@pytest.mark.reliability("F5")
async def test_sigterm_without_a_database_ends_at_the_deadline_and_commits_only_what_is_stored(
    environment: Environment, mongodb_proxy: Proxy, distant_fleet: Fleet, seed: int
) -> None:
    sent = await published(environment, seed)
    service = await distant_fleet.start(
        settings={
            "engine.max_poll_records": 100,
            "engine.drain_deadline": 3.0,
            "mongo.timeout": 2.0,
        }
    )
    await distant_fleet.said(service, "batch_settled")
    mongodb_proxy.fall_silent()
    await distant_fleet.said(service, "retrying", stage="apply")
    begun = asyncio.get_running_loop().time()
    assert await distant_fleet.stopped(service, seconds=GRACE_SECONDS) == ExitCode.DEADLINE
    # A part of the deadline is kept for closing.
    assert 2.0 <= asyncio.get_running_loop().time() - begun < 10.0

    stored, done = positions(*await environment.documents()), below(await environment.committed())
    assert done <= stored
    assert len(done) < len(sent)

    mongodb_proxy.heal()
    heir = await distant_fleet.start("--exit-when-caught-up")
    assert await distant_fleet.ended(heir) == ExitCode.DONE
    assert problems(sent, *await environment.documents(), []) == []


@pytest.mark.parametrize("server", ["Kafka", "MongoDB"])
async def test_sigterm_while_it_waits_for_a_silent_server_at_start_ends_it_soon(
    kafka: Frames, mongodb_proxy: Proxy, distant_fleet: Fleet, server: str
) -> None:
    for proxy in kafka.proxies if server == "Kafka" else [mongodb_proxy]:
        proxy.fall_silent()
    patience = {"kafka.request_timeout": 6.0, "kafka.session_timeout": 20.0, "mongo.timeout": 3.0}
    service = await distant_fleet.start(settings=patience)
    await distant_fleet.said(service, "waiting_for_server", server=server)
    assert await distant_fleet.stopped(service, seconds=12.0) == ExitCode.DONE


async def test_sigterm_while_a_dead_letter_is_not_acknowledged_ends_at_the_deadline_uncommitted(
    environment: Environment, kafka: Frames, distant_fleet: Fleet
) -> None:
    produce = kafka.hold(Api.PRODUCE)
    await environment.send([environment.record_of(event("s", "e"))._replace(value=b"{")])
    patience = {"kafka.request_timeout": 25.0, "kafka.session_timeout": 30.0}
    service = await distant_fleet.start(settings={**patience, "engine.drain_deadline": 3.0})
    async with asyncio.timeout(60):
        await produce.met.wait()
    begun = asyncio.get_running_loop().time()
    assert await distant_fleet.stopped(service, seconds=GRACE_SECONDS) == ExitCode.DEADLINE
    # A part of the deadline is kept for closing.
    assert 2.0 <= asyncio.get_running_loop().time() - begun < 10.0
    assert await environment.committed() == {}


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_the_process_at_once(
    environment: Environment,
    mongodb_proxy: Proxy,
    distant_fleet: Fleet,
    seed: int,
    second: signal.Signals,
) -> None:
    await published(environment, seed)
    service = await distant_fleet.start(settings={"mongo.timeout": 2.0})
    await distant_fleet.said(service, "partitions_assigned")
    mongodb_proxy.fall_silent()
    await distant_fleet.said(service, "retrying", stage="apply")
    service.signal(signal.SIGTERM)
    await distant_fleet.said(service, "stopping", signal="SIGTERM")
    service.signal(second)
    assert await distant_fleet.ended(service, seconds=2.0) == ExitCode.SECOND_SIGNAL
