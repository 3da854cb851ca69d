"""Traps of aiokafka 0.14 about where reading begins and what is committed."""

from __future__ import annotations

from typing import Any

import pytest

from consumer.contract.record import TopicPartition
from consumer.engine.ledger import Ledger, LedgerError
from consumer.errors import TransientError
from consumer.kafka.committed import Committed
from consumer.ports import StartOffset
from tests.faults.kafka.clusters import mocked
from tests.faults.kafka.frames import Api
from tests.faults.kafka.reading import (
    BRISK,
    ONE,
    TOPIC,
    TWO,
    commit_beforehand,
    eventually,
    quick,
    reading,
)

LOAD_IN_PROGRESS, NOT_COORDINATOR, GROUP_AUTHORIZATION_FAILED = 14, 16, 30


def refused_as_a_whole(code: int) -> Any:
    """An OffsetFetch reply as Apache Kafka builds it for a group error: no topics at all."""

    def edit(reply: Any) -> Any:
        reply.topics, reply.error_code = [], code
        return reply

    return edit


@pytest.mark.parametrize("code", [LOAD_IN_PROGRESS, NOT_COORDINATOR, GROUP_AUTHORIZATION_FAILED])
@pytest.mark.reliability("A1")
async def test_an_offset_fetch_error_of_the_whole_reply_never_restarts_a_partition(
    code: int,
) -> None:
    async with mocked(1, records=40) as (_, frames):
        await commit_beforehand(frames.bootstrap_servers, {ONE: 12})
        refusal = frames.edit(Api.OFFSET_FETCH, refused_as_a_whole(code), times=2)
        async with reading(quick(frames.bootstrap_servers)) as reader:
            await reader.until_read({ONE: 28})
            assert refusal.count == 2
            assert reader.starts == {ONE: StartOffset(12, 12)}
            assert reader.offsets(ONE) == list(range(12, 40))


@pytest.mark.reliability("A10")
async def test_a_member_that_was_made_to_leave_commits_nothing() -> None:
    async with mocked(1, records=10) as (_, frames):
        kafka = quick(frames.bootstrap_servers, max_poll_interval=1.2)
        async with reading(kafka) as reader:
            await reader.until_read({ONE: 10})
            await reader.source.commit({ONE: 10})
            # Nobody polls any more, so the client leaves the group by itself.
            await eventually(lambda: reader.consumer._coordinator.generation < 0)
            committing = reader.client.commit({ONE: Committed(3)})
            with pytest.raises(TransientError, match="not_a_member"):
                await committing
            assert await reader.source.committed([ONE]) == {ONE: 10}


@pytest.mark.reliability("A11")
def test_a_batch_of_an_older_assignment_moves_no_offset_of_the_new_one() -> None:
    ledger = Ledger()
    ledger.assign([ONE])
    ledger.begin(ONE, StartOffset(0, None))
    stale = ledger.take(ONE, 0, 10)
    ledger.assign([ONE])
    ledger.begin(ONE, StartOffset(0, None))
    again = ledger.take(ONE, 0, 10)
    assert not ledger.settle(stale)
    assert ledger.uncommitted() == {}
    assert ledger.settle(again)
    assert ledger.uncommitted() == {ONE: 10}


@pytest.mark.reliability("A11")
async def test_a_refused_commit_of_an_older_assignment_is_never_sent_again() -> None:
    async with (
        mocked(1, records=10) as (_, frames),
        reading(quick(frames.bootstrap_servers, **BRISK)) as reader,
    ):
        await reader.until_read({ONE: 10})
        loading = frames.refuse_commits(LOAD_IN_PROGRESS)
        with pytest.raises(TransientError, match="commit refused"):
            await reader.source.commit({ONE: 3})
        rejoined = reader.assignments + 1
        reader.consumer._coordinator.request_rejoin()
        await reader.until(lambda: reader.assignments == rejoined)
        loading.end()
        await reader.until(lambda: reader.ledger.position(ONE) is not None)
        await reader.source.commit({ONE: 10})
        assert await reader.source.committed([ONE]) == {ONE: 10}
        assert loading.count == 1


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (22, "CommitFailedError"),
        (25, "CommitFailedError"),
        (27, "CommitFailedError"),
        (-1, "UnknownError"),
        (82, "UnknownError"),
        (29, "TopicAuthorizationFailedError"),
        (30, "GroupAuthorizationFailedError"),
    ],
)
@pytest.mark.reliability("A12")
async def test_every_refusal_of_a_commit_is_trouble_that_passes(code: int, cause: str) -> None:
    async with (
        mocked(1, records=10) as (_, frames),
        reading(quick(frames.bootstrap_servers)) as reader,
    ):
        await reader.until_read({ONE: 10})
        frames.refuse_commits(code, times=1)
        with pytest.raises(TransientError) as refusal:
            await reader.source.commit({ONE: 10})
        assert refusal.value.cause == cause


@pytest.mark.reliability("A12")
async def test_a_commit_without_an_answer_ends_at_its_deadline_and_none_overtakes_it() -> None:
    async with mocked(1, records=10) as (_, frames):
        kafka = quick(frames.bootstrap_servers, request_timeout=1.0)
        async with reading(kafka) as reader:
            await reader.until_read({ONE: 10})
            silence = frames.hold(Api.OFFSET_COMMIT)
            with pytest.raises(TransientError, match="commit had no answer"):
                await reader.source.commit({ONE: 4})
            with pytest.raises(TransientError, match="commit_pending"):
                await reader.source.commit({ONE: 10})
            silence.end()


@pytest.mark.reliability("A12")
async def test_a_commit_for_a_partition_of_somebody_else_is_trouble_that_passes() -> None:
    async with (
        mocked(1, records=1) as (_, frames),
        reading(quick(frames.bootstrap_servers)) as reader,
    ):
        await reader.until_read({ONE: 1})
        with pytest.raises(TransientError, match="log_gone"):
            await reader.source.commit({TopicPartition(TOPIC, 7): 1})


@pytest.mark.reliability("A12")
def test_no_offset_below_zero_and_no_empty_commit_comes_out_of_the_ledger() -> None:
    ledger = Ledger()
    ledger.assign([ONE])
    ledger.begin(ONE, StartOffset(0, None))
    assert ledger.uncommitted() == {}
    with pytest.raises(LedgerError):
        ledger.take(ONE, -1, 1)


@pytest.mark.reliability("A13")
async def test_what_was_handed_out_and_not_settled_is_never_committed() -> None:
    async with (
        mocked(2, records=30) as (_, frames),
        reading(quick(frames.bootstrap_servers, **BRISK)) as reader,
    ):
        await reader.until_read({ONE: 30, TWO: 30})
        await reader.source.commit({ONE: 7})
        rejoined = reader.assignments + 1
        reader.consumer._coordinator.request_rejoin()
        await reader.until(lambda: reader.assignments == rejoined)
        assert await reader.source.committed([ONE, TWO]) == {ONE: 7, TWO: None}
        await reader.until_read({ONE: 53, TWO: 60})
        assert reader.starts == {ONE: StartOffset(7, 7), TWO: StartOffset(0, None)}
