"""What a dry run predicts is what applying does, whatever the records and their batches."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest

from consumer.contract.messages import Message
from consumer.errors import TransientError
from consumer.mongo.dry_run import DryStore
from consumer.mongo.store import MongoStore
from consumer.state.outcomes import Outcome, Result
from consumer.state.writes import Write
from tests.fakes.collections import Command, MemoryCollections, not_carried_out
from tests.fakes.memory import MemoryOfDicts
from tests.unit.state.builders import at, completed, created, event, failed, record, write


def random_message(rng: Random) -> Message:
    session_id = f"s{rng.randrange(6)}"
    defaulted = rng.random() < 0.3
    match rng.randrange(5):
        case 0:
            language, time = rng.choice(["en", "de"]), at(rng.randrange(2))
            return created(session_id, language=language, started_at=time, time_defaulted=defaulted)
        case 1:
            return completed(session_id, event_count=rng.randrange(3))
        case 2:
            return failed(session_id)
        case _:
            text, time = rng.choice(["one", "two"]), at(rng.randrange(2))
            event_id = f"e{rng.randrange(4)}"
            return event(
                session_id, event_id, {"text": text}, timestamp=time, time_defaulted=defaulted
            )


def random_writes(rng: Random, count: int) -> list[Write]:
    """Records of two partitions; some of them come twice."""
    writes: list[Write] = []
    for offset in range(count):
        if writes and rng.random() < 0.15:
            writes.append(rng.choice(writes))
        else:
            source = record(offset, partition=rng.randrange(2))
            writes.append(write(random_message(rng), source))
    return writes


def batches(rng: Random, writes: Sequence[Write]) -> list[Sequence[Write]]:
    cuts = sorted(rng.sample(range(1, len(writes)), min(6, len(writes) - 1)))
    return [writes[a:b] for a, b in zip([0, *cuts], [*cuts, len(writes)], strict=True)]


async def results(store: MongoStore | DryStore, parts: Sequence[Sequence[Write]]) -> list[Result]:
    return [result for part in parts for result in await store.prepare(part).execute()]


@pytest.mark.parametrize("round_", range(60))
async def test_the_prediction_is_what_happens(rng: Random, round_: int) -> None:
    collections = MemoryCollections()
    store = MongoStore(collections)
    before = random_writes(rng, 40)
    await results(store, batches(rng, before))
    # Some of it is replayed, some is new.
    replayed = sorted(rng.sample(before, 20) + random_writes(rng, 60), key=lambda _: rng.random())
    predicted = await results(DryStore(collections, MemoryOfDicts()), batches(rng, replayed))
    happened = await results(store, batches(rng, replayed))
    assert predicted == [Result(result.outcome, result.rejected) for result in happened]
    assert {result.outcome for result in happened} >= {Outcome.APPLIED, Outcome.CONFLICT}


async def test_nothing_is_written() -> None:
    collections = MemoryCollections()
    store = DryStore(collections, MemoryOfDicts())
    (result,) = await store.prepare([write(event())]).execute()
    assert result.outcome is Outcome.APPLIED
    assert collections.events == {}
    assert {command for command, _ in collections.commands} == {Command.FIND_EVENTS}


async def test_a_stub_has_room_for_its_creation_and_its_end() -> None:
    collections = MemoryCollections()
    collections.put_session({"sessionId": "s", "status": "active"})
    store = DryStore(collections, MemoryOfDicts())
    found = await results(store, [[write(created()), write(completed(), 1), write(failed(), 2)]])
    assert [result.outcome for result in found] == ["applied", "applied", "conflict"]


async def test_after_trouble_nothing_is_remembered_and_the_same_batch_is_judged_again() -> None:
    collections = MemoryCollections()
    memory = MemoryOfDicts()
    collections.script(Command.FIND_SESSIONS, not_carried_out(TransientError("network")))
    application = DryStore(collections, memory).prepare([write(event()), write(created(), 1)])
    with pytest.raises(TransientError):
        await application.execute()
    assert memory.contents == {}
    assert [result.outcome for result in await application.execute()] == ["applied", "applied"]
    assert [result.outcome for result in await application.execute()] == ["applied", "applied"]


async def test_finds_are_bounded_however_many_records_a_session_has() -> None:
    collections = MemoryCollections()
    store = DryStore(collections, MemoryOfDicts())
    await store.prepare([write(event("s", f"e{n}"), n) for n in range(1_200)]).execute()
    assert collections.sizes(Command.FIND_EVENTS) == [500, 500, 200]
