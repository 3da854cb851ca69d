"""A commit is refused or given up in time, and what it finds of a log is told by the poll."""

from __future__ import annotations

import asyncio

import pytest

from consumer.contract.record import Record, TopicPartition
from consumer.errors import TransientError
from consumer.kafka.source import UNKNOWN_TOPIC
from consumer.ports import GoneError
from tests.simulation.loop import in_virtual_time
from tests.unit.kafka.scripted_client import P0, P1, Setting, nothing, records


@in_virtual_time
async def test_a_commit_without_an_answer_is_given_up_in_time_and_lets_no_other_pass() -> None:
    setting = Setting()
    client = await setting.reading(P0)
    client.commit_gate.clear()
    with pytest.raises(TransientError, match="no answer"):
        await setting.source.commit({P0: 11})
    with pytest.raises(TransientError, match="commit_pending"):
        await setting.source.commit({P0: 12})
    client.commit_gate.set()
    await asyncio.sleep(0.1)
    await setting.source.commit({P0: 12})
    assert client.commits == [{P0: 11}, {P0: 12}]


@in_virtual_time
async def test_a_commit_without_an_answer_does_not_outlive_its_assignment() -> None:
    setting = Setting()
    client = await setting.reading(P0)
    client.commit_gate.clear()
    with pytest.raises(TransientError, match="no answer"):
        await setting.source.commit({P0: 11})
    await client.callbacks.on_revoked()
    await client.callbacks.on_assigned([P0])
    client.commit_gate.set()
    await setting.poll([P0], 100, 0.1)
    await setting.source.commit({P0: 12})
    assert client.commits == [{P0: 12}]


@in_virtual_time
@pytest.mark.reliability("F47")
async def test_what_the_poll_has_given_up_already_is_not_committed_without_an_id() -> None:
    setting = Setting()
    client = await setting.reading(P0, P1)
    client.fetches.append({P0: records(P0, 0), P1: records(P1, 12)})
    refused: list[BaseException | None] = []

    def commit() -> None:
        committing = asyncio.ensure_future(setting.source.commit({P0: 11, P1: 11}))
        committing.add_done_callback(lambda done: refused.append(done.exception()))

    client.before_answer = commit
    assert (await setting.poll([P0, P1], 100, 0.1)).gone == [P0]
    (error,) = refused
    assert isinstance(error, GoneError)
    assert (list(error.partitions), client.commits) == ([P0], [])


@in_virtual_time
@pytest.mark.reliability("F47")
async def test_a_commit_that_finds_a_log_gone_does_not_upset_the_poll_beside_it() -> None:
    setting = Setting()
    client = await setting.assigned(P0)
    client.ids[P0.topic] = "before"
    await setting.poll([P0], 100, 0.1)
    fetched = asyncio.Event()

    async def fetch(*_: object) -> dict[TopicPartition, list[Record]]:
        await fetched.wait()
        return {P0: records(P0, 0)}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "fetch", fetch)
        polling = asyncio.ensure_future(setting.poll([P0], 100, 0.1))
        await asyncio.sleep(0.05)
        client.ids[P0.topic] = "after"
        client.commit_error = TransientError(UNKNOWN_TOPIC, "commit failed")
        with pytest.raises(GoneError):
            await setting.source.commit({P0: 11})
        setting.listener.ledger.drop(P0)
        fetched.set()
        assert nothing(await polling)
    assert setting.listener.ledger.position(P0) is None


@in_virtual_time
async def test_a_commit_that_is_given_up_with_its_assignment_is_refused_not_cancelled() -> None:
    setting = Setting()
    client = await setting.reading(P0)
    client.commit_gate.clear()
    committing = asyncio.ensure_future(setting.source.commit({P0: 11}))
    await asyncio.sleep(0.1)
    await client.callbacks.on_assigned([P0])
    with pytest.raises(TransientError, match="outdated"):
        await committing


@in_virtual_time
async def test_a_commit_for_a_log_that_began_anew_is_not_tried_again() -> None:
    setting = Setting()
    client = await setting.reading(P0)
    client.commit_gate.clear()
    committing = asyncio.ensure_future(setting.source.commit({P0: 10}))
    await asyncio.sleep(0.1)
    client.fetches.append({P0: records(P0, 0)})
    await setting.poll([P0], 100, 0.1)
    with pytest.raises(TransientError, match="outdated"):
        await committing
    assert client.commits == []


@in_virtual_time
async def test_a_commit_without_a_connection_is_refused() -> None:
    with pytest.raises(TransientError, match="not_connected"):
        await Setting().source.commit({P0: 1})
