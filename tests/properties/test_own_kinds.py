"""The stored state depends on the set of messages of a team's kinds, not on order or number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.contract.record import Record
from consumer.state.outcomes import Outcome
from tests.model import Sent
from tests.own_kinds import (
    ACME,
    GRADED,
    SCORED,
    graded,
    installed,
    meaning,
    rated,
    scored,
    summarized,
)
from tests.properties import strategies
from tests.properties.strategies import Message
from tests.properties.test_convergence import FAULTY, batchings, deliveries
from tests.properties.writers import Writers
from tests.simulation.store import StoreTroubles

sessions = st.sampled_from(["s0", "s1"])
ratings = st.builds(
    rated,
    sessions,
    st.sampled_from(["r0", "r1"]),
    stars=st.sampled_from([1, 4]),
    comment=st.sampled_from([None, "fine"]),
    ratedAt=st.sampled_from([None, "2026-03-04T10:05:01.250Z", "2026-03-04T10:07:00Z"]),
)
summaries = st.builds(
    summarized,
    sessions,
    st.sampled_from([-1, 0, 1, 2**40]),
    text=st.sampled_from(["short", "long"]),
    topics=st.none() | st.lists(st.sampled_from(["a", "b"]), max_size=2),
)
scores = st.builds(
    scored,
    sessions,
    st.sampled_from(["p0", "p1"]),
    score=st.sampled_from([0.5, 1.0]),
    judgedAt=st.sampled_from([None, "2026-03-04T10:05:01.250Z", "2026-03-04T10:07:00Z"]),
)
grades = st.builds(
    graded,
    sessions,
    st.sampled_from([None, False, True, 0.0, 1.0, "1", 0, 1, 2, 3]),
    st.sampled_from([None, 1, 1.0, True, "1"]),
)
own_messages = st.lists(ratings | summaries | scores | grades, min_size=1, max_size=8)


@pytest.fixture(scope="module", autouse=True)
def acme() -> Iterator[None]:
    with installed(**ACME, **SCORED, **GRADED):
        yield


def delivered(message: Message, offset: int) -> tuple[Record, Sent]:
    record, sent = strategies.delivered(message, offset)
    return record, replace(sent, says=meaning(message))


@pytest.mark.reliability("F140")
@given(data=st.data(), said=own_messages, seed=st.integers(0, 2**32), faulty=st.booleans())
@settings(max_examples=150, deadline=None)
def test_any_order_number_and_batching_by_any_writers_gives_the_models_documents_of_own_kinds(
    data: st.DataObject, said: list[Message], seed: int, faulty: bool
) -> None:
    pairs = [delivered(message, offset) for offset, message in enumerate(said)]
    works = data.draw(deliveries([record for record, _ in pairs]))
    writers = Writers(seed, replace(FAULTY) if faulty else None, loss=0.2 if faulty else 0.0)
    writers.apply(works)
    sent = [replace(one, log=number) for number, (_, one) in enumerate(pairs)]
    assert writers.problems(sent) == []


STORIES: dict[str, list[dict[str, Any]]] = {
    "revisions": [
        summarized(revision=1, topics=["a"]),
        summarized(revision=2),
        summarized(revision=3, topics=["b"]),
        summarized(revision=2),
    ],
    "contradictions": [
        summarized(revision=2, text="short"),
        summarized(revision=2, text="long"),
        summarized(revision=1),
        rated(stars=1),
        rated(stars=5),
    ],
    "times that only some carry": [rated(ratedAt=None), rated(), rated(ratedAt=None)],
    "versions by time": [
        scored(judgedAt=None),
        scored(judgedAt="2026-03-04T10:09:00Z", score=1.0),
        scored(judgedAt="2026-03-04T10:09:00Z"),
        scored(judgedAt=None),
    ],
    "revisions of other types": [
        graded(revision=1, note=1),
        graded(revision=True),
        graded(revision=2, note="1"),
        graded(revision=None),
        graded(revision=2.0),
    ],
}


@pytest.mark.reliability("F140")
@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
def test_every_permutation_of_own_kinds_in_every_batching_gives_the_models_documents(
    story: list[dict[str, Any]],
) -> None:
    pairs = [delivered(message, offset) for offset, message in enumerate(story)]
    sent = [replace(one, log=number) for number, (_, one) in enumerate(pairs)]
    for order in permutations([record for record, _ in pairs]):
        for batches in batchings(order):
            writers = Writers(0, StoreTroubles(interleaved=0.0))
            writers.apply([batches])
            assert writers.problems(sent) == [], [[r.offset for r in batch] for batch in batches]


@pytest.mark.reliability("F140")
def test_a_replay_of_own_kinds_changes_no_byte() -> None:
    messages = [message for story in STORIES.values() for message in story]
    records = [delivered(message, offset)[0] for offset, message in enumerate(messages)]
    writers = Writers(0)
    writers.apply([[records]])
    before = {
        name: {ids: bytes(one.raw) for ids, one in places.items()}
        for name, places in writers.database.memory.others.items()
    }
    writers.outcomes.clear()
    writers.apply([[[record] for record in reversed(records)]])
    after = {
        name: {ids: bytes(one.raw) for ids, one in places.items()}
        for name, places in writers.database.memory.others.items()
    }
    assert after == before
    assert Outcome.APPLIED not in writers.outcomes
