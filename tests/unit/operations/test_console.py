"""What the commands print of stored documents."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import bson

from consumer.operations.console import to_json

MOMENT = datetime(2026, 3, 4, 10, 0, 5, 250_000, tzinfo=UTC)


def test_an_object_that_looks_like_a_reference_is_printed_as_the_object_it_is() -> None:
    payload = {"said": [{"$ref": "a", "$id": {"n": 1}, "at": MOMENT}]}
    printed = json.loads(to_json(bson.decode(bson.encode({"payload": payload}))))
    (said,) = printed["payload"]["said"]
    assert said["$ref"] == "a"
    assert said["$id"] == {"n": 1}


def test_times_are_rfc_3339_in_utc() -> None:
    assert json.loads(to_json({"at": MOMENT})) == {"at": "2026-03-04T10:00:05.250Z"}
