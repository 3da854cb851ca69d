"""Brokers that die, move, fall silent or crawl: reading goes on where it was, every record once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiokafka.client
import pytest

from consumer.contract.record import TopicPartition
from consumer.kafka import client
from tests.faults.kafka.clusters import mocked
from tests.faults.kafka.engine import (
    Member,
    WatchedStore,
    event_keys,
    publish_events,
    running,
)
from tests.faults.kafka.frames import Api
from tests.faults.kafka.mock_cluster import MockCluster
from tests.faults.kafka.reading import GROUP, ONE, TWO, quick
from tests.faults.proxy import Proxy, Way
from tests.servers.control import Control
from tests.servers.topics import create_topics

EVENTS = 20
MORE = 5
BOTH = dict.fromkeys((ONE, TWO), EVENTS)
ALL = dict.fromkeys((ONE, TWO), EVENTS + MORE)


async def more(bootstrap_servers: str) -> None:
    await publish_events(bootstrap_servers, dict.fromkeys((ONE, TWO), MORE), first=EVENTS)


def read_once(member: Member) -> None:
    """Every event was stored, and none was even sent twice."""
    assert member.store.events == event_keys(ALL)
    assert set(member.store.applied.values()) == {1}


def two_brokers(cluster: MockCluster) -> None:
    """The first coordinates and leads one partition, the second leads the other."""
    cluster.coordinate(GROUP, 1)
    cluster.lead(*ONE, 1)
    cluster.lead(*TWO, 2)


@pytest.mark.reliability("F18")
async def test_a_coordinator_that_moves_is_found_again() -> None:
    async with mocked(brokers=2) as (cluster, frames):
        two_brokers(cluster)
        await publish_events(frames.bootstrap_servers, BOTH)
        async with running(quick(frames.bootstrap_servers)) as member:
            await member.until(lambda: member.committed == BOTH)
            cluster.coordinate(GROUP, 2)
            await more(frames.bootstrap_servers)
            await member.until(lambda: member.committed == ALL)
            read_once(member)
            assert len(member.clients) == 1


@pytest.mark.reliability("F18")
async def test_a_coordinator_that_dies_is_replaced_by_another() -> None:
    async with mocked(brokers=2) as (cluster, frames):
        two_brokers(cluster)
        for partition in (ONE, TWO):
            cluster.lead(*partition, 2)
        await publish_events(frames.bootstrap_servers, BOTH)
        async with running(quick(frames.bootstrap_servers, request_timeout=1.0)) as member:
            await member.until(lambda: member.committed == BOTH)
            cluster.down(1)
            await more(cluster.bootstrap_servers.split(",")[1])
            await member.until(lambda: bool(member.seen.retries))
            cluster.coordinate(GROUP, 2)
            await member.until(lambda: member.committed == ALL)
            assert member.store.events == event_keys(ALL)


@pytest.mark.reliability("F68")
async def test_without_any_broker_the_client_connects_seldom_and_it_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "UNREACHABLE_AFTER", 0.5)
    attempts: list[float] = []
    connect = aiokafka.client.create_conn

    async def counted(*facts: object, **options: object) -> object:
        attempts.append(asyncio.get_running_loop().time())
        return await connect(*facts, **options)

    monkeypatch.setattr(aiokafka.client, "create_conn", counted)
    async with mocked(brokers=2) as (cluster, frames):
        await publish_events(frames.bootstrap_servers, BOTH)
        async with running(quick(frames.bootstrap_servers, session_timeout=30.0)) as member:
            await member.until(lambda: member.committed == BOTH)
            attempts.clear()
            cluster.down(1)
            cluster.down(2)
            await member.last(5.0)
            # Two brokers, to each one connection for records and one for the group: at most one
            # attempt a second each, and some more at first.
            assert 4 <= len(attempts) <= 45
            *_, line = member.said("leaders_unreachable")
            causes = set(line["partitions"].values())
            counted_retries = [
                member.metrics.sample("consumer_retries_total", stage="poll", cause=cause)
                for cause in causes
            ]
            assert all(retries is not None and retries >= 3 for retries in counted_retries)
            assert not member.is_ready()
            cluster.up(1)
            cluster.up(2)
            await more(frames.bootstrap_servers)
            await member.until(lambda: member.committed == ALL, seconds=10.0)


@pytest.mark.reliability("F19")
async def test_a_partition_whose_leader_dies_is_read_on_from_the_next_one() -> None:
    async with mocked(brokers=2) as (cluster, frames):
        two_brokers(cluster)
        await publish_events(frames.bootstrap_servers, BOTH)
        async with running(quick(frames.bootstrap_servers)) as member:
            await member.until(lambda: member.committed == BOTH)
            cluster.down(2)
            cluster.lead(*TWO, 1)
            await more(cluster.bootstrap_servers.split(",")[0])
            await member.until(lambda: member.committed == ALL)
            read_once(member)
            assert len(member.seen.assignments) == 1


@pytest.mark.reliability("F19")
async def test_a_partition_whose_leader_moves_is_read_on_and_called_in_order() -> None:
    async with mocked(brokers=2) as (cluster, frames):
        two_brokers(cluster)
        await publish_events(frames.bootstrap_servers, BOTH)
        async with running(quick(frames.bootstrap_servers)) as member:
            await member.until(lambda: member.committed == BOTH)
            cluster.lead(*TWO, 1)
            await more(frames.bootstrap_servers)
            await member.until(lambda: member.committed == ALL)
            read_once(member)
            assert member.seen.unreadables == []


@pytest.mark.reliability("F20")
async def test_a_broker_that_accepts_and_says_nothing_stops_its_own_partitions_only() -> None:
    async with mocked(brokers=2) as (cluster, frames):
        two_brokers(cluster)
        await publish_events(frames.bootstrap_servers, BOTH)
        times = {"rebalance_timeout": 0.8, "request_timeout": 1.0, "session_timeout": 4.0}
        async with running(quick(frames.bootstrap_servers, **times)) as member:
            await member.until(lambda: member.committed == BOTH)
            healthy, silent = frames.proxies
            silent.fall_silent()
            silent.reset()
            healthy.reset()
            beats = frames.seen[Api.HEARTBEAT]
            await publish_events(cluster.bootstrap_servers, {ONE: MORE, TWO: MORE}, first=EVENTS)
            await member.until(lambda: member.committed == {ONE: EVENTS + MORE, TWO: EVENTS})
            # The client connects to the silent broker, and holds all other connections up.
            await member.until(lambda: frames.seen[Api.HEARTBEAT] >= beats + 5)
            silent.heal()
            await member.until(lambda: member.committed == ALL)
            read_once(member)
            assert len(member.seen.assignments) == 1


@pytest.mark.reliability("F20")
async def test_a_cluster_that_was_silent_past_the_session_is_joined_again() -> None:
    async with mocked() as (cluster, frames):
        await publish_events(frames.bootstrap_servers, BOTH)
        times = {"rebalance_timeout": 0.8, "request_timeout": 0.9, "session_timeout": 1.2}
        async with running(quick(frames.bootstrap_servers, **times)) as member:
            await member.until(lambda: member.committed == BOTH)
            frames.proxies[0].fall_silent()
            await member.last(1.6)
            assert not member.health.unhealthy_reasons()
            frames.proxies[0].heal()
            await more(cluster.bootstrap_servers)
            await member.until(lambda: member.committed == ALL)
            assert member.store.events == event_keys(ALL)


@pytest.mark.reliability("F21")
async def test_without_brokers_the_process_lives_says_so_and_goes_on_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "UNREACHABLE_AFTER", 1.0)
    async with mocked(brokers=2) as (cluster, frames):
        two_brokers(cluster)
        await publish_events(frames.bootstrap_servers, BOTH)
        async with running(quick(frames.bootstrap_servers)) as member:
            await member.until(lambda: member.committed == BOTH)
            for proxy in frames.proxies:
                proxy.refuse()
            await member.until(lambda: not member.is_ready())
            await member.last(0.5)
            assert not member.is_ready()
            assert not member.health.unhealthy_reasons()
            reasons = member.health.unready_reasons().values()
            named = frames.bootstrap_servers.replace(",", ", ")
            assert any(named in reason for reason in reasons), reasons
            for proxy in frames.proxies:
                proxy.heal()
            await more(cluster.bootstrap_servers)
            await member.until(lambda: member.committed == ALL)
            await member.until(member.is_ready)
            assert member.store.events == event_keys(ALL)


def reset_in_the_middle(proxy: Proxy) -> None:
    proxy.cut_after(Way.REPLIES, 10)


def half_open(proxy: Proxy) -> None:
    """Requests go nowhere, as when a firewall has forgotten the connection."""
    proxy.fall_silent()


def crawl(proxy: Proxy) -> None:
    proxy.rate = 2000.0


def lag(proxy: Proxy) -> None:
    proxy.delay = 0.25


@pytest.mark.parametrize("harm", [reset_in_the_middle, half_open, crawl, lag])
@pytest.mark.reliability("F22")
async def test_what_a_network_does_to_a_connection_costs_time_and_no_record(
    harm: Callable[[Proxy], None],
) -> None:
    store = WatchedStore()
    async with mocked() as (cluster, frames):
        await publish_events(frames.bootstrap_servers, BOTH)
        kafka = quick(frames.bootstrap_servers, request_timeout=1.0)
        async with running(kafka, store) as member:
            await member.until(lambda: member.committed == BOTH)
            store.open.clear()
            store.entered.clear()
            await more(cluster.bootstrap_servers)
            await member.until(store.entered.is_set)
            (proxy,) = frames.proxies
            harm(proxy)
            store.open.set()  # so that offsets are to be committed over what is harmed
            await member.until(
                lambda: member.committed == ALL or bool(member.seen.retries), seconds=10
            )
            assert not proxy.cut_pending
            proxy.heal()
            proxy.reset()
            await member.until(lambda: member.committed == ALL)
            assert store.events == event_keys(ALL)


@pytest.fixture
def real(
    kafka_bootstrap_servers: str, unique_name: str
) -> tuple[TopicPartition, dict[str, object]]:
    """A partition on the real cluster, and what a member there needs to be told."""
    others: dict[str, object] = {"topics": (unique_name,), "group_id": unique_name}
    return TopicPartition(unique_name, 0), others


@pytest.mark.slow
@pytest.mark.real_kafka
@pytest.mark.kafka_control
@pytest.mark.reliability("F18", "F21")
async def test_the_only_broker_is_killed_and_comes_back(
    kafka_bootstrap_servers: str,
    kafka_control: Control,
    real: tuple[TopicPartition, dict[str, object]],
) -> None:
    partition, others = real
    await create_topics(kafka_bootstrap_servers, partition.topic, partitions=1)
    await publish_events(kafka_bootstrap_servers, {partition: EVENTS})
    async with running(quick(kafka_bootstrap_servers, **others)) as member:
        await member.until(lambda: member.committed == {partition: EVENTS})
        await asyncio.to_thread(kafka_control.kill)
        await member.until(lambda: not member.is_ready())
        await asyncio.to_thread(kafka_control.start)
        await publish_events(kafka_bootstrap_servers, {partition: MORE}, first=EVENTS)
        await member.until(lambda: member.committed == {partition: EVENTS + MORE}, seconds=30)
        await member.until(member.is_ready)
        assert member.store.events == event_keys({partition: EVENTS + MORE})
        assert not member.health.unhealthy_reasons()


@pytest.mark.slow
@pytest.mark.real_kafka
@pytest.mark.kafka_control
@pytest.mark.reliability("F20")
async def test_a_coordinator_that_was_frozen_past_the_session_takes_its_members_back(
    kafka_bootstrap_servers: str,
    kafka_control: Control,
    real: tuple[TopicPartition, dict[str, object]],
) -> None:
    partition, others = real
    await create_topics(kafka_bootstrap_servers, partition.topic, partitions=1)
    await publish_events(kafka_bootstrap_servers, {partition: EVENTS})
    async with running(quick(kafka_bootstrap_servers, **others)) as member:
        await member.until(lambda: member.committed == {partition: EVENTS})
        await asyncio.to_thread(kafka_control.freeze)
        await member.last(2.8)
        await asyncio.to_thread(kafka_control.thaw)
        await publish_events(kafka_bootstrap_servers, {partition: MORE}, first=EVENTS)
        await member.until(lambda: member.committed == {partition: EVENTS + MORE}, seconds=30)
        assert member.store.events == event_keys({partition: EVENTS + MORE})
