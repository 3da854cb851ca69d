"""The stored state depends on the set of messages, not on order, number, batches or writers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations, product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.contract.record import Record
from tests import builders
from tests.properties.strategies import Message, delivered, messages
from tests.properties.writers import Writers
from tests.simulation.store import StoreTroubles

FAULTY = StoreTroubles(
    interrupted=0.2, write_concern=0.2, throttled=0.2, deposed=0.2, interleaved=0.7
)


@st.composite
def deliveries(draw: st.DrawFn, records: Sequence[Record]) -> list[list[list[Record]]]:
    """Every record at least once, in any order, any batches and by any of several writers."""
    again = draw(st.lists(st.sampled_from(list(records)), max_size=8))
    order = draw(st.permutations([*records, *again]))
    works: list[list[list[Record]]] = [[[]] for _ in range(draw(st.integers(1, 3)))]
    for record in order:
        work = draw(st.sampled_from(works))
        if draw(st.booleans()):
            work.append([])
        work[-1].append(record)
    return works


@given(data=st.data(), said=messages, seed=st.integers(0, 2**32), faulty=st.booleans())
@settings(max_examples=250, deadline=None)
def test_any_order_number_and_batching_by_any_writers_gives_the_models_documents(
    data: st.DataObject, said: list[Message], seed: int, faulty: bool
) -> None:
    pairs = [delivered(message, offset) for offset, message in enumerate(said)]
    works = data.draw(deliveries([record for record, _ in pairs]))
    writers = Writers(seed, replace(FAULTY) if faulty else None, loss=0.2 if faulty else 0.0)
    writers.apply(works)
    # No writer knows of an order, so each record may be the first of its place.
    sent = [replace(one, log=number) for number, (_, one) in enumerate(pairs)]
    assert writers.problems(sent) == []


@given(data=st.data(), said=messages, seed=st.integers(0, 2**32), faulty=st.booleans())
@settings(max_examples=150, deadline=None)
def test_in_one_partition_the_first_by_offset_wins_whatever_the_batches(
    data: st.DataObject, said: list[Message], seed: int, faulty: bool
) -> None:
    pairs = [delivered(message, offset) for offset, message in enumerate(said)]
    batches: list[list[Record]] = [[]]
    for record, _ in pairs:
        if data.draw(st.booleans()):
            batches.append([])
        batches[-1].append(record)
    # A replay that begins anywhere in between changes nothing.
    batches += batches[data.draw(st.integers(0, len(batches))) :]
    writers = Writers(seed, replace(FAULTY) if faulty else None)
    writers.apply([batches])
    # One writer reads both topics, in which these messages have their places by offset.
    assert writers.problems([sent for _, sent in pairs]) == []


STORIES: tuple[tuple[str, list[dict[str, Any]]], ...] = (
    (
        "one life",
        [
            builders.created(),
            builders.event("s", "e1"),
            builders.event("s", "e2"),
            builders.completed(eventCount=2),
        ],
    ),
    (
        "everything twice",
        [
            builders.created(),
            builders.created(),
            builders.event("s", "e1"),
            builders.event("s", "e1"),
            builders.completed(),
        ],
    ),
    (
        "contradictions",
        [
            builders.created(language="en"),
            builders.created(language="fr"),
            builders.event("s", "e1", payload={"n": 1}),
            builders.event("s", "e1", payload={"n": 1.0}),
        ],
    ),
    ("two ends", [builders.completed(), builders.failed(), builders.event("s", "e1")]),
    (
        "times that only some carry",
        [
            builders.event(timestamp=None),
            builders.event(timestamp="2026-03-04T10:05:01Z"),
            builders.event(timestamp="2026-03-04T10:05:02Z"),
        ],
    ),
)


def batchings(records: Sequence[Record]) -> list[list[list[Record]]]:
    """All ways to cut the records into batches, in their order."""
    found = []
    for cuts in product((False, True), repeat=len(records) - 1):
        batches = [[records[0]]]
        for cut, record in zip(cuts, records[1:], strict=True):
            if cut:
                batches.append([])
            batches[-1].append(record)
        found.append(batches)
    return found


@pytest.mark.parametrize(
    "story", [story for _, story in STORIES], ids=[name for name, _ in STORIES]
)
def test_every_permutation_in_every_batching_gives_the_models_documents(
    story: list[dict[str, Any]],
) -> None:
    pairs = [delivered(message, offset) for offset, message in enumerate(story)]
    sent = [replace(one, log=number) for number, (_, one) in enumerate(pairs)]
    for order in permutations([record for record, _ in pairs]):
        for batches in batchings(order):
            writers = Writers(0, StoreTroubles(interleaved=0.0))
            writers.apply([batches])
            assert writers.problems(sent) == [], [[r.offset for r in batch] for batch in batches]


@pytest.mark.reliability("F40")
def test_a_replay_of_everything_changes_no_byte() -> None:
    story = [*STORIES[0][1], *STORIES[2][1], *STORIES[3][1]]
    records = [delivered(message, offset)[0] for offset, message in enumerate(story)]
    writers = Writers(0)
    writers.apply([[records]])
    before = writers.database.memory.documents()
    again = Writers(1)
    again.database.memory = writers.database.memory
    again.apply([[[record] for record in records], [records]])
    assert again.database.memory.documents() == before
    assert "applied" not in again.outcomes
