"""Races between writers of one session, the activity of its events, and late events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from consumer.contract.kinds import SESSIONS, key_of
from consumer.errors import TransientError
from consumer.mongo.collections import WriteFailure
from consumer.mongo.results import MAX_LOST_RACES, SessionStatusCache
from consumer.mongo.store import MongoStore
from consumer.state.outcomes import Outcome
from consumer.state.writes import SessionStatus, Write
from tests.fakes.collections import (
    Command,
    Fault,
    MemoryCollections,
    answer_lost,
    not_carried_out,
)
from tests.unit.state.builders import completed, created, event, failed, write

from .applying import apply, outcomes, persist

APPLIED, REDELIVERED, DUPLICATE, CONFLICT, DEAD_LETTERED = (
    Outcome.APPLIED,
    Outcome.REDELIVERED,
    Outcome.DUPLICATE,
    Outcome.CONFLICT,
    Outcome.DEAD_LETTERED,
)
UPDATE, FIND = Command.UPDATE_SESSIONS, Command.FIND_SESSIONS
TAKEN = WriteFailure(11000, key_of(SESSIONS))
CUT_OFF = TransientError("AutoReconnect")


@pytest.fixture
def collections() -> MemoryCollections:
    return MemoryCollections()


@pytest.fixture
def store(collections: MemoryCollections) -> MongoStore:
    return MongoStore(collections)


def stub(status: str, **more: Any) -> Callable[[MemoryCollections], None]:
    """A concurrent writer inserts the session first."""
    return lambda them: them.put_session({"sessionId": "s", "status": status, **more})


def lost_race(status: str, **more: Any) -> Fault:
    """A server inserts after another did, though the filter had matched nothing before."""
    return Fault(failures={0: TAKEN}, meanwhile=stub(status, **more))


def ended(results: Any) -> list[Outcome]:
    return [result.outcome for result in results]


class TestLostRaces:
    """A duplicate key although the guard holds: a concurrent upsert inserted first."""

    @pytest.mark.parametrize(
        ("message", "status"),
        [
            (created(), "active"),
            (created(), "completed"),
            (completed(), "initiated"),
            (completed(), "active"),
            (failed(), "initiated"),
        ],
    )
    async def test_the_same_write_is_sent_again_and_applied(
        self, collections: MemoryCollections, store: MongoStore, message: Any, status: str
    ) -> None:
        collections.script(UPDATE, lost_race(status))
        assert await outcomes(store, write(message)) == [APPLIED]
        assert collections.sizes(UPDATE) == [1, 1]
        origin = "createdFrom" if message == created() else "endedFrom"
        assert origin in collections.sessions["s"]

    async def test_an_activity_that_lost_to_a_creation_is_sent_again(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        collections.script(UPDATE, lost_race("initiated"))
        (result,) = await apply(store, [write(event())])
        assert not result.late
        assert collections.sessions["s"]["status"] == "active"

    async def test_an_activity_that_lost_to_an_end_is_done_and_its_event_late(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        collections.script(UPDATE, lost_race("failed"))
        (result,) = await apply(store, [write(event())])
        assert (result.outcome, result.late) == (APPLIED, True)
        assert collections.sessions["s"]["status"] == "failed"
        assert collections.sizes(UPDATE) == [1]

    async def test_a_guard_that_fails_on_what_was_read_is_judged_not_repeated(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        collections.script(UPDATE, lost_race("failed"))
        assert await outcomes(store, write(completed())) == [CONFLICT]
        assert collections.sizes(UPDATE) == [1]

    async def test_losing_again_and_again_backs_off_and_then_goes_on(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        statuses = ["active", "initiated"] * MAX_LOST_RACES
        losses = [lost_race(status) for status in [*statuses, "active"]]
        collections.script(UPDATE, *losses)
        write_batch = store.prepare([write(created())])
        with pytest.raises(TransientError, match="lost_race"):
            await write_batch()
        assert collections.sizes(UPDATE) == [1] * (MAX_LOST_RACES + 1)
        assert ended(await write_batch()) == [APPLIED]

    async def test_only_the_losers_are_sent_again(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        collections.script(UPDATE, lost_race("active"))
        others = [write(created(f"t{n}"), n) for n in range(5)]
        assert await outcomes(store, write(created(), 9), *others) == [APPLIED] * 6
        assert collections.sizes(UPDATE) == [6, 1]
        assert collections.sizes(FIND) == [1]

    async def test_what_is_found_after_a_lost_race_may_be_the_own_write(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        collections.script(UPDATE, lost_race("active"), answer_lost(CUT_OFF))
        assert ended(await persist(store.prepare([write(created())]))) == [APPLIED]

    async def test_many_doubted_sessions_are_read_with_one_find(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        writes = [write(created(f"s{n}"), n) for n in range(120)]
        await apply(store, writes)
        assert await outcomes(store, *writes) == [REDELIVERED] * 120
        assert collections.sizes(FIND) == [120]


class TestActivity:
    """An event is there: the session is past ``initiated``."""

    async def test_one_for_each_session_of_a_batch_beside_the_other_session_writes(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        writes = [write(event(name, f"e{n}"), n) for name in "st" for n in range(3)]
        await apply(store, [*writes, write(created("s"), 9)])
        assert collections.sizes(UPDATE) == [3]
        assert {name: found["status"] for name, found in collections.sessions.items()} == {
            "s": "active",
            "t": "active",
        }

    async def test_none_for_a_session_that_is_known_to_be_past_it(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        await apply(store, [write(event("s", "e1"))])
        await apply(store, [write(event("s", "e2"))])
        assert collections.sizes(UPDATE) == [1]

    async def test_a_session_becomes_known_by_what_the_store_shows_as_well(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        stub("active")(collections)
        await apply(store, [write(event("s", "e1"))])
        await apply(store, [write(event("s", "e2"))])
        assert collections.sizes(UPDATE) == [1]
        assert collections.sizes(FIND) == [1]

    async def test_it_is_written_again_once_the_memory_is_cleared(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        await apply(store, [write(event("s", "e1"))])
        collections.sessions.clear()
        store.forget()
        await apply(store, [write(event("s", "e2"))])
        assert collections.sessions["s"]["status"] == "active"

    async def test_a_session_is_not_known_before_the_store_has_answered(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        collections.script(UPDATE, not_carried_out(CUT_OFF))
        with pytest.raises(TransientError):
            await apply(store, [write(event("s", "e1"))])
        await apply(store, [write(event("s", "e2"))])
        assert collections.sessions["s"]["status"] == "active"

    async def test_it_follows_events_that_are_duplicates_or_conflicts_or_refused(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        await apply(store, [write(event(name)) for name in "st"])
        collections.sessions.clear()
        store.forget()
        collections.script(Command.INSERT_EVENTS, Fault(failures={0: WriteFailure(121)}))
        ended_as = await outcomes(
            store,
            write(event("s"), 1),
            write(event("t", payload={"other": 1}), 2),
            write(event("u"), 3),
        )
        assert ended_as == [DUPLICATE, CONFLICT, DEAD_LETTERED]
        assert {found["status"] for found in collections.sessions.values()} == {"active"}
        assert set(collections.sessions) == set("stu")

    async def test_it_is_not_written_where_the_end_is_in_the_same_batch(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        await apply(store, [write(event(), 0), write(completed(), 1)])
        assert collections.sizes(UPDATE) == [1]
        assert collections.sessions["s"]["status"] == "completed"

    async def test_it_is_written_after_all_where_that_end_is_refused(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        collections.script(UPDATE, Fault(failures={0: WriteFailure(17419)}))
        ended_as = await outcomes(store, write(event(), 0), write(completed(), 1))
        assert ended_as == [APPLIED, DEAD_LETTERED]
        assert collections.sessions["s"]["status"] == "active"

    async def test_its_refusal_is_told_and_belongs_to_no_record(
        self, collections: MemoryCollections
    ) -> None:
        told: list[str] = []
        store = MongoStore(collections, on_activity_refused=told.append)
        collections.script(UPDATE, Fault(failures={0: WriteFailure(121)}))
        assert await outcomes(store, write(event())) == [APPLIED]
        assert told == ["DocumentValidationFailure"]

    async def test_trouble_with_it_that_passes_holds_the_batch_and_names_no_record(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        collections.script(UPDATE, *[Fault(failures={0: WriteFailure(16500)})] * 5)
        write_batch = store.prepare([write(event())])
        for _ in range(5):
            with pytest.raises(TransientError) as caught:
                await write_batch()
            assert caught.value.index is None
        assert ended(await write_batch()) == [APPLIED]


class TestLateEvents:
    """Marked beside their outcome, best effort."""

    @pytest.mark.parametrize("forgotten", [True, False])
    async def test_an_event_after_the_end_is_stored_and_marked(
        self, collections: MemoryCollections, store: MongoStore, forgotten: bool
    ) -> None:
        await apply(store, [write(completed())])
        if forgotten:
            store.forget()
        (result,) = await apply(store, [write(event())])
        assert (result.outcome, result.late) == (APPLIED, True)
        assert collections.sessions["s"]["status"] == "completed"

    async def test_a_lost_answer_does_not_hide_that_the_session_had_ended(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        stub("completed")(collections)
        collections.script(UPDATE, not_carried_out(CUT_OFF))
        (result,) = await persist(store.prepare([write(event())]))
        assert (result.outcome, result.late) == (APPLIED, True)

    @pytest.mark.parametrize("command", [Command.INSERT_EVENTS, UPDATE])
    @pytest.mark.parametrize("fault", [not_carried_out(CUT_OFF), answer_lost(CUT_OFF)])
    async def test_an_event_in_the_batch_of_the_end_is_not(
        self, collections: MemoryCollections, store: MongoStore, command: Command, fault: Fault
    ) -> None:
        writes: list[Write] = [write(completed(), 0), write(event(), 1)]
        collections.script(command, fault)
        results = await persist(store.prepare(writes))
        assert [result.late for result in results] == [False, False]

    async def test_an_event_beside_a_copy_of_an_earlier_end_is(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        await apply(store, [write(completed(), 0)])
        store.forget()
        results = await apply(store, [write(completed(), 1), write(event(), 2)])
        assert ended(results) == [DUPLICATE, APPLIED]
        assert [result.late for result in results] == [False, True]

    async def test_only_the_events_of_that_session_are_marked(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        await apply(store, [write(completed("s"))])
        results = await apply(store, [write(event("s")), write(event("t")), write(created("s"))])
        assert [result.late for result in results] == [True, False, False]


class TestMemory:
    """Bounded, and never wrong about what goes back."""

    def test_only_sessions_past_initiated_are_remembered(self) -> None:
        memory = SessionStatusCache()
        memory.remember("s", SessionStatus.INITIATED)
        memory.remember("t", None)
        memory.remember("u", SessionStatus.ACTIVE)
        assert [memory.status(name) for name in "stu"] == [None, None, SessionStatus.ACTIVE]

    def test_an_ended_session_stays_ended(self) -> None:
        memory = SessionStatusCache()
        memory.remember("s", SessionStatus.FAILED)
        memory.remember("s", SessionStatus.ACTIVE)
        assert memory.status("s") is SessionStatus.FAILED

    def test_the_session_not_met_for_longest_is_forgotten_first(self) -> None:
        memory = SessionStatusCache(capacity=2)
        memory.remember("s", SessionStatus.ACTIVE)
        memory.remember("t", SessionStatus.ACTIVE)
        assert memory.status("s")
        memory.remember("u", SessionStatus.ACTIVE)
        assert [memory.status(name) for name in "stu"] == [
            SessionStatus.ACTIVE,
            None,
            SessionStatus.ACTIVE,
        ]
