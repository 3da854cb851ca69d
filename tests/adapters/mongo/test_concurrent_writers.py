"""Many writers of one new session and one new event at once, as after a rebalance gone wrong."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from consumer.mongo.collections import Collections
from consumer.mongo.store import MongoStore
from consumer.state.outcomes import Outcome
from consumer.state.writes import Write
from tests.unit.state.builders import completed, created, event, failed, record, write

from .applying import persist, state

WRITERS = 16
ROUNDS = int(os.environ.get("TEST_RACE_ROUNDS", "5"))


async def race(collections: Collections, batches: Sequence[Sequence[Write]]) -> list[Outcome]:
    """Let each batch be applied by a writer of its own, all started together."""
    start = asyncio.Event()

    async def one(batch: Sequence[Write]) -> list[Outcome]:
        write_batch = MongoStore(collections).prepare(batch)
        await start.wait()
        return [result.outcome for result in await persist(write_batch)]

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(batch)) for batch in batches]
        start.set()
    return [outcome for task in tasks for outcome in task.result()]


@pytest.mark.reliability("F36")
async def test_copies_written_at_once_leave_one_document_each(collections: Collections) -> None:
    for number in range(ROUNDS):
        session_id = f"s{number}"
        messages: list[Any] = [created(session_id), event(session_id), completed(session_id)]
        ended = await race(
            collections,
            [[write(m, record(k, partition=n)) for k, m in enumerate(messages)] for n in range(16)],
        )
        assert Counter(ended) == {Outcome.APPLIED: 3, Outcome.DUPLICATE: 3 * (WRITERS - 1)}
        sessions, events = await state(collections, [session_id], ["e"])
        assert {name: found["status"] for name, found in sessions.items()} == {
            session_id: "completed"
        }
        assert sessions[session_id]["language"] == "en"
        assert len(events) == 1


async def test_each_kind_written_by_its_own_writers_at_once_is_applied_once(
    collections: Collections,
) -> None:
    for number in range(ROUNDS):
        session_id = f"s{number}"
        messages: list[Any] = [
            created(session_id),
            event(session_id, "e1"),
            event(session_id, "e2"),
            completed(session_id),
        ]
        batches = [[write(messages[n % 4], record(n, partition=n))] for n in range(WRITERS)]
        ended = await race(collections, batches)
        assert Counter(ended) == {Outcome.APPLIED: 4, Outcome.DUPLICATE: WRITERS - 4}
        sessions, events = await state(collections, [session_id], ["e1", "e2"])
        assert sessions[session_id]["status"] == "completed"
        assert sessions[session_id]["language"] == "en"
        assert len(events) == 2


async def test_of_contradicting_writers_one_wins_and_the_others_conflict(
    collections: Collections,
) -> None:
    for number in range(ROUNDS):
        session_id = f"s{number}"
        batches: list[list[Write]] = [
            [
                write(completed(session_id) if n % 2 else failed(session_id), n),
                write(event(session_id, payload={"writer": n}), n),
            ]
            for n in range(WRITERS)
        ]
        ended = await race(collections, batches)
        half = WRITERS // 2
        assert Counter(ended[0::2]) == {
            Outcome.APPLIED: 1,
            Outcome.DUPLICATE: half - 1,
            Outcome.CONFLICT: half,
        }
        assert Counter(ended[1::2]) == {Outcome.APPLIED: 1, Outcome.CONFLICT: WRITERS - 1}


async def test_one_record_held_by_two_members_is_stored_once(collections: Collections) -> None:
    for number in range(ROUNDS):
        session_id = f"s{number}"
        batch = [write(created(session_id), 1), write(event(session_id), 2)]
        ended = await race(collections, [batch] * WRITERS)
        assert set(ended) <= {Outcome.APPLIED, Outcome.REDELIVERED}
        sessions, events = await state(collections, [session_id], ["e"])
        assert (len(sessions), len(events)) == (1, 1)
