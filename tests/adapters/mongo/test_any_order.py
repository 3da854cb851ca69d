"""Whatever the order and number of messages, the same documents are left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import permutations, product
from typing import Any

import pytest

from consumer.mongo.collections import Collections
from consumer.mongo.store import MongoStore
from consumer.state.outcomes import Outcome
from consumer.state.writes import Write
from tests.fakes.collections import MemoryCollections
from tests.unit.state.builders import (
    ENDED,
    SPOKEN,
    STARTED,
    at,
    completed,
    created,
    event,
    record,
    write,
)

from .applying import apply, state
from .conftest import Server

TOPICS = ("conversation.sessions", "conversation.events")

Delivery = tuple[str, Any, str]
"""A session, its message, and the topic it comes through."""


def messages(session_id: str) -> tuple[Any, ...]:
    return (
        created(session_id),
        event(session_id, "e1", {"text": "one"}),
        event(session_id, "e2", {"text": "two"}, timestamp=at(2)),
        completed(session_id, event_count=2),
    )


def doubled(order: Sequence[Delivery], how: str) -> list[Delivery]:
    if how == "each at once":
        return [delivery for delivery in order for _ in range(2)]
    if how == "all again":
        return [*order, *order]
    return [*order, *reversed(order)]


def deliveries(how: str) -> Iterator[list[Delivery]]:
    """All 24 orders of a session's four messages, doubled, split over two topics every way."""
    number = 0
    for order in permutations(range(4)):
        for topics in product(TOPICS, repeat=4):
            session_id = f"s{number}"
            number += 1
            session = messages(session_id)
            yield doubled([(session_id, session[n], topics[n]) for n in order], how)


def in_offset_order(steps: Sequence[Delivery], offsets: Counter[str]) -> list[Write]:
    """Give the deliveries positions: each topic counts its own."""
    writes = []
    for _, message, topic in steps:
        writes.append(write(message, record(offsets[topic], topic=topic)))
        offsets[topic] += 1
    return writes


def split(session: Sequence[Delivery], cut: str) -> list[list[Delivery]]:
    """Cut a session's deliveries into batches."""
    if cut == "one by one":
        return [[delivery] for delivery in session]
    if cut == "in one batch":
        return [list(session)]
    first = [delivery for delivery in session if delivery[2] == TOPICS[0]]
    second = [delivery for delivery in session if delivery[2] == TOPICS[1]]
    return [first, second] if cut == "topic by topic" else [second, first]


def expected(session_id: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    naive = {"tzinfo": None}
    return {
        "sessionId": session_id,
        "status": "completed",
        "language": "en",
        "metadata": {"caller": "x"},
        "startedAt": STARTED.replace(**naive),  # type: ignore[arg-type]  # one name, one value
        "endedAt": ENDED.replace(**naive),  # type: ignore[arg-type]  # likewise
        "eventCount": 2,
    }, {
        event_id: {
            "sessionId": session_id,
            "eventId": event_id,
            "type": "user_speech",
            "payload": {"text": text},
            "timestamp": time.replace(tzinfo=None),
        }
        for event_id, text, time in (("e1", "one", SPOKEN), ("e2", "two", at(2)))
    }


HOWS = ("each at once", "all again", "there and back")
CUTS = ("one by one", "in one batch", "topic by topic", "other topic first")


@pytest.mark.parametrize(("how", "cut"), list(product(HOWS, CUTS)))
async def test_every_order_doubled_and_split_leaves_the_same_documents_in_memory(
    how: str, cut: str
) -> None:
    await leave_the_same_documents(MemoryCollections(), how, cut)


@pytest.mark.parametrize(
    ("how", "cut"), [("there and back", "one by one"), ("all again", "topic by topic")]
)
async def test_every_order_doubled_and_split_leaves_the_same_documents_on_a_server(
    prepared: Server, how: str, cut: str
) -> None:
    await leave_the_same_documents(prepared.collections(), how, cut)


async def leave_the_same_documents(collections: Collections, how: str, cut: str) -> None:
    # All sessions go side by side: the n-th batches of all of them make one batch.
    sessions = list(deliveries(how))
    batches = [split(session, cut) for session in sessions]
    store = MongoStore(collections)
    offsets: Counter[str] = Counter()
    ended: Counter[Outcome] = Counter()
    for number in range(max(map(len, batches))):
        steps = [step for parts in batches if number < len(parts) for step in parts[number]]
        results = await apply(store, in_offset_order(steps, offsets))
        ended.update(result.outcome for result in results)
        if number % 2:
            store.forget()
    assert ended == {Outcome.APPLIED: 4 * 384, Outcome.DUPLICATE: 4 * 384}
    found_sessions, found_events = await state(
        collections, (session[0][0] for session in sessions), ("e1", "e2")
    )
    assert len(found_sessions) == 384
    assert len(found_events) == 768
    for session_id, found in found_sessions.items():
        session, events = expected(session_id)
        assert found == session
        assert {name: found_events[session_id, name] for name in events} == events


async def test_each_session_alone_in_every_order_too() -> None:
    for how, cut in product(("each at once", "all again"), ("one by one", "in one batch")):
        for session in deliveries(how):
            collections = MemoryCollections()
            store = MongoStore(collections)
            offsets: Counter[str] = Counter()
            for batch in split(session, cut):
                await apply(store, in_offset_order(batch, offsets))
            session_id = session[0][0]
            found_sessions, found_events = await state(collections, [session_id], ("e1", "e2"))
            document, events = expected(session_id)
            assert found_sessions == {session_id: document}
            assert found_events == {(session_id, name): found for name, found in events.items()}
