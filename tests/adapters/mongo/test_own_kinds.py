"""Kinds that a team adds, in memory and on a server, over both drivers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from typing import Any

import bson
import pytest

from consumer.checks import CheckStatus
from consumer.mongo.collections import Collections, WriteFailure
from consumer.mongo.indexes import required_indexes
from consumer.mongo.preflight import WRITING, check_grants
from consumer.mongo.store import MongoStore
from consumer.settings.model import MongoSettings
from consumer.state.outcomes import Outcome
from consumer.state.writes import Write
from tests.adapters.mongo.applying import found_by, outcomes
from tests.builders import record
from tests.fakes.collections import DUPLICATE_KEY, Command, Fault, MemoryCollections
from tests.own_kinds import ACME, SCORED, installed, rated, scored, summarized
from tests.unit.commands.planning import writes_of

APPLIED, SKIPPED, CONFLICT = Outcome.APPLIED, Outcome.SKIPPED, Outcome.CONFLICT
REDELIVERED, DUPLICATE = Outcome.REDELIVERED, Outcome.DUPLICATE


@pytest.fixture(scope="module", autouse=True)
def own() -> Iterator[None]:
    with installed(**ACME, **SCORED):
        yield


def writes(*messages: dict[str, Any], first: int = 0) -> list[Write]:
    return writes_of([record(one, offset) for offset, one in enumerate(messages, first)])


async def stored(collections: Collections, name: str, *ids: list[str]) -> list[dict[str, Any]]:
    found = [bson.decode(bytes(one.raw)) for one in await found_by(collections.find(name, *ids))]
    return [{k: v for k, v in one.items() if k not in {"_id", "from"}} for one in found]


async def test_the_first_of_an_identity_stays(collections: Collections) -> None:
    store = MongoStore(collections)
    first, other, same = writes(rated(stars=4), rated(stars=1), rated(stars=4))
    assert await outcomes(store, first, other, same) == [APPLIED, CONFLICT, DUPLICATE]
    assert await outcomes(store, first) == [REDELIVERED]
    assert await outcomes(store, other) == [CONFLICT]
    (found,) = await stored(collections, "session_ratings", ["s"], ["r"])
    assert found["stars"] == 4


@pytest.mark.reliability("F140")
async def test_the_newest_of_an_identity_stays_whole_in_every_order(
    collections: Collections,
) -> None:
    store = MongoStore(collections)
    for number, order in enumerate(permutations([1, 2, 3])):
        session_id = f"s{number}"
        topics = {1: ["a"], 2: ["b"], 3: None}
        said = [summarized(session_id, revision, topics=topics[revision]) for revision in order]
        for write in writes(*said):
            await outcomes(store, write)
        found = await stored(collections, "session_summaries", [session_id])
        assert found == [{"sessionId": session_id, "revision": 3, "text": "short"}]


async def test_an_older_version_is_skipped_and_the_same_one_judged(
    collections: Collections,
) -> None:
    store = MongoStore(collections)
    one, two, other, same = writes(
        summarized(revision=1),
        summarized(revision=2),
        summarized(revision=2, text="long"),
        summarized(revision=2),
    )
    assert await outcomes(store, two) == [APPLIED]
    found = await outcomes(store, one, two, other, same)
    assert found == [SKIPPED, REDELIVERED, CONFLICT, DUPLICATE]


async def test_all_versions_of_one_batch_leave_the_newest(collections: Collections) -> None:
    store = MongoStore(collections)
    said = [summarized(revision=revision) for revision in (2, 5, 1, 5, 3)]
    found = await outcomes(store, *writes(*said))
    assert found[1] is APPLIED
    assert found[3] is DUPLICATE
    assert set(found) <= {APPLIED, SKIPPED, DUPLICATE}
    (document,) = await stored(collections, "session_summaries", ["s"])
    assert document["revision"] == 5


async def test_a_newer_version_that_lost_the_race_to_insert_is_sent_again() -> None:
    memory = MemoryCollections()
    old, new = writes(summarized(revision=1), summarized(revision=2))

    def older_comes_first(collections: MemoryCollections) -> None:
        collections.others["session_summaries"]["s",] = old.content

    taken = WriteFailure(DUPLICATE_KEY, ("sessionId",))
    race = Fault(meanwhile=older_comes_first, failures={0: taken})
    memory.script(Command.UPSERT_OTHERS, race)
    assert await outcomes(MongoStore(memory), new) == [APPLIED]
    assert memory.sizes(Command.UPSERT_OTHERS) == [1, 1]


async def test_the_latest_time_stays_under_each_identity(collections: Collections) -> None:
    store = MongoStore(collections)
    early, late = "2026-03-04T10:09:00.001Z", "2026-03-04T10:09:00.002Z"
    said = [
        scored(part="a", judgedAt=late, score=1.5),
        scored(part="a", judgedAt=early),
        scored(part="b", judgedAt=early, score=2.5),
        scored("t", part="a", judgedAt=early, score=3.5),
        scored(part="a", judge="k", judgedAt=early, score=4.5),
    ]
    assert await outcomes(store, *writes(*said)) in (
        [APPLIED, SKIPPED, APPLIED, APPLIED, APPLIED],
        [APPLIED, APPLIED, APPLIED, APPLIED, APPLIED],
    )
    again = await outcomes(store, *writes(*said))
    assert again == [REDELIVERED, SKIPPED, REDELIVERED, REDELIVERED, REDELIVERED]
    found = await stored(collections, "session_scores", ["s"], ["j"], ["a", "b"])
    assert sorted((one["part"], one["score"]) for one in found) == [("a", 1.5), ("b", 2.5)]


def test_the_indexes_follow_from_the_declaration() -> None:
    needed = required_indexes(MongoSettings(retention_days=30))
    unique = {index.collection: index.fields for index in needed if index.unique}
    assert unique["session_scores"] == ("sessionId", "judge", "part")
    assert unique["session_summaries"] == ("sessionId",)
    expiring = {index.collection for index in needed if index.expires}
    assert {"session_ratings", "session_scores", "session_summaries"} < expiring


def test_grants_are_looked_at_on_every_collection() -> None:
    info = {
        "authenticatedUsers": [{"user": "consumer"}],
        "authenticatedUserPrivileges": [
            {"resource": {"db": "conversations", "collection": name}, "actions": [*WRITING]}
            for name in ("conversation_sessions", "conversation_events", "session_ratings")
        ],
    }
    settings = MongoSettings(create_indexes=False)
    results = {one.name: one.status for one in check_grants(settings, {"authInfo": info})}
    assert results["writing to session_ratings"] is CheckStatus.OK
    assert results["writing to session_scores"] is CheckStatus.FAILED
