"""Nothing over MongoDB's limit is ever sent: its answer to that is no code of its own."""

from __future__ import annotations

from collections.abc import Callable

import bson
import pytest

from consumer.contract.json_text import MAX_DOCUMENT_BYTES
from consumer.contract.messages import Message
from consumer.contract.rejection import Rejected
from consumer.mongo.store import MongoStore
from consumer.state.bson_compare import SERVER_ID_BYTES
from consumer.state.guards import update_of
from consumer.state.writes import (
    MAX_CREATE_BYTES,
    MAX_END_BYTES,
    MAX_EVENT_BYTES,
    DocumentWrite,
    EventWrite,
    plan,
)
from tests.adapters.mongo.applying import apply
from tests.fakes.collections import Command, MemoryCollections
from tests.unit.state.builders import created, event, failed, record, write

LONGEST_ID = "\U0001f600" * 256


def around(message: Callable[[str], Message], most: int) -> range:
    """Lengths of text around the one with which a write is as large as it may be."""
    spare = most - len(write(message("")).content.raw)
    return range(spare - 2, spare + 3)


@pytest.mark.parametrize("session_id", ["s", LONGEST_ID])
@pytest.mark.parametrize("kind", ["event", "creation", "end"])
@pytest.mark.reliability("F76")
def test_nothing_over_the_limit_is_ever_sent(session_id: str, kind: str) -> None:
    def make(text: str) -> Message:
        match kind:
            case "event":
                return event(session_id, "e", {"t": text})
            case "creation":
                return created(session_id, metadata={"t": text})
            case _:
                return failed(session_id, reason=text)

    most = {"event": MAX_EVENT_BYTES, "creation": MAX_CREATE_BYTES, "end": MAX_END_BYTES}[kind]
    planned = [plan(make("x" * length), record(0)) for length in around(make, most)]
    refused = [isinstance(one, Rejected) for one in planned]
    assert refused == [False, False, False, True, True]
    for one in planned:
        if isinstance(one, EventWrite):
            assert len(one.content.raw) + SERVER_ID_BYTES <= MAX_DOCUMENT_BYTES
        elif isinstance(one, DocumentWrite):
            sent = bson.encode({"q": update_of(one).filter, "u": update_of(one).update})
            assert len(sent) <= MAX_DOCUMENT_BYTES


@pytest.mark.reliability("F76")
def test_a_creation_and_an_end_as_large_as_may_be_fit_one_document() -> None:
    frame = bson.encode(
        {"_id": bson.ObjectId(), "sessionId": LONGEST_ID, "expireAt": 1, "status": "initiated"}
    )
    assert MAX_CREATE_BYTES + MAX_END_BYTES + len(frame) <= MAX_DOCUMENT_BYTES


async def test_the_documents_of_one_command_weigh_no_more_than_it_can_carry() -> None:
    collections = MemoryCollections()
    batch = [write(event("s", f"e{n}", {"t": "x" * 5_000_000}), n) for n in range(7)]
    batch += [write(created(f"s{n}", metadata={"t": "x" * 9_000_000}), 7 + n) for n in range(2)]
    await apply(MongoStore(collections), batch)
    assert collections.sizes(Command.INSERT_EVENTS) == [3, 3, 1]
    assert collections.sizes(Command.UPDATE_SESSIONS) == [1, 2]
