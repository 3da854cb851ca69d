"""Without the indexes that the design relies on nothing is consumed."""

from __future__ import annotations

import pytest

from consumer.checks import CheckStatus
from consumer.mongo.indexes import Index, check_index, check_others, required_indexes
from consumer.settings.model import MongoSettings


@pytest.mark.parametrize("required", required_indexes(MongoSettings()), ids=lambda one: one.name)
def test_an_index_that_is_missing_forbids_the_start_and_its_creation_is_named(
    required: Index,
) -> None:
    result = check_index(required, [{"name": "_id_", "key": {"_id": 1}}])
    assert (result.status, result.detail) == (CheckStatus.FAILED, "is missing")
    assert f'db.getCollection("{required.collection}").createIndex(' in result.fix
    assert ('"unique": true' in result.fix) is required.unique


def test_what_is_relied_on_is_unique() -> None:
    unique = [index.fields for index in required_indexes(MongoSettings()) if index.unique]
    assert unique == [("sessionId",), ("sessionId", "eventId")]


@pytest.mark.parametrize(
    ("collection", "called"),
    [
        ("session-ratings", 'db.getCollection("session-ratings")'),
        ('a_"b', 'db.getCollection("a_\\"b")'),
    ],
)
def test_what_a_fix_says_to_type_means_the_collection(collection: str, called: str) -> None:
    required = Index(collection, ("sessionId", "rating-id"), unique=True)
    key = '{"sessionId": 1, "rating-id": 1}'
    creation = f'create it: {called}.createIndex({key}, {{"unique": true}})'
    assert check_index(required, []).fix == creation
    found = {"name": "x", "key": required.key}
    assert f"{called}.createIndex({key}, " in check_index(required, [found]).fix
    assert (
        required.absence_query()
        == f'{called}.find({{"$or": [{{"sessionId": null}}, {{"rating-id": null}}]}})'
    )
    group = '{"$group": {"_id": {"sessionId": "$sessionId", "rating-id": "$rating-id"}, '
    assert required.duplicates_query().startswith(f"{called}.aggregate([{group}")
    deletes = {"name": "expireAt_1", "key": {"expireAt": 1}, "expireAfterSeconds": 0}
    (other,) = check_others(collection, [required], [deletes])
    assert other.fix == f'to keep them: {called}.dropIndex("expireAt_1")'
