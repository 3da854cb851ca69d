"""No border between batches and no fault changes an outcome or a document."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.errors import TimedOutError, TransientError
from consumer.mongo.collections import RefusedError, WriteFailure
from consumer.mongo.store import MongoStore
from consumer.state.outcomes import Outcome
from consumer.state.writes import EventWrite, Write
from tests.fakes.collections import Command, Fault, MemoryCollections
from tests.unit.state.builders import at, completed, created, event, failed, record, write

from .applying import persist

APPLIED, REDELIVERED = Outcome.APPLIED, Outcome.REDELIVERED

session_ids = st.sampled_from(["s", "t"])
messages: st.SearchStrategy[Any] = st.one_of(
    st.builds(
        event,
        session_ids,
        st.sampled_from(["e", "f"]),
        st.sampled_from([{"n": 1}, {"n": 1.0}, {"n": True}]),
        timestamp=st.sampled_from([at(1), at(2)]),
        time_defaulted=st.booleans(),
    ),
    st.builds(created, session_ids, language=st.sampled_from(["en", "de"])),
    st.builds(completed, session_ids, event_count=st.sampled_from([None, 1])),
    st.builds(failed, session_ids),
)
logs = st.lists(messages, min_size=1, max_size=14)


def written(log: Sequence[Any]) -> list[Write]:
    return [write(message, record(offset)) for offset, message in enumerate(log)]


def cut(writes: Sequence[Write], borders: set[int]) -> list[Sequence[Write]]:
    edges = [0, *sorted(border for border in borders if 0 < border < len(writes)), len(writes)]
    return [writes[start:end] for start, end in pairwise(edges)]


def run(
    batches: Sequence[Sequence[Write]], collections: MemoryCollections
) -> list[tuple[Outcome, str | None]]:
    async def all_of_them() -> list[tuple[Outcome, str | None]]:
        store = MongoStore(collections)
        results = [one for batch in batches for one in await persist(store.prepare(batch), 10_000)]
        return [
            (result.outcome, result.rejected.detail if result.rejected else None)
            for result in results
        ]

    return asyncio.run(all_of_them())


def documents(collections: MemoryCollections) -> Any:
    events = {key: bytes(raw.raw) for key, raw in collections.events.items()}
    return (
        events,
        {key: set(found) for key, found in collections.sessions.items()},
        {key: found["status"] for key, found in collections.sessions.items()},
    )


@given(logs, st.sets(st.integers(1, 13)))
def test_the_borders_of_batches_change_nothing(log: list[Any], borders: set[int]) -> None:
    writes = written(log)
    cut_up, alone = MemoryCollections(), MemoryCollections()
    assert run(cut(writes, borders), cut_up) == run([[one] for one in writes], alone)
    assert documents(cut_up) == documents(alone)


@given(logs, st.sets(st.integers(1, 13)))
def test_a_replay_of_the_whole_log_changes_no_document(log: list[Any], borders: set[int]) -> None:
    writes = written(log)
    collections = MemoryCollections()
    first = run(cut(writes, borders), collections)
    before = documents(collections)
    again = run([writes], collections)
    assert documents(collections) == before
    assert again == [
        (REDELIVERED if outcome is APPLIED else outcome, detail) for outcome, detail in first
    ]


@given(logs)
def test_every_place_in_the_store_has_exactly_one_record_that_was_applied(log: list[Any]) -> None:
    writes = written(log)
    collections = MemoryCollections()
    ended = run([writes], collections)
    applied = [one for one, (outcome, _) in zip(writes, ended, strict=True) if outcome is APPLIED]
    assert len({one.identity for one in applied}) == len(applied)
    assert {one.identity for one in applied} == {one.identity for one in writes}
    assert len(collections.events) == sum(isinstance(one, EventWrite) for one in applied)


class Trouble:
    """Faults by chance, of every kind that may befall a command, and never two alike for ever."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def __call__(self, command: Command, size: int) -> Fault | None:
        chance = self._random.random()
        if chance < 0.5:
            return None
        error: TransientError = self._random.choice(
            [TransientError("AutoReconnect"), TimedOutError("NetworkTimeout")]
        )
        if command in {Command.FIND_EVENTS, Command.FIND_SESSIONS}:
            return Fault(error) if chance < 0.8 else Fault(hidden=True)
        reached = self._random.randint(0, size)
        if chance < 0.7:
            return Fault(error, carried_out=reached)
        if chance < 0.8:
            return Fault(write_concern_code=self._random.choice([64, 91]), carried_out=reached)
        if chance < 0.9:
            return Fault(RefusedError("DocumentTooLarge"), carried_out=0) if size > 1 else None
        code = self._random.choice([50, 16500, 91])
        indexes = range(size)
        hit = [index for index in indexes if self._random.random() < 0.5]
        return Fault(failures={index: WriteFailure(code) for index in hit})


@settings(max_examples=300)
@given(logs, st.sets(st.integers(1, 13)), st.integers(0, 2**32))
def test_no_fault_that_passes_changes_an_outcome_or_a_document(
    log: list[Any], borders: set[int], seed: int
) -> None:
    writes = written(log)
    troubled, calm = MemoryCollections(Trouble(seed)), MemoryCollections()
    batches = cut(writes, borders)
    assert run(batches, troubled) == run(batches, calm)
    assert documents(troubled) == documents(calm)
