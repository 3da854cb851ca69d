"""Without the indexes that the design relies on nothing is consumed."""

from __future__ import annotations

import pytest

from consumer.findings import Status
from consumer.mongo.indexes import Index, check_index, required_indexes
from consumer.settings.groups import MongoSettings


@pytest.mark.parametrize("required", required_indexes(MongoSettings()), ids=lambda one: one.name)
def test_an_index_that_is_missing_forbids_the_start_and_its_creation_is_named(
    required: Index,
) -> None:
    finding = check_index(required, [{"name": "_id_", "key": {"_id": 1}}])
    assert (finding.status, finding.detail) == (Status.FAILED, "is missing")
    assert f"db.{required.collection}.createIndex(" in finding.cure
    assert ("unique: true" in finding.cure) is required.unique


def test_what_is_relied_on_is_unique() -> None:
    unique = [index.fields for index in required_indexes(MongoSettings()) if index.unique]
    assert unique == [("sessionId",), ("sessionId", "eventId")]
