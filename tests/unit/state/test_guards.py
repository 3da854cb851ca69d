from __future__ import annotations

from datetime import timedelta
from itertools import product
from typing import Any

import bson
import pytest

from consumer.state.bson_compare import raw_document
from consumer.state.guards import has_place_taken, update_of
from consumer.state.writes import ActivityWrite, DocumentWrite
from tests.fakes.collections import _matches

from .builders import STAMPED, at, completed, create_write, created, end_write, failed, write

CREATE = create_write(created())
COMPLETE = end_write(completed())
FAIL = end_write(failed())
ACTIVITY = ActivityWrite("s")

ABSENT = object()
STATUSES = [ABSENT, None, "initiated", "active", "completed", "failed", "unheard of", 3]
STARTED = [ABSENT, None, at(0)]


def stored(status: object, started_at: object) -> dict[str, Any]:
    document = {"sessionId": "s", "status": status, "startedAt": started_at}
    return {name: value for name, value in document.items() if value is not ABSENT}


@pytest.mark.parametrize(
    ("guarded", "status", "holds"),
    [
        (ACTIVITY, ABSENT, True),
        (ACTIVITY, None, True),
        (ACTIVITY, "initiated", True),
        (ACTIVITY, "active", False),
        (ACTIVITY, "completed", False),
        (ACTIVITY, "failed", False),
        (COMPLETE, ABSENT, True),
        (COMPLETE, "initiated", True),
        (COMPLETE, "active", True),
        (COMPLETE, "completed", False),
        (COMPLETE, "failed", False),
        (FAIL, "active", True),
        (FAIL, "completed", False),
        (FAIL, "failed", False),
    ],
)
def test_activity_and_end_apply_until_the_status_is_there(
    guarded: DocumentWrite | ActivityWrite, status: object, holds: bool
) -> None:
    for started_at in STARTED:
        document = raw_document(bson.encode(stored(status, started_at)))
        assert has_place_taken(guarded, document) is not holds


@pytest.mark.parametrize(("started_at", "holds"), [(ABSENT, True), (None, True), (at(0), False)])
def test_a_creation_applies_until_there_is_a_start(started_at: object, holds: bool) -> None:
    for status in STATUSES:
        document = raw_document(bson.encode(stored(status, started_at)))
        assert has_place_taken(CREATE, document) is not holds


@pytest.mark.parametrize("guarded", [CREATE, ACTIVITY, COMPLETE, FAIL])
def test_a_guard_holds_for_exactly_what_its_filter_matches(
    guarded: DocumentWrite | ActivityWrite,
) -> None:
    for status, started_at in product(STATUSES, STARTED):
        document = raw_document(bson.encode(stored(status, started_at)))
        condition = update_of(guarded).filter
        assert condition["sessionId"] == "s"
        assert has_place_taken(guarded, document) != _matches(dict(document.items()), condition)


def test_each_write_sets_its_own_fields_and_no_other() -> None:
    fields = {
        name: set(update_of(guarded).update["$set"])
        for name, guarded in (("create", CREATE), ("activity", ACTIVITY), ("end", COMPLETE))
    }
    assert fields == {
        "create": {"language", "metadata", "startedAt", "createdFrom"},
        "activity": {"status"},
        "end": {"status", "endedAt", "endedFrom"},
    }
    assert update_of(CREATE).update["$setOnInsert"] == {"status": "initiated"}


@pytest.mark.parametrize("guarded", [CREATE, ACTIVITY, COMPLETE, FAIL])
def test_no_write_says_more_when_it_is_said_twice(guarded: DocumentWrite | ActivityWrite) -> None:
    assert update_of(guarded).update.keys() <= {"$set", "$setOnInsert", "$max"}


def test_the_latest_expiry_of_all_writes_stands() -> None:
    kept = write(created(), 0, STAMPED + timedelta(days=3))
    assert isinstance(kept, DocumentWrite)
    assert update_of(kept).update["$max"] == {"expireAt": STAMPED + timedelta(days=3)}
    assert "$max" not in update_of(CREATE).update
    activity = ActivityWrite("s", STAMPED)
    assert update_of(activity).update["$max"] == {"expireAt": STAMPED}
