"""What happened to others, in one batch, record by record, and after a lost answer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from bson.raw_bson import RawBSONDocument

from consumer.contract import kinds
from consumer.contract.messages import Message
from consumer.contract.rejection import Reason, Rejected
from consumer.errors import TransientError
from consumer.mongo.collections import Collections
from consumer.mongo.store import MongoStore
from consumer.state.outcomes import Outcome
from consumer.state.writes import Write
from tests.fakes.collections import Command, MemoryCollections, answer_lost
from tests.unit.state.builders import (
    SESSIONS,
    at,
    completed,
    created,
    event,
    failed,
    record,
    write,
)

from .applying import apply, found_by, outcomes, persist

APPLIED, REDELIVERED, DUPLICATE, CONFLICT = (
    Outcome.APPLIED,
    Outcome.REDELIVERED,
    Outcome.DUPLICATE,
    Outcome.CONFLICT,
)


async def ends(store: MongoStore, writes: Sequence[Write], *, together: bool) -> list[Outcome]:
    if together:
        return await outcomes(store, *writes)
    return [outcome for one in writes for outcome in await outcomes(store, one)]


async def the_event(collections: Collections, event_id: str = "e") -> RawBSONDocument:
    (found,) = await found_by(collections.find(kinds.EVENTS, "s", [event_id]))
    return found


@pytest.mark.parametrize("together", [True, False])
async def test_the_same_message_serialised_otherwise_is_a_duplicate(
    collections: Collections, together: bool
) -> None:
    payload = {"text": "Grüße", "span": {"from": 1, "to": 9}, "gain": 100.0}
    again = {"gain": 1e2, "span": {"to": 9, "from": 1}, "text": "Gr\u00fc\u00dfe"}
    other = {"text": "Grüße", "span": {"from": 1, "to": 10}, "gain": 100.0}
    writes = [
        write(event(payload=payload, timestamp=at(5, 123)), 0),
        write(event(payload=again, timestamp=at(5, 123) + timedelta(microseconds=987)), 1),
        write(event(payload=other, timestamp=at(5, 123)), 2),
    ]
    store = MongoStore(collections)
    assert await ends(store, writes, together=together) == [APPLIED, DUPLICATE, CONFLICT]
    stored = (await the_event(collections))["payload"]
    assert list(stored) == ["text", "span", "gain"]


TRANSCRIPTS = ["I would like", "I would like to change", "… my booking", "… for Friday"]


@pytest.mark.parametrize("together", [True, False])
async def test_of_four_finals_with_one_id_the_first_stays_and_the_others_conflict(
    collections: Collections, together: bool
) -> None:
    writes = [write(event(payload={"text": t}), n) for n, t in enumerate(TRANSCRIPTS)]
    store = MongoStore(collections)
    assert await ends(store, writes, together=together) == [APPLIED] + [CONFLICT] * 3
    assert (await the_event(collections))["payload"]["text"] == TRANSCRIPTS[0]
    # A replay of the whole log changes nothing.
    store.forget()
    assert await ends(store, writes, together=together) == [REDELIVERED] + [CONFLICT] * 3


async def test_a_conflict_says_which_fields_differ_and_quotes_nothing(
    collections: Collections,
) -> None:
    store = MongoStore(collections)
    await apply(store, [write(event(payload={"t": "secret"}))])
    (result,) = await apply(store, [write(event(payload={"t": "other"}, timestamp=at(3)), 1)])
    assert result.rejected == Rejected(
        Reason.CONFLICT, "the stored event differs in payload, timestamp"
    )


async def test_the_finals_end_alike_when_the_answer_to_the_batch_was_lost() -> None:
    collections = MemoryCollections()
    collections.script(Command.INSERT_EVENTS, answer_lost(TransientError("AutoReconnect")))
    writes = [write(event(payload={"text": t}), n) for n, t in enumerate(TRANSCRIPTS)]
    results = await persist(MongoStore(collections).prepare(writes))
    assert [result.outcome for result in results] == [APPLIED] + [CONFLICT] * 3


@pytest.mark.parametrize(
    ("first_life", "second_life"),
    [
        (event(payload={"t": "first life"}), event(payload={"t": "second life"})),
        (created(language="en"), created(language="de")),
        (completed(), failed()),
    ],
)
async def test_a_position_proves_nothing_once_a_topic_began_anew(
    collections: Collections, first_life: Any, second_life: Any
) -> None:
    store = MongoStore(collections)
    assert await outcomes(store, write(first_life, 0)) == [APPLIED]
    assert await outcomes(store, write(second_life, 0)) == [CONFLICT]
    assert await outcomes(store, write(first_life, 0)) == [REDELIVERED]
    assert await outcomes(store, write(first_life, record(0, partition=1))) == [DUPLICATE]


@pytest.mark.parametrize("together", [True, False])
async def test_an_end_reported_twice_is_a_duplicate_and_changes_nothing(
    collections: Collections, together: bool
) -> None:
    log: list[Message] = [
        created(),
        completed(ended_at=at(17, 809)),
        completed(ended_at=at(17, 855), event_count=12),
        completed(ended_at=at(30), time_defaulted=True),
    ]
    writes = [write(message, record(n, topic=SESSIONS)) for n, message in enumerate(log)]
    ended = await ends(MongoStore(collections), writes, together=together)
    assert ended == [APPLIED, APPLIED, DUPLICATE, DUPLICATE]
    (stored,) = await found_by(collections.find(kinds.SESSIONS, ["s"]))
    assert stored["endedFrom"]["offset"] == 1
    assert stored["endedAt"].as_datetime() == at(17, 809).replace(tzinfo=None)
    assert "eventCount" not in stored


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(("first", "second"), [(completed(), failed()), (failed(), completed())])
async def test_of_two_different_ends_the_first_stays(
    collections: Collections, first: Any, second: Any, together: bool
) -> None:
    writes = [write(first, 1), write(second, 2), write(first, 3), write(second, 4)]
    ended = await ends(MongoStore(collections), writes, together=together)
    assert ended == [APPLIED, CONFLICT, DUPLICATE, CONFLICT]
    (stored,) = await found_by(collections.find(kinds.SESSIONS, ["s"]))
    assert stored["endedFrom"]["offset"] == 1


EXTENDED_JSON: dict[str, dict[str, Any]] = {
    "at": {"$date": "2025-10-13T09:13:52Z"},
    "id": {"$oid": "5f0000000000000000000001"},
    "n": {"$numberLong": "42"},
    "raw": {"$binary": {"base64": "AAEC", "subType": "00"}},
    "big": {"$numberDecimal": "1E400"},
    "code": {"$code": "x"},
    "ref": {"$ref": "c", "$id": "d"},
}


@pytest.mark.parametrize("together", [True, False])
async def test_extended_json_stays_what_it_looks_like(
    collections: Collections, together: bool
) -> None:
    writes = [
        write(event(payload=EXTENDED_JSON), 0),
        write(event(payload=EXTENDED_JSON), 1),
        write(created(metadata=EXTENDED_JSON), 2),
        write(created(metadata=EXTENDED_JSON), 3),
    ]
    ended = await ends(MongoStore(collections), writes, together=together)
    assert ended == [APPLIED, DUPLICATE, APPLIED, DUPLICATE]
    (session,) = await found_by(collections.find(kinds.SESSIONS, ["s"]))
    for stored in ((await the_event(collections))["payload"], session["metadata"]):
        assert set(stored) == set(EXTENDED_JSON)
        for name, value in EXTENDED_JSON.items():
            assert isinstance(stored[name], RawBSONDocument)
            assert set(stored[name]) == set(value)
