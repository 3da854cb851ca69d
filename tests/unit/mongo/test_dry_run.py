"""What a dry run predicts is what applying does, whatever the records and their batches."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from random import Random
from sqlite3 import Connection

import pytest

from consumer.commands.common.scratch import scratch_database
from consumer.contract.messages import Message
from consumer.contract.rejection import Reason
from consumer.errors import TransientError
from consumer.mongo.dry_run import DryStore
from consumer.mongo.store import MongoStore
from consumer.state.outcomes import Outcome, Result
from consumer.state.writes import Write
from tests import builders as records
from tests.adapters.mongo.applying import apply
from tests.fakes.collections import Command, MemoryCollections, not_carried_out
from tests.own_kinds import ACME, GRADED, SCORED, installed, meaning, say_own
from tests.unit.commands.planning import writes_of
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


def own_writes(rng: Random, count: int) -> list[Write]:
    """Records of two partitions that speak of kinds that a team added."""
    drawn = (say_own(rng, f"s{rng.randrange(3)}") for _ in range(2 * count))
    said = [one for one in drawn if not isinstance(meaning(one), Reason)][:count]
    return writes_of(
        [records.record(one, at, partition=rng.randrange(2)) for at, one in enumerate(said)]
    )


@pytest.mark.parametrize("round_", range(20))
async def test_the_prediction_of_own_kinds_is_what_happens_one_after_another(
    rng: Random, round_: int, database: Connection
) -> None:
    with installed(**ACME, **SCORED, **GRADED):
        collections = MemoryCollections()
        store = MongoStore(collections)
        await results(store, batches(rng, own_writes(rng, 20)))
        replayed = [[one] for one in own_writes(rng, 40)]
        predicted = await results(DryStore(collections, database), replayed)
        assert await results(store, replayed) == predicted


async def results(store: MongoStore | DryStore, parts: Sequence[Sequence[Write]]) -> list[Result]:
    return [result for part in parts for result in await apply(store, part)]


@pytest.fixture
def database() -> Iterator[Connection]:
    with scratch_database() as database:
        yield database


@pytest.mark.parametrize("round_", range(60))
async def test_the_prediction_is_what_happens_in_the_same_order(
    rng: Random, round_: int, database: Connection
) -> None:
    collections = MemoryCollections()
    store = MongoStore(collections)
    before = random_writes(rng, 40)
    await results(store, batches(rng, before))
    # Some of it is replayed, some is new.
    replayed = sorted(rng.sample(before, 20) + random_writes(rng, 60), key=lambda _: rng.random())
    predicted = await results(DryStore(collections, database), batches(rng, replayed))
    happened = await results(store, batches(rng, replayed))
    assert predicted == [Result(result.outcome, result.rejected) for result in happened]
    assert {result.outcome for result in happened} >= {Outcome.APPLIED, Outcome.CONFLICT}


def any_order(rng: Random, writes: Sequence[Write]) -> list[Write]:
    """The records in another order, in which each partition's are in theirs."""
    waiting: dict[int, list[Write]] = {}
    for one in writes:
        waiting.setdefault(one.position.partition, []).append(one)
    order = []
    while waiting:
        partition = rng.choice(list(waiting))
        order.append(waiting[partition].pop(0))
        if not waiting[partition]:
            del waiting[partition]
    return order


@pytest.mark.parametrize("round_", range(60))
async def test_where_partitions_do_not_contradict_each_other_no_order_changes_what_was_predicted(
    rng: Random, round_: int, database: Connection
) -> None:
    # Most identities have their records in one partition; some have them in both.
    strays = rng.choice([0, 0, 0.05])
    writes = []
    for offset in range(80):
        message = random_message(rng)
        partition = sum(message.session_id.encode()) % 2
        partition = 1 - partition if rng.random() < strays else partition
        writes.append(write(message, record(offset, partition=partition)))
    dry_store = DryStore(MemoryCollections(), database)
    predicted = await results(dry_store, batches(rng, writes))
    store, other_order = MongoStore(MemoryCollections()), any_order(rng, writes)
    happened = await results(store, batches(rng, other_order))
    if not dry_store.contradictions:
        assert Counter(one.outcome for one in predicted) == Counter(one.outcome for one in happened)
    if not strays:
        assert dry_store.contradictions == 0
        at = {one.position: result.outcome for one, result in zip(writes, predicted, strict=True)}
        assert [at[one.position] for one in other_order] == [one.outcome for one in happened]


async def test_batches_side_by_side_are_judged_by_each_other_and_their_contradiction_counted(
    database: Connection,
) -> None:
    store = DryStore(MemoryCollections(), database)
    said = [
        write(event(payload={"text": text}), record(0, partition=partition))
        for partition, text in enumerate(["one", "two", "one"])
    ]
    ended = await asyncio.gather(*(apply(store, [one]) for one in said))
    outcomes = Counter(result.outcome for (result,) in ended)
    assert outcomes[Outcome.APPLIED] == 1
    assert outcomes[Outcome.CONFLICT] == store.contradictions > 0


async def test_a_copy_without_a_time_agrees_with_records_that_contradict_each_other(
    database: Connection,
) -> None:
    store = DryStore(MemoryCollections(), database)
    said = [
        write(event(timestamp=at(0)), record(0, partition=0)),
        write(event(timestamp=at(1), time_defaulted=True), record(0, partition=1)),
    ]
    assert [one.outcome for one in await results(store, [said])] == ["applied", "duplicate"]
    assert store.contradictions == 1


async def test_what_one_partition_contradicts_itself_in_has_an_order(database: Connection) -> None:
    store = DryStore(MemoryCollections(), database)
    said = [write(event(payload={"text": text}), n) for n, text in enumerate(["one", "two"])]
    assert [one.outcome for one in await results(store, [said])] == ["applied", "conflict"]
    assert store.contradictions == 0


async def test_nothing_is_written(database: Connection) -> None:
    collections = MemoryCollections()
    store = DryStore(collections, database)
    (result,) = await apply(store, [write(event())])
    assert result.outcome is Outcome.APPLIED
    assert collections.events == {}
    assert {command for command, _ in collections.commands} == {Command.FIND_EVENTS}


async def test_a_stub_has_room_for_its_creation_and_its_end(database: Connection) -> None:
    collections = MemoryCollections()
    collections.put_session({"sessionId": "s", "status": "active"})
    store = DryStore(collections, database)
    found = await results(store, [[write(created()), write(completed(), 1), write(failed(), 2)]])
    assert [result.outcome for result in found] == ["applied", "applied", "conflict"]


async def test_after_trouble_nothing_is_remembered_and_the_same_batch_is_judged_again(
    database: Connection,
) -> None:
    collections = MemoryCollections()
    collections.script(Command.FIND_SESSIONS, not_carried_out(TransientError("network")))
    writes = [write(event()), write(created(), 1)]
    store = DryStore(collections, database)
    batch = store.prepare(writes)
    with pytest.raises(TransientError):
        await batch()
    assert [store.content_of(one) for one in writes] == [None, None]
    assert [result.outcome for result in await batch()] == ["applied", "applied"]
    assert [result.outcome for result in await batch()] == ["applied", "applied"]


async def test_finds_are_bounded_however_many_records_a_session_has(
    database: Connection,
) -> None:
    collections = MemoryCollections()
    store = DryStore(collections, database)
    await apply(store, [write(event("s", f"e{n}"), n) for n in range(1_200)])
    assert collections.sizes(Command.FIND_EVENTS) == [500, 500, 200]
