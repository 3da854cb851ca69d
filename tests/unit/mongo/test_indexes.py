"""Without the indexes that the design relies on nothing is consumed."""

from __future__ import annotations

import pytest

from consumer.checks import CheckStatus
from consumer.mongo.indexes import Index, check_index, required_indexes
from consumer.settings.model import MongoSettings


@pytest.mark.parametrize("required", required_indexes(MongoSettings()), ids=lambda one: one.name)
def test_an_index_that_is_missing_forbids_the_start_and_its_creation_is_named(
    required: Index,
) -> None:
    result = check_index(required, [{"name": "_id_", "key": {"_id": 1}}])
    assert (result.status, result.detail) == (CheckStatus.FAILED, "is missing")
    assert f"db.{required.collection}.createIndex(" in result.fix
    assert ("unique: true" in result.fix) is required.unique


def test_what_is_relied_on_is_unique() -> None:
    unique = [index.fields for index in required_indexes(MongoSettings()) if index.unique]
    assert unique == [("sessionId",), ("sessionId", "eventId")]
