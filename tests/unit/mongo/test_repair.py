"""An altered document is put back by the very record it came from, and by no other."""

from __future__ import annotations

from collections.abc import Sequence

from consumer.commands.common.scratch import scratch_database
from consumer.mongo.dry_run import DryStore
from consumer.mongo.repair import RepairingStore, origin_filter, repairing_update
from consumer.mongo.store import MongoStore
from consumer.state.outcomes import Outcome
from consumer.state.writes import Write
from tests.adapters.mongo.applying import apply, outcomes
from tests.fakes.collections import MemoryCollections
from tests.unit.state.builders import (
    completed,
    create_write,
    created,
    end_write,
    event,
    failed,
    record,
    write,
)


class ScriptedRepairer:
    """Puts back what it is told to."""

    def __init__(self, *repairable: Write) -> None:
        self.repairable = repairable
        self.asked: list[Write] = []

    async def repair(self, write: Write) -> bool:
        self.asked.append(write)
        return write in self.repairable


async def stored(*writes: Write) -> MemoryCollections:
    collections = MemoryCollections()
    await apply(MongoStore(collections), writes)
    return collections


async def test_only_records_known_to_be_altered_are_put_back() -> None:
    collections = await stored(write(event("s", "a")), write(event("s", "b"), 1))
    altered = write(event("s", "a", {"text": "as it was"}))
    other = write(event("s", "b", {"text": "as it was"}), 1)
    repairer = ScriptedRepairer(altered, other)
    store = RepairingStore(
        MongoStore(collections), repairer.repair, lambda position: position == altered.position
    )
    assert await outcomes(store, altered, other) == ["applied", "conflict"]
    assert repairer.asked == [altered]
    assert store.repaired == 1


async def test_a_difference_beside_the_content_is_put_back_too() -> None:
    end = write(completed(event_count=3))
    collections = await stored(end)
    store = RepairingStore(MongoStore(collections), ScriptedRepairer(end).repair, lambda _: True)
    assert await outcomes(store, end) == ["applied"]


async def test_what_cannot_be_put_back_ends_as_it_would_have() -> None:
    collections = await stored(write(event()))
    store = RepairingStore(MongoStore(collections), ScriptedRepairer().repair, lambda _: True)
    assert await outcomes(store, write(event(payload={"text": "x"}), 7)) == ["conflict"]
    assert store.repaired == 0


async def test_a_missing_document_is_applied_and_not_counted_as_put_back() -> None:
    repairer = ScriptedRepairer()
    store = RepairingStore(MongoStore(MemoryCollections()), repairer.repair, lambda _: True)
    assert await outcomes(store, write(event())) == ["applied"]
    assert repairer.asked == []


async def dry(collections: MemoryCollections, writes: Sequence[Write]) -> list[Outcome]:
    with scratch_database() as database:
        dry_store = DryStore(collections, database)
        store = RepairingStore(dry_store, dry_store.repair, lambda _: True)
        return [outcome for one in writes for outcome in await outcomes(store, one)]


async def test_a_dry_run_predicts_a_repair_and_judges_by_it() -> None:
    collections = await stored(write(event(payload={"text": "altered"})))
    mine, same, another = (
        write(event(payload={"text": text}), record(offset))
        for offset, text in [(0, "true"), (1, "true"), (2, "altered")]
    )
    assert await dry(collections, [mine, same, another]) == ["applied", "duplicate", "conflict"]
    assert collections.events[("s", "e")]["payload"]["text"] == "altered"


async def test_a_dry_run_predicts_no_repair_by_another_record() -> None:
    collections = await stored(write(created(language="altered")))
    assert await dry(collections, [write(created(language="en"), 5)]) == ["conflict"]


async def test_a_dry_run_predicts_no_repair_of_a_document_without_an_origin() -> None:
    collections = MemoryCollections()
    collections.put_session({"sessionId": "s", "status": "failed"})
    assert await dry(collections, [write(completed())]) == ["conflict"]


def test_the_place_of_a_record_is_named_by_its_ids_and_its_origin() -> None:
    origin = {"topic": "conversation.events", "partition": 2, "offset": 7}
    source = record(7, partition=2)
    assert origin_filter(write(event(), source)) == {"sessionId": "s", "eventId": "e"} | {
        f"from.{name}": value for name, value in origin.items()
    }
    assert origin_filter(write(created(), source)) == {"sessionId": "s"} | {
        f"createdFrom.{name}": value for name, value in origin.items()
    }
    assert origin_filter(write(failed(), source)) == {"sessionId": "s"} | {
        f"endedFrom.{name}": value for name, value in origin.items()
    }


def test_an_end_is_put_back_without_what_only_another_end_would_have() -> None:
    update = repairing_update(end_write(completed(event_count=3)))
    assert update["$unset"] == {"reason": ""}
    assert set(repairing_update(create_write(created()))) == {"$set"}
