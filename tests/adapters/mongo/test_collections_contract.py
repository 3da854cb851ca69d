"""What every implementation of the primitives keeps to: in memory and over both drivers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import bson
from bson.raw_bson import RawBSONDocument

from consumer.contract.kinds import EVENTS, SESSIONS, key_of
from consumer.mongo.collections import BulkReply, Collections
from consumer.state.bson_compare import behind_id, behind_length, same_value
from consumer.state.guards import update_of
from consumer.state.writes import ActivityWrite, DocumentWrite
from tests.unit.state.builders import (
    STAMPED,
    completed,
    create_write,
    created,
    end_write,
    event,
    event_write,
    failed,
)

from .applying import found_by

DUPLICATE_KEY = 11000


def content(found: Sequence[RawBSONDocument]) -> list[dict[str, Any]]:
    """The documents as plain values, without what only a server adds."""
    documents = [bson.decode(bytes(document.raw)) for document in found]
    for document in documents:
        document.pop("_id", None)
    return documents


async def upsert(collections: Collections, *writes: DocumentWrite | ActivityWrite) -> BulkReply:
    return await collections.upsert(SESSIONS, [update_of(one) for one in writes])


def keys(reply: BulkReply) -> dict[int, tuple[int, tuple[str, ...] | None]]:
    return {index: (failure.code, failure.key) for index, failure in reply.failures.items()}


async def test_an_event_is_stored_as_the_bytes_it_was_sent(collections: Collections) -> None:
    written = event_write(event("s", "e", {"z": 1, "a": {"$date": "x"}, "b": [1.0, -0.0]}))
    reply = await collections.insert(EVENTS, [written.document])
    assert reply == BulkReply()
    (stored,) = await found_by(collections.find(EVENTS, ["s"], ["e"]))
    assert stored["payload"].raw == written.content["payload"].raw
    assert content([stored]) == content([written.content])


async def test_names_that_mean_something_elsewhere_are_stored_inert(
    collections: Collections,
) -> None:
    inert = {"$ref": "c", "$id": 1, "$db": "d"}
    payload = {"$set": {"a.b": 1}, "_id": 2, "": 3, "__proto__": {}, "z": inert, "l": [inert]}
    written, created_with = (
        event_write(event("s", "e", payload)),
        create_write(created("s", metadata=payload)),
    )
    assert await collections.insert(EVENTS, [written.document]) == BulkReply()
    assert await upsert(collections, created_with) == BulkReply()
    (found,) = await found_by(collections.find(EVENTS, ["s"], ["e"]))
    (session,) = await found_by(collections.find(SESSIONS, ["s"]))
    assert same_value(found["payload"], written.content["payload"])
    assert same_value(session["metadata"], written.content["payload"])


async def test_events_whose_place_is_taken_are_told_by_index_and_key(
    collections: Collections,
) -> None:
    first, second, third = (event_write(event("s", name)).document for name in "abc")
    await collections.insert(EVENTS, [first, third])
    reply = await collections.insert(EVENTS, [third, second, first, second])
    taken = (DUPLICATE_KEY, key_of(EVENTS))
    assert keys(reply) == {0: taken, 2: taken, 3: taken}
    assert reply.write_concern_code is None
    found = await found_by(collections.find(EVENTS, ["s"], ["a", "b", "c", "missing"]))
    assert sorted(document["eventId"] for document in found) == ["a", "b", "c"]


async def test_events_are_found_in_their_own_session_only(collections: Collections) -> None:
    await collections.insert(EVENTS, [event_write(event(name, "e")).document for name in "st"])
    (found,) = await found_by(collections.find(EVENTS, ["s"], ["e"]))
    assert found["sessionId"] == "s"
    assert list(await found_by(collections.find(EVENTS, ["u"], ["e"]))) == []


async def test_events_of_several_sessions_are_found_by_all_ids_at_once(
    collections: Collections,
) -> None:
    pairs = [("s", "a"), ("s", "b"), ("t", "c"), ("t", "a"), ("u", "a")]
    await collections.insert(EVENTS, [event_write(event(*pair)).document for pair in pairs])
    found = await found_by(collections.find(EVENTS, ["s", "t"], ["a", "c"]))
    assert sorted((document["sessionId"], document["eventId"]) for document in found) == [
        ("s", "a"),
        ("t", "a"),
        ("t", "c"),
    ]


async def test_a_stored_event_is_its_bytes_behind_an_id(collections: Collections) -> None:
    written = event_write(event("s", "e", {"z": 1, "a": [1.5, None]})).document
    await collections.insert(EVENTS, [written])
    async for (found,) in collections.find(EVENTS, ["s"], ["e"]):
        assert behind_id(found) == behind_length(written)


async def test_ids_are_compared_byte_by_byte(collections: Collections) -> None:
    names = ["e", "E", " e", "é", "e\u0301", "e\n", "$e", "e.e"]
    reply = await collections.insert(EVENTS, [event_write(event("s", n)).document for n in names])
    assert reply == BulkReply()
    found = await found_by(collections.find(EVENTS, ["s"], names))
    assert sorted(document["eventId"] for document in found) == sorted(names)


async def test_an_upsert_creates_and_then_its_guard_rejects_it(collections: Collections) -> None:
    written = create_write(created("s", metadata={"$set": {"a.b": 1}}))
    assert await upsert(collections, written) == BulkReply()
    reply = await upsert(collections, written)
    assert keys(reply) == {0: (DUPLICATE_KEY, key_of(SESSIONS))}
    (stored,) = await found_by(collections.find(SESSIONS, ["s"]))
    assert content([stored]) == [
        {"sessionId": "s", "status": "initiated", **content([written.content])[0]}
    ]


async def test_an_update_only_adds_the_fields_of_its_kind(collections: Collections) -> None:
    create, end = create_write(created("s")), end_write(completed("s", event_count=3))
    await upsert(collections, end)
    await upsert(collections, create)
    assert keys(await upsert(collections, ActivityWrite("s"))) == {
        0: (DUPLICATE_KEY, key_of(SESSIONS))
    }
    (stored,) = await found_by(collections.find(SESSIONS, ["s"]))
    assert content([stored]) == [
        {"sessionId": "s", **content([create.content])[0], **content([end.content])[0]}
    ]


async def test_failures_of_upserts_are_told_by_index(collections: Collections) -> None:
    await upsert(collections, end_write(failed("b")))
    reply = await upsert(
        collections,
        create_write(created("a")),
        end_write(completed("b")),
        ActivityWrite("b"),
        ActivityWrite("c"),
        create_write(created("c")),
        end_write(completed("c")),
        end_write(failed("c")),
    )
    rejected = (DUPLICATE_KEY, key_of(SESSIONS))
    assert keys(reply) == {1: rejected, 2: rejected, 6: rejected}
    found = await found_by(collections.find(SESSIONS, ["a", "b", "c", "missing"]))
    assert {document["sessionId"]: document["status"] for document in found} == {
        "a": "initiated",
        "b": "failed",
        "c": "completed",
    }


async def test_a_session_known_by_its_events_only_does_not_keep_its_creation_out(
    collections: Collections,
) -> None:
    await upsert(collections, ActivityWrite("s"))
    assert await upsert(collections, create_write(created("s"))) == BulkReply()
    (stored,) = await found_by(collections.find(SESSIONS, ["s"]))
    assert stored["status"] == "active"


async def test_the_latest_expiry_stands_in_whatever_order_it_comes(
    collections: Collections,
) -> None:
    early, late = STAMPED, STAMPED.replace(hour=11)
    for session_id, order in (("s", (early, late)), ("t", (late, early))):
        first, second = order
        await upsert(collections, ActivityWrite(session_id, first))
        end = replace(end_write(completed(session_id)), expire_at=second)
        await upsert(collections, end)
    found = content(await found_by(collections.find(SESSIONS, ["s", "t"])))
    assert [document["expireAt"] for document in found] == [late.replace(tzinfo=None)] * 2


async def test_a_document_with_a_hundred_levels_is_stored(collections: Collections) -> None:
    payload: dict[str, Any] = {"innermost": 1}
    for _ in range(98):
        payload = {"a": payload}
    written = event_write(event("s", "e", payload))
    assert await collections.insert(EVENTS, [written.document]) == BulkReply()
    create = create_write(created("s", metadata=payload))
    assert await upsert(collections, create) == BulkReply()
    assert content(await found_by(collections.find(SESSIONS, ["s"])))[0]["metadata"] == payload


async def test_more_documents_than_one_answer_holds_are_found(collections: Collections) -> None:
    names = [f"e{number}" for number in range(450)]
    await collections.insert(EVENTS, [event_write(event("s", name)).document for name in names])
    found = await found_by(collections.find(EVENTS, ["s"], names))
    assert sorted(document["eventId"] for document in found) == sorted(names)


async def test_concurrent_commands_are_answered_each_on_its_own(collections: Collections) -> None:
    replies = await asyncio.gather(
        *(
            collections.insert(EVENTS, [event_write(event("s", "e"), offset).document])
            for offset in range(8)
        )
    )
    assert sorted(len(reply.failures) for reply in replies) == [0] + [1] * 7
