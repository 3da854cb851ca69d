"""Traps of aiokafka 0.14 about being a member of a group, and leaving it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

import pytest
from aiokafka.coordinator.assignors.range import RangePartitionAssignor

from consumer.aio import Backoff
from consumer.contract.record import Record, TopicPartition
from consumer.demo.consumers import EMBEDDED_BROKER
from consumer.engine.breaker import Breaker, BreakerLimits
from consumer.engine.ledger import Ledger
from consumer.engine.pipeline import DECODED_AT_ONCE, Batch, Pipeline
from consumer.engine.runner import StopReason
from consumer.errors import SettingsError
from consumer.kafka.admin import TopicDescription
from consumer.kafka.client import _member_options
from consumer.kafka.kafka_preflight import check_topics
from consumer.settings.model import DeadLetterSettings, KafkaSettings
from consumer.settings.sources import load_settings
from consumer.state.outcomes import NO_MARK, Mark, Outcome, Result
from consumer.wiring import utc_now
from tests.fakes.observer import RecordingObserver
from tests.faults.kafka.clusters import mocked
from tests.faults.kafka.engine import (
    Letters,
    WatchedStore,
    event_keys,
    publish_events,
    running,
)
from tests.faults.kafka.frames import Api, saying
from tests.faults.kafka.reading import BRISK, GROUP, ONE, TWO, Reader, eventually, quick, reading

REBALANCE_IN_PROGRESS, FENCED_INSTANCE_ID = 27, 82


@pytest.mark.reliability("A4")
async def test_an_odd_answer_to_a_heartbeat_does_not_poison_every_later_poll() -> None:
    async with (
        mocked(1, records=5) as (_, frames),
        reading(quick(frames.bootstrap_servers, **BRISK)) as reader,
    ):
        await reader.until_read({ONE: 5})
        odd = frames.edit(Api.HEARTBEAT, saying(FENCED_INSTANCE_ID), times=1)
        await reader.until(lambda: len(reader.clients) == 2, seconds=8.0)
        assert odd.count == 1
        assert reader.losses == 1
        await reader.until_read({ONE: 10})


class CancelledInside(Reader):
    """Its callbacks end as one does that has awaited a cancelled task."""

    async def on_revoked(self) -> None:
        await super().on_revoked()
        raise asyncio.CancelledError

    async def on_assigned(self, partitions: Collection[TopicPartition]) -> None:
        await super().on_assigned(partitions)
        raise asyncio.CancelledError


@pytest.mark.reliability("A5")
async def test_a_cancellation_inside_a_callback_does_not_end_the_clients_coordination() -> None:
    async with mocked(1, records=5) as (_, frames):
        reader = CancelledInside(quick(frames.bootstrap_servers, **BRISK))
        try:
            await reader.until_read({ONE: 5}, seconds=6.0)
            reader.consumer._coordinator.request_rejoin()
            await reader.until(lambda: reader.assignments == 2, seconds=6.0)
            await reader.until_read({ONE: 10})
            assert len(reader.clients) == 1
            assert reader.errors == []
        finally:
            await reader.source.close(timeout=3.0)


@pytest.mark.reliability("A6")
async def test_a_stop_does_not_wait_for_a_group_that_never_forms() -> None:
    async with mocked(1, records=5) as (_, frames):
        joining = frames.hold(Api.JOIN_GROUP)
        async with running(quick(frames.bootstrap_servers, request_timeout=30.0)) as member:
            await joining.met.wait()
            member.stop.set()
            assert member.ended is not None
            async with asyncio.timeout(3):
                assert await member.ended is StopReason.STOPPED
        joining.end()


@pytest.mark.reliability("A6")
async def test_a_stop_does_not_wait_for_a_rebalance_that_never_ends() -> None:
    async with mocked(1) as (_, frames):
        await publish_events(frames.bootstrap_servers, {ONE: 5})
        async with running(quick(frames.bootstrap_servers, request_timeout=30.0)) as member:
            await member.until(lambda: member.committed == {ONE: 5})
            joining = frames.hold(Api.JOIN_GROUP)
            member.consumer._coordinator.request_rejoin()
            await joining.met.wait()
            member.stop.set()
            assert member.ended is not None
            async with asyncio.timeout(3):
                assert await member.ended is StopReason.STOPPED
        joining.end()


@pytest.mark.reliability("A6")
async def test_a_stop_does_not_wait_for_brokers_that_accept_and_say_nothing() -> None:
    async with mocked(1) as (_, frames):
        frames.proxies[0].fall_silent()
        async with running(quick(frames.bootstrap_servers, request_timeout=30.0)) as member:
            await eventually(lambda: frames.proxies[0].accepted > 0)
            member.stop.set()
            assert member.ended is not None
            async with asyncio.timeout(3):
                assert await member.ended is StopReason.STOPPED


@pytest.mark.parametrize(
    "times",
    [
        {"kafka.request_timeout": 45},
        {"kafka.request_timeout": 60},
        {"kafka.session_timeout": 30},
        {"kafka.heartbeat_interval": 16},
    ],
)
@pytest.mark.reliability("A7")
def test_times_under_which_a_silent_broker_costs_the_membership_are_refused(
    times: dict[str, object],
) -> None:
    with pytest.raises(SettingsError, match=r"kafka\.session_timeout"):
        load_settings(times)


@pytest.mark.reliability("A7")
async def test_a_silent_broker_does_not_starve_heartbeats_to_a_healthy_coordinator() -> None:
    async with mocked(2, records=5, brokers=2) as (cluster, frames):
        cluster.lead(ONE.topic, ONE.partition, 1)
        cluster.lead(TWO.topic, TWO.partition, 2)
        cluster.coordinate(GROUP, 1)
        healthy, silent = frames.proxies
        times = {"rebalance_timeout": 0.8, "request_timeout": 1.0, "session_timeout": 4.0}
        async with reading(quick(frames.bootstrap_servers, **times)) as reader:
            await reader.until_read({ONE: 5, TWO: 5})
            silent.fall_silent()
            silent.reset()
            healthy.reset()
            beats = frames.seen[Api.HEARTBEAT]
            # The client connects to the silent broker, and holds all other connections up.
            await reader.until(lambda: frames.seen[Api.HEARTBEAT] >= beats + 5)
            assert reader.assignments == 1
            assert len(reader.clients) == 1
            silent.heal()


@pytest.mark.parametrize("times", [{"kafka.rebalance_timeout": 30}, {"kafka.request_timeout": 20}])
@pytest.mark.reliability("A8")
def test_times_under_which_a_member_could_never_join_are_refused(
    times: dict[str, object],
) -> None:
    with pytest.raises(SettingsError, match=r"kafka\.rebalance_timeout .* below"):
        load_settings(times)


@pytest.mark.reliability("A8")
def test_the_profile_of_the_embedded_broker_keeps_the_rules() -> None:
    load_settings(EMBEDDED_BROKER)


@pytest.mark.reliability("A8")
async def test_a_join_that_takes_as_long_as_a_rebalance_may_is_waited_for() -> None:
    async with mocked(1, records=5) as (_, frames):
        kafka = quick(frames.bootstrap_servers, **BRISK)
        joining = frames.hold(Api.JOIN_GROUP, times=1)
        async with reading(kafka) as reader:
            polling = asyncio.ensure_future(reader.until_read({ONE: 5}))
            await joining.met.wait()
            await asyncio.wait([polling], timeout=kafka.rebalance_timeout)
            assert frames.seen[Api.JOIN_GROUP] == 1
            joining.end()
            await polling
            assert len(reader.clients) == 1
            assert reader.errors == []


@pytest.mark.reliability("A9")
async def test_decoding_a_large_batch_leaves_the_event_loop_room_for_heartbeats() -> None:
    turns: list[int] = []
    decoded = 0

    def planner(record: Record) -> tuple[Result, Mark]:
        nonlocal decoded
        decoded += 1
        return Result(Outcome.SKIPPED), NO_MARK

    async def beat() -> None:
        while True:
            turns.append(decoded)
            await asyncio.sleep(0)

    batch = Batch(
        {ONE: [Record(*ONE, offset, -1, None, None) for offset in range(2000)]}, asyncio.Event()
    )
    beating = asyncio.ensure_future(beat())
    try:
        await _pipeline(planner).process(batch)
    finally:
        beating.cancel()
    longest = max(after - before for before, after in zip(turns, [*turns[1:], 2000], strict=True))
    assert longest <= DECODED_AT_ONCE


def _pipeline(planner: Any) -> Pipeline:
    return Pipeline(
        planner=planner,
        store=WatchedStore(),
        dead_letters=Letters(),
        build_dead_letter=lambda record, rejected: pytest.fail("nothing is rejected here"),
        breaker=Breaker(BreakerLimits(1.0, 100, 100)),
        backoff=Backoff(0.05, 0.3),
        observer=RecordingObserver(),
        jitter=lambda: 0.5,
        now=utc_now,
    )


@pytest.mark.reliability("A14")
def test_a_batch_in_flight_keeps_its_partition_from_being_polled_in_a_new_assignment() -> None:
    ledger = Ledger()
    ledger.assign([ONE, TWO])
    ledger.mark_busy([ONE])
    ledger.assign([ONE, TWO])
    assert ledger.idle(0.0) == [TWO]
    ledger.release([ONE])
    assert ledger.idle(0.0) == [ONE, TWO]


@pytest.mark.reliability("A14")
async def test_what_a_rebalance_finds_in_flight_is_read_again_and_never_twice_at_once() -> None:
    async with mocked(1) as (_, frames):
        await publish_events(frames.bootstrap_servers, {ONE: 20})
        store = WatchedStore()
        store.open.clear()
        async with running(quick(frames.bootstrap_servers, **BRISK), store) as member:
            await member.until(store.entered.is_set)
            member.consumer._coordinator.request_rejoin()
            await member.until(lambda: len(member.seen.assignments) == 2)
            store.open.set()
            await member.until(lambda: member.committed == {ONE: 20})
            assert member.seen.revocations[-1] == (False, False)
            assert member.seen.abandoned_records == {ONE: 20}
            assert max(member.seen.batches_in_flight) == 1
            assert store.events == event_keys({ONE: 20})


class _Cluster:
    """What an assignor asks of the metadata."""

    def __init__(self, counts: dict[str, int]) -> None:
        self._counts = counts

    def partitions_for_topic(self, topic: str) -> set[int]:
        return set(range(self._counts[topic]))


@pytest.mark.parametrize("members", range(1, 8))
@pytest.mark.reliability("A15")
def test_both_topics_partitions_of_one_number_go_to_one_member(members: int) -> None:
    (assignor,) = _member_options(KafkaSettings())["partition_assignment_strategy"]
    topics = ["events", "sessions"]
    metadata = {f"member-{number}": assignor.metadata(set(topics)) for number in range(members)}
    given = assignor.assign(_Cluster(dict.fromkeys(topics, 6)), metadata)
    for assignment in given.values():
        by_topic = dict(assignment.assignment)
        assert by_topic.get("events", []) == by_topic.get("sessions", [])


@pytest.mark.reliability("A15")
def test_unequal_numbers_of_partitions_are_warned_of_and_are_no_reason_not_to_start() -> None:
    kafka, letters = KafkaSettings(topics=("sessions", "events")), DeadLetterSettings()
    counts = {"sessions": 6, "events": 12, letters.topic: 1}
    topics = {name: TopicDescription(name, count, 3) for name, count in counts.items()}
    results = {f.name: f.status for f in check_topics(kafka, letters, topics)}
    assert results["partition counts"] == "warning"
    assert "failed" not in results.values()


@pytest.mark.reliability("A15")
def test_only_the_range_assignor_is_offered() -> None:
    options = _member_options(KafkaSettings())
    assert options["partition_assignment_strategy"] == [RangePartitionAssignor]


@pytest.mark.reliability("A16")
async def test_no_static_membership_is_asked_for() -> None:
    async with mocked(1, records=1) as (_, frames):
        frames.keep = True
        async with reading(quick(frames.bootstrap_servers)) as reader:
            await reader.until_read({ONE: 1})
        joins = [asked.request for asked in frames.asked if asked.api == Api.JOIN_GROUP]
        assert joins
        assert {getattr(join, "group_instance_id", None) for join in joins} == {None}


@pytest.mark.reliability("A17")
async def test_what_is_in_flight_is_finished_and_committed_before_the_group_is_left() -> None:
    async with mocked(1) as (_, frames):
        await publish_events(frames.bootstrap_servers, {ONE: 20})
        frames.keep = True
        store = WatchedStore()
        store.open.clear()
        async with running(quick(frames.bootstrap_servers), store) as member:
            await member.until(store.entered.is_set)
            member.stop.set()
            store.open.set()
            assert member.ended is not None
            assert await member.ended is StopReason.STOPPED
            assert member.committed == {ONE: 20}
        last = [a.api for a in frames.asked if a.api in {Api.OFFSET_COMMIT, Api.LEAVE_GROUP}][-2:]
        assert last == [Api.OFFSET_COMMIT, Api.LEAVE_GROUP]


@pytest.mark.reliability("A17")
async def test_leaving_takes_no_longer_than_it_may_when_no_broker_answers() -> None:
    async with (
        mocked(1, records=5) as (_, frames),
        reading(quick(frames.bootstrap_servers, request_timeout=30.0)) as reader,
    ):
        await reader.until_read({ONE: 5})
        frames.proxies[0].fall_silent()
        async with asyncio.timeout(2):
            await reader.source.close(timeout=0.3)
        frames.proxies[0].heal()


@pytest.mark.reliability("A18")
async def test_a_refused_join_is_trouble_that_passes() -> None:
    async with mocked(1, records=5) as (_, frames):
        refusal = frames.edit(Api.JOIN_GROUP, saying(REBALANCE_IN_PROGRESS), times=1)
        async with reading(quick(frames.bootstrap_servers, **BRISK)) as reader:
            await reader.until_read({ONE: 5})
            assert refusal.count == 1
            assert any("RebalanceInProgressError" in repr(e.__cause__) for e in reader.errors)
