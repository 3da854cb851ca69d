"""Members that are late, stuck or frozen: others take over, nothing is lost, nothing is undone."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from threading import Thread

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as ClientPartition

from consumer.contract.record import TopicPartition
from producer_tools.conversations import small_set
from tests.e2e.environment import Environment
from tests.e2e.processes import running_fleet
from tests.faults.kafka.clusters import mocked
from tests.faults.kafka.engine import WatchedStore, event_keys, publish_events, running
from tests.faults.kafka.frames import Api
from tests.faults.kafka.reading import BRISK, GROUP, ONE, TOPIC, quick
from tests.faults.kafka.test_client_offsets import LOAD_IN_PROGRESS
from tests.faults.proxy import proxied
from tests.model import problems
from tests.servers.topics import create_topics

EVENTS = 20
MORE = 5
FREEZE_DEADLINE = 40.0


@pytest.mark.slow
@pytest.mark.real_kafka
@pytest.mark.reliability("F7")
async def test_a_process_that_was_frozen_past_its_session_undoes_nothing_when_it_goes_on(
    kafka_bootstrap_servers: str, mongodb_uri: str, unique_name: str, tmp_path: Path, seed: int
) -> None:
    environment = Environment(kafka_bootstrap_servers, mongodb_uri, unique_name, partitions=2)
    await environment.create_topics()
    sent = await environment.publish(small_set(seed, 60))
    host, _, port = mongodb_uri.removeprefix("mongodb://").partition("/")[0].rpartition(":")
    async with proxied(host, int(port)) as proxy:
        slow = environment.seen_from(
            mongodb=mongodb_uri.replace(f"{host}:{port}", f"{host}:{proxy.port}")
        )
        settings = {**slow.settings, "engine.max_poll_records": 20}
        async with running_fleet(settings, tmp_path) as fleet:
            frozen = await fleet.start()
            await fleet.said(frozen, "batch_settled")
            proxy.fall_silent()  # batches are on their way to the store when the process freezes
            frozen.signal(signal.SIGSTOP)
            proxy.heal()
            other = await fleet.start("--exit-when-caught-up")
            assert await fleet.ended(other, seconds=FREEZE_DEADLINE) == 0
            assert await environment.lag() == 0
            frozen.signal(signal.SIGCONT)
            await fleet.said(frozen, "partitions_revoked", seconds=FREEZE_DEADLINE)
            assert await fleet.stopped(frozen) == 0
            assert await environment.lag() == 0
            assert not problems(sent, *await environment.documents(), [])
    await environment.drop_database()


@pytest.mark.reliability("F7")
async def test_what_a_frozen_process_had_not_committed_is_not_committed_after_it() -> None:
    async with mocked(1) as (cluster, frames):
        await publish_events(frames.bootstrap_servers, {ONE: EVENTS})
        trouble = frames.refuse_commits(LOAD_IN_PROGRESS)
        async with running(quick(frames.bootstrap_servers, **BRISK)) as member:
            await member.until(lambda: member.store.events == event_keys({ONE: EVENTS}))
            await trouble.met.wait()
            asking = frames.hold(Api.OFFSET_FETCH)
            freeze = Thread(target=_take_over, args=(cluster.bootstrap_servers,))
            freeze.start()
            freeze.join()  # nothing else runs in this process meanwhile, as in one that is stopped
            trouble.end()
            await member.until(lambda: len(member.seen.assignments) == 2)
            await member.last(0.3)
            asking.end()
            assert await member.source.committed([ONE]) == {ONE: EVENTS + MORE}
            assert member.committed == {}


def _take_over(bootstrap_servers: str) -> None:
    """Wait until the session is over; then be the next owner, who goes on and commits."""
    time.sleep(1.5)
    asyncio.run(_next_owner(bootstrap_servers))


async def _next_owner(bootstrap_servers: str) -> None:
    await publish_events(bootstrap_servers, {ONE: MORE}, first=EVENTS)
    consumer = AIOKafkaConsumer(
        TOPIC,
        bootstrap_servers=bootstrap_servers,
        group_id=GROUP,
        enable_auto_commit=False,
        session_timeout_ms=1200,
        heartbeat_interval_ms=200,
    )
    await consumer.start()
    await consumer.commit({ClientPartition(*ONE): EVENTS + MORE})
    await consumer.stop()


@pytest.mark.reliability("F8")
async def test_a_member_whose_loop_was_stuck_past_its_session_joins_again_without_loss() -> None:
    async with mocked(1) as (_, frames):
        await publish_events(frames.bootstrap_servers, {ONE: EVENTS})
        store = WatchedStore()
        store.open.clear()
        kafka = quick(frames.bootstrap_servers, **BRISK)
        async with running(kafka, store) as member:
            await member.until(store.entered.is_set)
            time.sleep(2.0)  # noqa: ASYNC251 -- a loop that is stuck is what this is about
            await member.until(lambda: len(member.seen.assignments) == 2)
            store.open.set()
            await member.until(lambda: member.committed == {ONE: EVENTS}, seconds=6.0)
            assert store.events == event_keys({ONE: EVENTS})
            assert max(member.seen.loop_lags) > 1.0
            assert not member.health.unhealthy_reasons()


@pytest.mark.real_kafka
@pytest.mark.reliability("F11")
async def test_a_batch_that_outlasts_a_rebalance_is_given_up_and_commits_nothing(
    kafka_bootstrap_servers: str, unique_name: str
) -> None:
    partitions = [TopicPartition(unique_name, number) for number in range(4)]
    counts = dict.fromkeys(partitions, EVENTS)
    await create_topics(kafka_bootstrap_servers, unique_name, partitions=4)
    await publish_events(kafka_bootstrap_servers, counts)
    kafka = quick(
        kafka_bootstrap_servers, topics=(unique_name,), group_id=unique_name, session_timeout=6.0
    )
    slow, quick_store = WatchedStore(), WatchedStore()
    slow.open.clear()
    async with running(kafka, slow) as first:
        await first.until(slow.entered.is_set)
        async with running(kafka, quick_store) as second:
            await first.until(lambda: first.seen.revocations[-1:] == [(False, False)], seconds=10.0)
            await second.until(lambda: len(second.committed) == 2)
            assert first.committed == {}
            slow.open.set()
            await first.until(lambda: len(first.committed) == 2)
            assert first.committed | second.committed == dict.fromkeys(partitions, EVENTS)
            assert slow.events | quick_store.events == event_keys(counts)
            assert len(first.seen.abandoned_records) == 4


@pytest.mark.reliability("F12")
async def test_a_batch_that_takes_longer_than_a_poll_may_does_not_cost_the_membership() -> None:
    async with mocked(1) as (_, frames):
        await publish_events(frames.bootstrap_servers, {ONE: EVENTS})
        store = WatchedStore()
        store.open.clear()
        kafka = quick(frames.bootstrap_servers, max_poll_interval=0.8)
        async with running(kafka, store, batches_in_flight=1) as member:
            await member.until(store.entered.is_set)
            await member.last(1.8)
            assert member.consumer._coordinator.generation >= 0
            store.open.set()
            await member.until(lambda: member.committed == {ONE: EVENTS})
            assert len(member.seen.assignments) == 1
            assert set(store.applied.values()) == {1}
