"""The group refuses or fails what the engine asks of it: offsets may stay behind, never ahead."""

from __future__ import annotations

import pytest

from consumer.ports import Stage
from tests.faults.kafka.clusters import mocked
from tests.faults.kafka.engine import event_keys, publish_events, running, session_of
from tests.faults.kafka.frames import Api, saying
from tests.faults.kafka.reading import BRISK, ONE, commit_beforehand, quick
from tests.faults.kafka.test_client_membership import FENCED_INSTANCE_ID
from tests.faults.kafka.test_client_offsets import refused_as_a_whole

REBALANCING = 27
EVENTS = 20
ALL = event_keys({ONE: EVENTS})


@pytest.mark.parametrize("code", [14, 15, 16])
@pytest.mark.reliability("F13")
async def test_a_commit_that_meets_a_coordinator_in_trouble_is_made_good(code: int) -> None:
    async with mocked(1) as (_, frames):
        await publish_events(frames.bootstrap_servers, {ONE: EVENTS})
        trouble = frames.refuse_commits(code)
        async with running(quick(frames.bootstrap_servers, request_timeout=1.0)) as member:
            await member.until(lambda: len(member.seen.retries) >= 1)
            assert member.committed == {}
            assert not member.is_ready()
            trouble.end()
            await member.until(lambda: member.committed == {ONE: EVENTS})
            assert await member.source.committed([ONE]) == {ONE: EVENTS}
            assert member.is_ready()
            assert member.store.events == ALL
            assert set(member.store.applied.values()) == {1}
            assert len(member.seen.assignments) == 1


@pytest.mark.parametrize("code", [3, 14, 15])
@pytest.mark.reliability("F61")
async def test_a_commit_that_is_refused_is_told_at_once_and_keeps_nobody_waiting(
    code: int,
) -> None:
    async with mocked(1) as (_, frames):
        await publish_events(frames.bootstrap_servers, {ONE: EVENTS})
        frames.refuse_commits(code)
        kafka = quick(frames.bootstrap_servers, request_timeout=15.0, session_timeout=30.0)
        async with running(kafka, drain_deadline=0.5) as member:
            await member.until(lambda: len(member.seen.retries) >= 2, seconds=10.0)
            assert all(stage is Stage.COMMIT for stage, *_ in member.seen.retries)
            assert {error.cause for _, error, *_ in member.seen.retries}.isdisjoint(
                {"timeout", "commit_pending"}
            )


@pytest.mark.parametrize("code", [22, 25, 27])
@pytest.mark.reliability("F14")
async def test_a_commit_of_one_who_is_no_member_any_more_is_dropped_and_the_records_come_again(
    code: int,
) -> None:
    async with mocked(1) as (_, frames):
        await publish_events(frames.bootstrap_servers, {ONE: EVENTS})
        refusal = frames.refuse_commits(code, times=1)
        async with running(quick(frames.bootstrap_servers, **BRISK)) as member:
            await member.until(lambda: len(member.seen.assignments) == 2)
            await member.until(lambda: member.committed == {ONE: EVENTS})
            assert refusal.count == 1
            assert member.store.events == ALL
            # With 27 it is a member still: it commits once more before it joins again.
            assert set(member.store.applied.values()) == {1 if code == REBALANCING else 2}
            stage, error, *_ = member.seen.retries[0]
            assert (stage, error.cause) == (Stage.COMMIT, "CommitFailedError")


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (-1, "UnknownError"),
        (82, "UnknownError"),
        (29, "TopicAuthorizationFailedError"),
        (30, "GroupAuthorizationFailedError"),
    ],
)
@pytest.mark.reliability("F15")
async def test_a_commit_that_is_refused_for_an_odd_reason_is_said_and_tried_again(
    code: int, cause: str
) -> None:
    async with mocked(1) as (_, frames):
        await publish_events(frames.bootstrap_servers, {ONE: EVENTS})
        refusal = frames.refuse_commits(code)
        async with running(quick(frames.bootstrap_servers)) as member:
            await member.until(lambda: len(member.seen.retries) >= 3)
            assert {(stage, error.cause) for stage, error, *_ in member.seen.retries} == {
                (Stage.COMMIT, cause)
            }
            assert not member.is_ready()
            assert not member.health.unhealthy_reasons()
            assert member.metrics.sample("consumer_commits_total", result="failed") == refusal.count
            refusal.end()
            await member.until(lambda: member.committed == {ONE: EVENTS})
            assert member.is_ready()
            assert member.store.events == ALL


@pytest.mark.parametrize("code", [14, 16, 30])
@pytest.mark.reliability("F16")
async def test_a_group_that_does_not_say_its_offsets_skips_nothing_and_replays_nothing(
    code: int,
) -> None:
    async with mocked(1) as (_, frames):
        await publish_events(frames.bootstrap_servers, {ONE: EVENTS})
        await commit_beforehand(frames.bootstrap_servers, {ONE: 12})
        refusal = frames.edit(Api.OFFSET_FETCH, refused_as_a_whole(code), times=3)
        async with running(quick(frames.bootstrap_servers, **BRISK)) as member:
            await member.until(lambda: member.committed == {ONE: EVENTS})
            assert refusal.count == 3
            assert member.store.events == {(session_of(ONE), f"e-{n}") for n in range(12, EVENTS)}
            assert set(member.store.applied.values()) == {1}


@pytest.mark.reliability("F17")
async def test_a_heartbeat_that_fails_oddly_costs_a_new_membership_and_no_record() -> None:
    async with mocked(1) as (_, frames):
        await publish_events(frames.bootstrap_servers, {ONE: EVENTS})
        async with running(quick(frames.bootstrap_servers, **BRISK)) as member:
            await member.until(lambda: member.committed == {ONE: EVENTS})
            odd = frames.edit(Api.HEARTBEAT, saying(FENCED_INSTANCE_ID), times=1)
            await member.until(lambda: (False, True) in member.seen.revocations)
            await publish_events(frames.bootstrap_servers, {ONE: 5}, first=EVENTS)
            await member.until(lambda: member.committed == {ONE: EVENTS + 5})
            assert odd.count == 1
            assert len(member.clients) == 2
            assert member.store.events == event_keys({ONE: EVENTS + 5})
            assert not member.health.unhealthy_reasons()
