"""Where records are read again, what is stored already is found before anything is sent.

It only saves: whatever a find shows or does not show, every record ends as it would have.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Sequence
from random import Random

import pytest

from consumer.contract.kinds import EVENTS
from consumer.contract.messages import Message
from consumer.errors import TimedOutError, TransientError
from consumer.mongo.collections import Collections
from consumer.mongo.duplicates import MAX_FIRST_FINDS, OWN_FIND, OWN_FIND_BYTES
from consumer.mongo.store import MongoStore
from consumer.state.outcomes import Outcome
from consumer.state.writes import Write
from tests.adapters.mongo.applying import apply, outcomes, persist, state
from tests.fakes.collections import Command, Fault, MemoryCollections
from tests.unit.state.builders import completed, created, event, failed, write

APPLIED, REDELIVERED, DUPLICATE, CONFLICT = (
    Outcome.APPLIED,
    Outcome.REDELIVERED,
    Outcome.DUPLICATE,
    Outcome.CONFLICT,
)


def reading_again(collections: Collections) -> MongoStore:
    """A store that has just been assigned partitions."""
    store = MongoStore(collections)
    store.forget()
    return store


def sent(collections: MemoryCollections) -> list[int]:
    """How many documents each insert carried."""
    return collections.sizes(Command.INSERT_EVENTS)


def events(count: int, first: int = 0) -> list[Write]:
    return [write(event(f"s{n % 3}", f"e{n}"), n) for n in range(first, first + count)]


async def test_what_is_found_and_what_is_not_end_as_they_would_have(
    collections: Collections,
) -> None:
    stored = [
        write(created("s"), 0),
        write(event("s", "same"), 1),
        write(event("s", "copied"), 2),
        write(event("s", "other"), 3),
        write(completed("t"), 4),
    ]
    await apply(MongoStore(collections), stored)
    batch = [
        write(created("s"), 0),
        write(event("s", "same"), 1),
        write(event("s", "copied"), 12),
        write(event("s", "other", {"says": "else"}), 13),
        write(event("s", "new"), 14),
        write(event("t", "same"), 15),
        write(failed("t"), 16),
        write(completed("s"), 17),
        write(created("u"), 18),
    ]
    expected = [REDELIVERED, REDELIVERED, DUPLICATE, CONFLICT, APPLIED, APPLIED, CONFLICT]
    expected += [APPLIED, APPLIED]
    assert await outcomes(reading_again(collections), *batch) == expected
    sessions, found = await state(collections, "stu", ["same", "copied", "other", "new"])
    assert {name: one["status"] for name, one in sessions.items()} == {
        "s": "completed",
        "t": "completed",
        "u": "initiated",
    }
    assert len(found) == 5


async def test_copies_within_a_batch_are_judged_by_what_was_found(
    collections: Collections,
) -> None:
    await apply(MongoStore(collections), [write(event("s", "e"), 1)])
    batch = [
        write(event("s", "e"), 1),
        write(event("s", "e"), 2),
        write(event("s", "e", {"says": "else"}), 3),
    ]
    ended = await outcomes(reading_again(collections), *batch)
    assert ended == [REDELIVERED, DUPLICATE, CONFLICT]


async def test_an_event_of_an_ended_session_is_marked_late(collections: Collections) -> None:
    await apply(MongoStore(collections), [write(completed("s"), 0), write(event("s", "e"), 1)])
    (again, new) = await apply(
        reading_again(collections), [write(event("s", "e"), 1), write(event("s", "f"), 2)]
    )
    assert (again.outcome, again.late) == (REDELIVERED, True)
    assert (new.outcome, new.late) == (APPLIED, True)


async def test_what_is_there_is_not_sent() -> None:
    collections = MemoryCollections()
    await apply(MongoStore(collections), events(6))
    collections.commands.clear()
    assert (
        await outcomes(reading_again(collections), *events(9)) == [REDELIVERED] * 6 + [APPLIED] * 3
    )
    assert sent(collections) == [3]
    assert Command.UPDATE_SESSIONS not in [kind for kind, _ in collections.commands]


async def test_it_asks_after_an_assignment_and_for_as_long_as_most_is_there() -> None:
    collections = MemoryCollections()
    await apply(MongoStore(collections), events(20))
    store = reading_again(collections)
    collections.commands.clear()
    for first in (0, 10, 20, 30):
        await apply(store, events(10, first))
    # The third batch was asked for, since all of the second was there; the fourth was not.
    assert sent(collections) == [10, 10]
    assert len(collections.sizes(Command.FIND_EVENTS)) == 3


async def test_a_batch_of_duplicates_lets_the_next_one_ask() -> None:
    collections = MemoryCollections()
    await apply(MongoStore(collections), events(20))
    store = MongoStore(collections)
    collections.commands.clear()
    await apply(store, events(10))
    await apply(store, events(10, 10))
    assert sent(collections) == [10]


@pytest.mark.parametrize("error", [TransientError("NotPrimaryError"), TimedOutError("x")])
async def test_a_find_that_fails_costs_the_saving_only(error: TransientError) -> None:
    collections = MemoryCollections()
    await apply(MongoStore(collections), events(6))
    collections.script(Command.FIND_EVENTS, Fault(error))
    collections.script(Command.FIND_SESSIONS, Fault(error))
    assert (
        await outcomes(reading_again(collections), *events(8)) == [REDELIVERED] * 6 + [APPLIED] * 2
    )


async def test_a_find_that_sees_nothing_costs_the_saving_only() -> None:
    collections = MemoryCollections()
    await apply(MongoStore(collections), events(6))
    collections.script(Command.FIND_EVENTS, Fault(hidden=True))
    collections.script(Command.FIND_SESSIONS, Fault(hidden=True))
    assert (
        await outcomes(reading_again(collections), *events(8)) == [REDELIVERED] * 6 + [APPLIED] * 2
    )


async def test_what_somebody_stores_after_the_find_is_met_by_the_insert() -> None:
    collections = MemoryCollections()
    copy = event("s", "e")

    def meanwhile(held: MemoryCollections) -> None:
        held.put_event(dict(write(copy, 7).content))

    collections.script(Command.INSERT_EVENTS, Fault(meanwhile=meanwhile))
    assert await outcomes(reading_again(collections), write(copy, 1)) == [DUPLICATE]


async def test_a_batch_is_asked_for_once_however_often_it_is_tried() -> None:
    collections = MemoryCollections()
    store = reading_again(collections)
    collections.script(Command.INSERT_EVENTS, *[Fault(TransientError("x"))] * 3)
    results = await persist(store.prepare(events(4)))
    # What the first try has written is its own, though it is found to be there.
    assert [result.outcome for result in results] == [APPLIED] * 4


async def test_sessions_that_use_the_same_event_ids_are_not_asked_for_together() -> None:
    collections = MemoryCollections()
    batch = [write(event(f"s{n}", f"e{m}"), 10 * n + m) for n in range(8) for m in range(5)]
    await apply(MongoStore(collections), batch)
    collections.commands.clear()
    assert await outcomes(reading_again(collections), *batch) == [REDELIVERED] * 40
    assert collections.sizes(Command.FIND_EVENTS) == [5] * 8
    assert sent(collections) == []


async def test_too_many_finds_are_none() -> None:
    collections = MemoryCollections()
    batch = [write(event(f"s{n}", "e"), n) for n in range(MAX_FIRST_FINDS + 1)]
    await apply(MongoStore(collections), batch)
    collections.commands.clear()
    await apply(reading_again(collections), batch)
    assert sent(collections) == [len(batch)]


class Counted(MemoryCollections):
    """Counts the events that are read, and the sessions by which a find looks for them."""

    read = 0

    def __init__(self) -> None:
        super().__init__()
        self.sessions_of_finds: list[int] = []

    async def find(
        self, collection: str, *ids: Sequence[str], fields: Collection[str] | None = None
    ) -> AsyncGenerator[Sequence[bytes], None]:
        if collection == EVENTS:
            self.sessions_of_finds.append(len(ids[0]))
        async for reply in super().find(collection, *ids, fields=fields):
            self.read += len(reply) if collection == EVENTS else 0
            yield reply


@pytest.mark.reliability("F69")
async def test_a_session_with_many_events_has_a_find_of_its_own() -> None:
    counted, many = Counted(), MAX_FIRST_FINDS + 1
    counts = [*[OWN_FIND] * many, OWN_FIND - 1, 1]
    batch = [
        write(event(f"s{n}", f"e{m}" if n < many else f"{n}-{m}"), 100 * n + m)
        for m in range(OWN_FIND)
        for n, count in enumerate(counts)
        if m < count
    ]
    await apply(MongoStore(counted), batch)
    counted.commands.clear()
    ended = await outcomes(reading_again(counted), *batch)
    assert ended == [REDELIVERED] * len(batch)
    assert (counted.sessions_of_finds, sent(counted)) == ([1] * many + [2], [])


@pytest.mark.reliability("F69")
async def test_a_session_with_large_events_has_a_find_of_its_own() -> None:
    counted = Counted()
    sizes = [OWN_FIND_BYTES // 2, OWN_FIND_BYTES // 2, OWN_FIND_BYTES // 3, OWN_FIND_BYTES // 3]
    batch = [
        write(event(f"s{n}", f"{n}-{m}", {"text": "x" * size}), 10 * n + m)
        for n, size in enumerate(sizes)
        for m in range(2)
    ]
    await apply(MongoStore(counted), batch)
    ended = await outcomes(reading_again(counted), *batch)
    assert (ended, counted.sessions_of_finds) == ([REDELIVERED] * len(batch), [1, 1, 2])


async def test_a_find_that_brings_what_nobody_asked_for_is_left() -> None:
    collections = MemoryCollections()
    everything = [write(event(f"s{n}", f"e{m}"), 30 * n + m) for n in range(30) for m in range(30)]
    await apply(MongoStore(collections), everything)
    counted = Counted()
    counted.events, counted.sessions = collections.events, collections.sessions
    batch = [one for one in everything if one.position.offset % 31 == 0]
    ended = await outcomes(reading_again(counted), *batch)
    assert ended == [REDELIVERED] * 30
    assert counted.read < 200


@pytest.mark.parametrize("seed", range(12))
async def test_asking_first_changes_no_outcome_and_no_document(
    collections: Collections, seed: int
) -> None:
    """Whatever is there already, in whatever batches and by however many at once."""
    chance = Random(seed)
    said: list[Write] = []
    for offset in range(60):
        session_id, event_id = f"{seed}-{chance.randrange(4)}", f"e{chance.randrange(12)}"
        messages: list[Message] = [
            event(session_id, event_id),
            event(session_id, event_id, {"says": chance.choice("ab")}),
            event(session_id, f"n{offset}"),
            created(session_id),
            completed(session_id),
        ]
        said.append(write(chance.choice(messages), offset))
    memory = MemoryCollections()
    before = chance.sample(said, 25)
    for held in (collections, memory):
        await apply(MongoStore(held), before)
    asking, plain = reading_again(collections), MongoStore(memory)
    for batch in cut(said, chance):
        asking.forget()
        assert await outcomes(asking, *batch) == await outcomes(plain, *batch)
    ids = [f"e{n}" for n in range(12)] + [f"n{n}" for n in range(60)]
    sessions = [f"{seed}-{n}" for n in range(4)]
    assert await state(collections, sessions, ids) == await state(memory, sessions, ids)


async def test_stores_that_ask_first_at_once_leave_one_document_each(
    collections: Collections,
) -> None:
    batch = [write(event(f"s{n % 3}", f"e{n}"), n) for n in range(30)]
    await apply(MongoStore(collections), batch[::2])
    ended = await asyncio.gather(*(outcomes(reading_again(collections), *batch) for _ in range(3)))
    by_record = list(zip(*ended, strict=True))
    assert all(one.count(APPLIED) == 0 for one in by_record[::2])
    assert all(one.count(APPLIED) == 1 for one in by_record[1::2])


def cut(writes: Sequence[Write], chance: Random) -> list[Sequence[Write]]:
    """The writes in batches of any size."""
    batches, start = [], 0
    while start < len(writes):
        end = start + chance.randint(1, 20)
        batches.append(writes[start:end])
        start = end
    return batches
