"""Older messages are stored as the newest; later ones wait for an upgrade as dead letters."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from consumer.contract.asyncapi import EXAMPLES, TopicNames, asyncapi_document
from consumer.contract.encode import message_fields
from consumer.contract.json_schemas import message_schema
from consumer.contract.kinds import EVENT_RECORDED, SESSION_COMPLETED
from consumer.contract.messages import Fields, MessageKind
from consumer.contract.record import Record
from consumer.contract.rejection import Reason
from consumer.state.fast_path import plan_quickly
from consumer.state.writes import Write, plan
from tests.own_kinds import upcasting
from tests.unit.contract.builders import (
    COMPLETED,
    EVENT,
    binary,
    decoded,
    reason,
    record,
    refusal,
    structured,
    without,
)

SECOND = EVENT | {"schemaVersion": 2}
FIRST = without(EVENT, "payload", "eventType") | {"said": "hello", "by": "user"}
"""The same event, had version 1 had other fields."""


def said_to_payload(fields: Fields) -> Fields:
    """Read a first version that names who speaks and what is said."""
    kept = without(fields, "said", "by")
    return kept | {"eventType": fields["by"] + "_speech", "payload": {"text": fields["said"]}}


@pytest.fixture
def two_versions() -> Iterator[None]:
    """Events have a second version."""
    with upcasting(EVENT_RECORDED, said_to_payload):
        yield


def written(source: Record) -> Write:
    write = plan(decoded(source), source)
    assert isinstance(write, Write)
    return write


@pytest.mark.reliability("F100")
@pytest.mark.usefixtures("two_versions")
@pytest.mark.parametrize(
    "older",
    [
        record(FIRST),
        record(FIRST | {"schemaVersion": None}),
        record(FIRST | {"schemaVersion": 1}),
        binary(without(FIRST, "type"), type=b"com.example.event.recorded"),
        binary(without(FIRST, "type"), type=b"com.example.event.recorded.v1"),
        structured(data=FIRST),
        structured(data=FIRST | {"schemaVersion": 1}, type="event.recorded"),
    ],
)
def test_an_older_version_is_stored_as_the_newest(older: Record) -> None:
    assert written(older) == written(record(SECOND))
    assert plan_quickly(older, None, 1_000_000) is None


@pytest.mark.reliability("F100")
@pytest.mark.usefixtures("two_versions")
@pytest.mark.parametrize(
    "newest",
    [
        record(SECOND),
        binary(EVENT, type=b"event.recorded.v2"),
        binary(SECOND, type=b"event.recorded"),
        structured(data=SECOND, type="com.example.event.recorded.v2"),
    ],
)
def test_the_newest_version_is_read_as_it_is_and_fast(newest: Record) -> None:
    assert written(newest) == written(record(SECOND))
    assert plan_quickly(newest, None, 1_000_000) == written(newest)


def test_nothing_of_the_version_is_stored() -> None:
    assert written(record(EVENT | {"schemaVersion": 1})) == written(record(EVENT))


def test_each_upcaster_goes_one_version_further() -> None:
    def counted(fields: Fields) -> Fields:
        return without(fields, "events") | {"eventCount": fields["events"]}

    def renamed(fields: Fields) -> Fields:
        return without(fields, "ended") | {"endedAt": fields["ended"]}

    with upcasting(SESSION_COMPLETED, counted, renamed):
        second = without(COMPLETED, "endedAt") | {"ended": COMPLETED["endedAt"], "schemaVersion": 2}
        first = without(second, "eventCount", "schemaVersion") | {"events": 3}
        third = decoded(record(COMPLETED | {"schemaVersion": 3}))
        assert decoded(record(first)) == decoded(record(second)) == third
        assert reason(record(COMPLETED | {"schemaVersion": 4})) is Reason.UNSUPPORTED_VERSION


def test_the_upcaster_of_the_document_reads_what_it_says() -> None:
    document = (Path(__file__).parents[3] / "docs" / "contract.md").read_text("utf-8")
    (source,) = re.findall(r"```python\nupcasters = (.*?)```", document, re.DOTALL)
    first = without(COMPLETED, "eventCount") | {"events": 3}
    with upcasting(SESSION_COMPLETED, *eval(source)):  # noqa: S307 -- ours
        assert decoded(record(first)) == decoded(record(COMPLETED | {"schemaVersion": 2}))


@pytest.mark.reliability("F100")
@pytest.mark.parametrize("versions", [1, 2])
def test_what_is_later_says_to_upgrade_and_redrive(
    versions: int, request: pytest.FixtureRequest
) -> None:
    if versions == 2:
        request.getfixturevalue("two_versions")
    for later in (
        record(EVENT | {"schemaVersion": versions + 1, "payload": "of another kind"}),
        binary(EVENT, type=f"event.recorded.v{versions + 1}".encode()),
    ):
        refused = refusal(later)
        assert refused.reason is Reason.UNSUPPORTED_VERSION
        assert refused.detail == (
            f"schemaVersion: later than {versions}, the newest that is known here: "
            "upgrade the consumer, then redrive"
        )
        assert plan_quickly(later, None, 1_000_000) is None


def test_a_type_of_event_of_a_later_version_says_so_too() -> None:
    refused = refusal(record(SECOND | {"eventType": "tool_call"}))
    assert refused.reason is Reason.UNSUPPORTED_TYPE
    assert "upgrade the consumer" in refused.detail
    unknown = refusal(record(EVENT | {"eventType": "tool_call"}))
    assert "upgrade" not in unknown.detail


@pytest.mark.usefixtures("two_versions")
def test_a_message_without_a_version_is_of_the_first_whatever_it_looks_like() -> None:
    assert reason(record(EVENT)) is Reason.INVALID


@pytest.mark.usefixtures("two_versions")
@pytest.mark.parametrize(("named", "stated"), [("v1", 2), ("v2", 1)])
def test_two_versions_that_differ_are_invalid(named: str, stated: int) -> None:
    for data in (EVENT, FIRST):
        differing = binary(
            data | {"schemaVersion": stated}, type=f"event.recorded.{named}".encode()
        )
        refused = refusal(differing)
        assert refused.reason is Reason.INVALID
        assert "type: its version must be schemaVersion" in refused.detail
        assert plan_quickly(differing, None, 1_000_000) is None


@pytest.mark.reliability("F100")
@pytest.mark.usefixtures("two_versions")
@pytest.mark.parametrize("wrong", [without(FIRST, "said"), FIRST | {"by": 5}, FIRST | {"by": []}])
def test_what_no_upcaster_can_read_is_invalid_alone_and_no_value_is_quoted(
    wrong: dict[str, Any],
) -> None:
    refused = refusal(record(wrong | {"secret": "secret"}))
    assert refused.reason is Reason.INVALID
    assert re.fullmatch(r"schemaVersion: 1 was not read as 2: \w+Error", refused.detail)


@pytest.mark.reliability("F100")
@pytest.mark.parametrize("made", [None, ["fields"], "fields"])
@pytest.mark.parametrize("at", [1, 2])
def test_an_upcaster_that_returns_no_fields_makes_a_message_invalid_and_is_named(
    made: Any, at: int
) -> None:
    upcasters = [Mock(return_value=made if version == at else dict(EVENT)) for version in (1, 2)]
    with upcasting(EVENT_RECORDED, *upcasters):
        refused = refusal(record(EVENT))
    assert refused.reason is Reason.INVALID
    assert refused.detail == (
        f"schemaVersion: 1 was not read as 3: the upcaster of version {at} must return an object"
    )


def test_an_upcaster_that_hides_that_it_is_asynchronous_returns_no_fields() -> None:
    async def later(fields: Fields) -> Fields:
        return fields

    with upcasting(EVENT_RECORDED, lambda _: later(EVENT)):  # type: ignore[arg-type,return-value]  # on purpose
        assert refusal(record(EVENT)).detail.endswith("must return an object")


@pytest.mark.usefixtures("two_versions")
def test_what_an_upcaster_makes_is_validated() -> None:
    assert refusal(record(FIRST | {"sessionId": 5})).detail == "sessionId: must be text"
    unknown = refusal(record(FIRST | {"by": "nobody"}))
    assert unknown.reason is Reason.UNSUPPORTED_TYPE


@pytest.mark.usefixtures("two_versions")
def test_the_newest_version_is_written_and_described() -> None:
    message = EXAMPLES[MessageKind.EVENT_RECORDED]
    fields = message_fields(message)
    assert fields["schemaVersion"] == 2
    assert decoded(record(json.dumps(fields).encode())) == message
    schema = message_schema(MessageKind.EVENT_RECORDED)
    assert schema["properties"]["schemaVersion"]["const"] == 2
    assert "schemaVersion" in schema["required"]
    described = asyncapi_document(TopicNames("s", "e", "d"), "1.0")["components"]["schemas"]
    pattern = described["EventRecordedEnvelope"]["properties"]["type"]["pattern"]
    assert re.search(pattern, "com.example.event.recorded.v2")
    assert not re.search(pattern, "com.example.event.recorded.v1")
    assert "schemaVersion" not in message_fields(EXAMPLES[MessageKind.SESSION_CREATED])
