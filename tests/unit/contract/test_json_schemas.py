"""JSON Schemas and decoder take the same messages, but for what a schema cannot say."""

from __future__ import annotations

import json
from typing import Any, Final

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.contract.asyncapi import TopicNames, asyncapi_document
from consumer.contract.decode import Decoded, decode
from consumer.contract.json_schemas import message_schema
from consumer.contract.kinds import known_kinds
from consumer.contract.record import Record
from consumer.contract.rejection import KeyPolicy
from tests.own_kinds import ACME, installed
from tests.unit.contract.builders import (
    COMPLETED,
    CREATED,
    DATA,
    ENVELOPE,
    EVENT,
    FAILED,
    record,
    structured,
    without,
)

TIMES: Final = {
    "2026-03-04T10:00:05Z": True,  # Go's RFC3339, and Java's Instant in a full second
    "2026-03-04T10:00:05.123Z": True,  # JavaScript's toISOString
    "2026-03-04T10:00:05.1234567+00:00": True,  # .NET's round-trip form
    "2026-03-04T10:00:05.123456789-05:30": True,  # Java's OffsetDateTime, Go's RFC3339Nano
    "2026-03-04T10:00:05.123456+00:00": True,  # Python's isoformat
    "2026-03-04t10:00:05z": True,
    "2026-03-04 10:00:05Z": True,
    "2026-03-04T10:00Z": False,  # Java's OffsetDateTime in a full minute
    "2026-03-04T10:00:05Z[UTC]": False,  # Java's ZonedDateTime
    "2026-03-04T10:00:05": False,
    "2026-03-04T10:00:05+0100": False,
    "2026-03-04T10:00:60Z": False,
    "2026-03-04T24:00:00Z": False,
    "2026-03-04T10:00:05,1Z": False,
    "2026-03-04T10:00:05.Z": False,
    "20260304T100005Z": False,
    "1772618405": False,
    "Wed, 04 Mar 2026 10:00:05 GMT": False,
    "": False,
}
KINDS: Final = (CREATED, COMPLETED, FAILED, EVENT)

_SECOND: Final = (
    "[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])[Tt ]([01][0-9]|2[0-3])(:[0-5][0-9]){2}"
)
times = st.from_regex(rf"\A[1-8]{_SECOND[8:]}(\.[0-9]{{1,9}})?([Zz]|[+-]0[0-9]:[0-5][0-9])\Z")
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(-9.5, 9.5).filter(lambda number: not number.is_integer())  # it cannot say 1.0
    | st.text(max_size=5)
    | st.sampled_from(["\0", "", "x" * 257, *TIMES]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@st.composite
def messages(draw: st.DrawFn) -> dict[str, Any]:
    """Messages of which some fields are anything, or a time, or not there."""
    message = draw(st.sampled_from(KINDS))
    spoiled = st.dictionaries(st.sampled_from(sorted(without(message, "type"))), anything | times)
    absent = draw(st.sets(st.sampled_from(sorted(without(message, "type"))), max_size=1))
    return without(message | draw(spoiled), *absent) | draw(
        st.fixed_dictionaries({}, optional={"schemaVersion": anything, "unknown": anything})
    )


def is_applied(said: Record) -> bool:
    return isinstance(decode(said, KeyPolicy.WARN), Decoded)


def schema_of(name: str) -> jsonschema.Draft202012Validator:
    """A schema of the AsyncAPI document."""
    components = asyncapi_document(TopicNames("s", "e", "d"), "1")["components"]
    return jsonschema.Draft202012Validator(
        {**components["schemas"][name], "components": components}
    )


BARE: Final = {
    kind: jsonschema.Draft202012Validator(message_schema(kind)) for kind in known_kinds()
}


@given(messages())
def test_schema_and_decoder_take_the_same_messages(message: dict[str, Any]) -> None:
    assert BARE[message["type"]].is_valid(message) is is_applied(record(message))


@pytest.mark.parametrize(("text", "right"), TIMES.items())
@pytest.mark.parametrize("message", KINDS, ids=lambda message: message["type"])
def test_both_take_the_same_times(message: dict[str, Any], text: str, right: bool) -> None:
    (name,) = message.keys() & {"startedAt", "endedAt", "timestamp"}
    said = message | {name: text}
    assert BARE[message["type"]].is_valid(said) is is_applied(record(said)) is right


@pytest.mark.parametrize(("text", "right"), TIMES.items())
def test_both_take_the_same_times_of_own_kinds(text: str, right: bool) -> None:
    with installed(**ACME):
        said = {"type": "session.rated", "sessionId": "s-1", "ratingId": "r", "stars": 1}
        said["ratedAt"] = text
        schema = jsonschema.Draft202012Validator(message_schema("session.rated"))
        assert schema.is_valid(said) is is_applied(record(said)) is right


@pytest.mark.parametrize(("text", "right"), TIMES.items())
def test_both_take_the_same_times_of_cloud_events(text: str, right: bool) -> None:
    schema = schema_of("EventRecordedEnvelope")
    assert schema.is_valid(ENVELOPE | {"data": DATA, "time": text}) is right
    assert is_applied(structured(time=text)) is right


@pytest.mark.parametrize(
    "members",
    [
        {"subject": None, "time": None},
        {"subject": "s-1"},
        {"data": DATA | {"eventId": None}},
        {"data": DATA | {"type": "speech"}},
        {"data": DATA | {"timestamp": None}},
        {"data": None, "data_base64": "eyJzZXNzaW9uSWQiOiJzLTEifQ=="},
    ],
    ids=json.dumps,
)
def test_the_schema_of_an_envelope_takes_what_is_read(members: dict[str, Any]) -> None:
    event = {"type": "session.completed"} if "data_base64" in members else {}
    name = "SessionCompletedEnvelope" if event else "EventRecordedEnvelope"
    members = {name: value for name, value in (members | event).items() if name != "data" or value}
    envelope = without(ENVELOPE, "data") | {"data": DATA} | members
    if "data_base64" in members:
        del envelope["data"]
    assert schema_of(name).is_valid(envelope)
    assert is_applied(structured(**(members | {"data": envelope.get("data")})))
