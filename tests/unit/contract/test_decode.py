"""What a record of bare JSON says, and why one is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from consumer.contract.decode import Decoded, Tombstone, decode
from consumer.contract.key_policy import KeyPolicy
from consumer.contract.messages import (
    EventRecorded,
    EventType,
    SessionCompleted,
    SessionCreated,
    SessionFailed,
)
from consumer.contract.record import Headers
from consumer.contract.record_time import REDRIVE_TIMESTAMP
from consumer.contract.rejection import Reason, Rejected
from tests.unit.contract.builders import (
    COMPLETED,
    CREATED,
    EVENT,
    FAILED,
    STAMPED_MS,
    decoded,
    reason,
    record,
    refusal,
    short,
    without,
)

STAMPED = datetime(2026, 3, 4, 10, tzinfo=UTC)
TIME_FIELDS = [
    pytest.param(CREATED, "startedAt", "started_at", id="created"),
    pytest.param(COMPLETED, "endedAt", "ended_at", id="completed"),
    pytest.param(FAILED, "endedAt", "ended_at", id="failed"),
    pytest.param(EVENT, "timestamp", "timestamp", id="event"),
]


def test_a_session_begins() -> None:
    assert decoded(record(CREATED)) == SessionCreated(
        session_id="s-1",
        language="en",
        started_at=datetime(2026, 3, 4, 10, tzinfo=UTC),
        metadata={"channel": "phone"},
        time_defaulted=False,
    )


def test_a_session_ends_well() -> None:
    assert decoded(record(COMPLETED)) == SessionCompleted(
        session_id="s-1",
        ended_at=datetime(2026, 3, 4, 10, 5, tzinfo=UTC),
        event_count=3,
        time_defaulted=False,
    )


def test_a_session_ends_badly() -> None:
    assert decoded(record(FAILED)) == SessionFailed(
        session_id="s-1",
        ended_at=datetime(2026, 3, 4, 10, 5, tzinfo=UTC),
        reason="line lost",
        time_defaulted=False,
    )


def test_something_is_said() -> None:
    assert decoded(record(EVENT)) == EventRecorded(
        session_id="s-1",
        event_id="e-1",
        event_type=EventType.USER_SPEECH,
        payload={"text": "hello"},
        timestamp=datetime(2026, 3, 4, 10, 0, 5, tzinfo=UTC),
        time_defaulted=False,
    )


@pytest.mark.parametrize("event_type", list(EventType))
def test_every_event_type_is_known(event_type: EventType) -> None:
    message = decoded(record(EVENT | {"eventType": event_type.value}))
    assert isinstance(message, EventRecorded)
    assert message.event_type is event_type


# --- optional fields ------------------------------------------------------------------


@pytest.mark.parametrize("absent", [{}, {"metadata": None}])
def test_absent_metadata_is_empty(absent: dict[str, Any]) -> None:
    message = decoded(record(without(CREATED, "metadata") | absent))
    assert isinstance(message, SessionCreated)
    assert message.metadata == {}


@pytest.mark.parametrize("absent", [{}, {"eventCount": None, "schemaVersion": None}])
def test_an_absent_count_is_not_zero(absent: dict[str, Any]) -> None:
    message = decoded(record(without(COMPLETED, "eventCount") | absent))
    assert isinstance(message, SessionCompleted)
    assert message.event_count is None


@pytest.mark.parametrize("absent", [{}, {"reason": None}])
def test_an_absent_reason_is_none(absent: dict[str, Any]) -> None:
    message = decoded(record(without(FAILED, "reason") | absent))
    assert isinstance(message, SessionFailed)
    assert message.reason is None


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        (kind, name)
        for kind in (CREATED, COMPLETED, FAILED, EVENT)
        for name in ("sessionId", "language", "eventId", "eventType", "payload")
        if name in kind
    ],
)
def test_a_required_field_is_missing_also_when_it_is_null(
    fields: dict[str, Any], name: str
) -> None:
    for incomplete in (without(fields, name), fields | {name: None}):
        refused = refusal(record(incomplete))
        assert refused.reason is Reason.INVALID
        assert name in refused.detail


def test_unknown_fields_are_ignored_whatever_they_hold() -> None:
    extra = (
        b',"session_id":5,"time_defaulted":1,"model_config":{}'
        b',"x":1e400,"y":"\\ud800","":{"\\u0000":1}}'
    )
    value = record(EVENT).value or b""
    assert decoded(record(value[:-1] + extra)) == decoded(record(EVENT))


def test_the_names_of_our_own_attributes_are_no_field_names() -> None:
    renamed = without(EVENT, "sessionId") | {"session_id": "s-1"}
    assert reason(record(renamed)) is Reason.INVALID


# --- types and versions ---------------------------------------------------------------


@pytest.mark.parametrize(
    "unknown",
    [
        "",
        "event",
        "event.recorded.v1",
        "com.example.event.recorded",
        "Event.Recorded",
        " event.recorded",
    ],
)
def test_an_unknown_type_is_unsupported(unknown: str) -> None:
    assert reason(record(EVENT | {"type": unknown})) is Reason.UNSUPPORTED_TYPE


@pytest.mark.parametrize("unreadable", [None, 1, True, ["event.recorded"], {"a": 1}])
def test_a_type_that_is_no_text_is_invalid(unreadable: object) -> None:
    refused = refusal(record(EVENT | {"type": unreadable}))
    assert refused.reason is Reason.INVALID
    assert "type" in refused.detail


def test_a_missing_type_is_invalid() -> None:
    assert reason(record(without(EVENT, "type"))) is Reason.INVALID
    assert reason(record(b"{}")) is Reason.INVALID


@pytest.mark.parametrize("unknown", ["", "User_Speech", "user_speech ", "tool_call"])
def test_an_unknown_event_type_is_unsupported(unknown: str) -> None:
    refused = refusal(record(EVENT | {"eventType": unknown}))
    assert refused.reason is Reason.UNSUPPORTED_TYPE
    assert "eventType" in refused.detail


@pytest.mark.parametrize("unreadable", [1, True, ["system"], {}])
def test_an_event_type_that_is_no_text_is_invalid(unreadable: object) -> None:
    assert reason(record(EVENT | {"eventType": unreadable})) is Reason.INVALID


def test_an_event_type_means_nothing_in_other_kinds() -> None:
    assert reason(record(CREATED | {"eventType": "tool_call"})) is None


@pytest.mark.parametrize("version", [2, 3, 2**63, 10**400], ids=short)
def test_a_later_version_is_unsupported(version: int) -> None:
    assert reason(record(EVENT | {"schemaVersion": version})) is Reason.UNSUPPORTED_VERSION


def test_a_version_of_thousands_of_digits_is_later_or_invalid() -> None:
    value = record(EVENT | {"schemaVersion": "?"}).value or b""
    digits = b"9" * 5000
    assert reason(record(value.replace(b'"?"', digits))) is Reason.UNSUPPORTED_VERSION
    assert reason(record(value.replace(b'"?"', b"-" + digits))) is Reason.INVALID


@pytest.mark.parametrize("version", [0, -1, 1.0, 2.0, True, False, "1", "2", [], {}], ids=short)
def test_a_version_that_is_no_positive_integer_is_invalid(version: object) -> None:
    refused = refusal(record(EVENT | {"schemaVersion": version}))
    assert refused.reason is Reason.INVALID
    assert "schemaVersion" in refused.detail


# --- strict fields --------------------------------------------------------------------


@pytest.mark.parametrize(
    "accepted",
    [
        "a",
        "x" * 256,
        "\N{GRINNING FACE}" * 256,
        " s ",
        "a\nb\x1b[0m",
        "\u202e\u200b",
        "e\u0301",
        "\x7f",
    ],
    ids=short,
)
def test_an_id_is_kept_verbatim(accepted: str) -> None:
    message = decoded(
        record(EVENT | {"sessionId": accepted, "eventId": accepted}, key=accepted.encode())
    )
    assert isinstance(message, EventRecorded)
    assert (message.session_id, message.event_id) == (accepted, accepted)


@pytest.mark.parametrize("name", ["sessionId", "eventId"])
@pytest.mark.parametrize(
    "refused",
    [
        "",
        "x" * 257,
        "x" * 10_000_000,
        "\N{GRINNING FACE}" * 257,
        "a\0b",
        "\0",
        "\ud800",
        "a\udfff",
        1,
        1.5,
        True,
        ["a"],
        {"$ne": None},
        2**70,
    ],
    ids=short,
)
def test_an_id_that_is_no_short_text_is_invalid(name: str, refused: object) -> None:
    refusal_of_id = refusal(record(EVENT | {name: refused}))
    assert refusal_of_id.reason is Reason.INVALID
    assert name in refusal_of_id.detail


@pytest.mark.parametrize(
    "language", ["e", "en-US", "x" * 64, "\N{GRINNING FACE}" * 64, " "], ids=short
)
def test_a_language_is_free_text(language: str) -> None:
    message = decoded(record(CREATED | {"language": language}))
    assert isinstance(message, SessionCreated)
    assert message.language == language


@pytest.mark.parametrize("language", ["", "x" * 65, 1, True, ["en"], {}], ids=short)
def test_a_language_has_1_to_64_characters(language: object) -> None:
    assert reason(record(CREATED | {"language": language})) is Reason.INVALID


@pytest.mark.parametrize("count", [0, 1, 2**63, 10**400], ids=short)
def test_a_count_is_any_integer_from_0_on(count: int) -> None:
    message = decoded(record(COMPLETED | {"eventCount": count}))
    assert isinstance(message, SessionCompleted)
    assert message.event_count == count


@pytest.mark.parametrize("count", [-1, -(10**400), 5.0, 0.5, True, "12", "", [], {}], ids=short)
def test_a_count_is_nothing_else(count: object) -> None:
    refused = refusal(record(COMPLETED | {"eventCount": count}))
    assert refused.reason is Reason.INVALID
    assert "eventCount" in refused.detail


@pytest.mark.parametrize("text", [1, True, ["a"], {}])
def test_a_reason_is_text(text: object) -> None:
    assert reason(record(FAILED | {"reason": text})) is Reason.INVALID


@pytest.mark.parametrize(("fields", "name"), [(EVENT, "payload"), (CREATED, "metadata")])
@pytest.mark.parametrize("value", ["", "text", 1, True, [], [{}], '{"a":1}'], ids=short)
def test_payload_and_metadata_are_objects(fields: dict[str, Any], name: str, value: object) -> None:
    refused = refusal(record(fields | {name: value}))
    assert refused.reason is Reason.INVALID
    assert refused.detail == f"{name}: must be an object"


# --- times ----------------------------------------------------------------------------


@pytest.mark.parametrize(("fields", "name", "attribute"), TIME_FIELDS)
@pytest.mark.parametrize("absent", [False, True])
def test_a_missing_time_is_that_of_the_record(
    fields: dict[str, Any], name: str, attribute: str, absent: bool
) -> None:
    message = decoded(record(without(fields, name) if absent else fields | {name: None}))
    assert getattr(message, attribute) == STAMPED
    assert message.time_defaulted


@pytest.mark.parametrize(("fields", "name", "attribute"), TIME_FIELDS)
@pytest.mark.parametrize(
    "unreadable",
    [
        "",
        "2026-03-04T10:00Z",
        "2026-03-04T10:00+01:00",
        "2026-03-04T10:00:05",
        "2026-03-04T10:00:60Z",
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59-00:01",
        STAMPED_MS,
        0,
        False,
        [],
        {"$date": 0},
    ],
)
def test_a_time_that_cannot_be_read_is_never_replaced(
    fields: dict[str, Any], name: str, attribute: str, unreadable: object
) -> None:
    refused = refusal(record(fields | {name: unreadable}))
    assert refused.reason is Reason.INVALID
    assert name in refused.detail


@pytest.mark.parametrize(("fields", "name", "attribute"), TIME_FIELDS)
@pytest.mark.parametrize("unusable", [-1, 253402300800000, 1772618400000000, -62135596800001])
def test_without_any_usable_time_a_message_is_invalid(
    fields: dict[str, Any], name: str, attribute: str, unusable: int
) -> None:
    refused = refusal(record(without(fields, name), timestamp_ms=unusable))
    assert refused.reason is Reason.INVALID
    assert name in refused.detail
    message = decoded(record(fields, timestamp_ms=unusable))
    assert not message.time_defaulted


def redriven(*values: bytes | None) -> Headers:
    return tuple((REDRIVE_TIMESTAMP, value) for value in values)


def test_a_record_that_was_sent_back_keeps_its_first_time() -> None:
    message = decoded(
        record(without(EVENT, "timestamp"), headers=redriven(b"1772618400000"), timestamp_ms=5)
    )
    assert isinstance(message, EventRecorded)
    assert message.timestamp == STAMPED
    assert message.time_defaulted


@pytest.mark.parametrize(
    "value", [None, b"", b"soon", b"-1", b"253402300800000", b"\xff"], ids=short
)
def test_a_first_time_that_cannot_be_used_is_never_replaced(value: bytes | None) -> None:
    headers = redriven(value)
    assert reason(record(without(EVENT, "timestamp"), headers=headers)) is Reason.INVALID
    assert reason(record(EVENT, headers=headers)) is None


# --- keys and values ------------------------------------------------------------------


@pytest.mark.parametrize("key", [None, b"", b"s-2", b"s-1 ", b"\xff", b'"s-1"'])
def test_a_key_that_is_not_the_session_id_is_tolerated_and_told(key: bytes | None) -> None:
    result = decode(record(EVENT, key=key), KeyPolicy.WARN)
    assert isinstance(result, Decoded)
    assert result.key_mismatch


@pytest.mark.parametrize("key", [None, b"", b"s-2", b"\xff"])
def test_a_key_that_is_not_the_session_id_can_be_refused(key: bytes | None) -> None:
    assert reason(record(EVENT, key=key), KeyPolicy.DEAD_LETTER) is Reason.KEY_MISMATCH


@pytest.mark.parametrize("policy", list(KeyPolicy))
def test_the_key_is_the_session_id_in_utf_8(policy: KeyPolicy) -> None:
    session_id = "S\u00e4ssion \N{GRINNING FACE}"
    result = decode(record(EVENT | {"sessionId": session_id}, key=session_id.encode()), policy)
    assert isinstance(result, Decoded)
    assert not result.key_mismatch


@pytest.mark.parametrize("policy", list(KeyPolicy))
@pytest.mark.parametrize("key", [None, b"", b"s-1"])
def test_a_null_value_is_a_tombstone(policy: KeyPolicy, key: bytes | None) -> None:
    headers = (("traceparent", b"x"), ("content-type", b"application/json"))
    assert decode(record(None, key=key), policy) == Tombstone()
    assert decode(record(None, key=key, headers=headers), policy) == Tombstone()


def test_an_empty_value_is_no_tombstone() -> None:
    assert reason(record(b"")) is Reason.UNDECODABLE


# --- what a payload may hold ----------------------------------------------------------


def test_a_payload_is_not_looked_into() -> None:
    payload = {
        "$set": {"a": 1},
        "a.b": 2,
        "": 3,
        "__proto__": {"_id": None},
        "\0": "\0",
        "\ud800": "\udfff",
        "big": [2**63, -(2**63) - 1, 2**64, 10**400],
        "sessionId": "other",
        "-0.0": -0.0,
        "exact": 2**53 + 1,
    }
    message = decoded(record(EVENT | {"payload": payload}))
    assert isinstance(message, EventRecorded)
    assert message.payload == payload
    assert [type(number) for number in message.payload["big"]] == [int] * 4


@pytest.mark.parametrize("levels", [99, 101, 181, 1000, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_depth_alone_makes_no_message_invalid(opening: str, closing: str, levels: int) -> None:
    deep = opening * levels + "1" + closing * levels
    payload = record(EVENT | {"payload": {"x": "?"}}).value or b""
    unread = record(EVENT | {"x": "?"}).value or b""
    assert reason(record(payload.replace(b'"?"', deep.encode()))) is None
    assert decoded(record(unread.replace(b'"?"', deep.encode()))) == decoded(record(EVENT))


@pytest.mark.parametrize("name", ["sessionId", "eventId", "payload", "timestamp"])
@pytest.mark.parametrize(
    "value", ["[" * 100_000 + "]" * 100_000, "9" * 5000, "0." + "9" * 5000], ids=short
)
def test_an_extreme_value_is_invalid_where_another_type_must_stand(name: str, value: str) -> None:
    fields = record(EVENT | {name: "?"}).value or b""
    assert reason(record(fields.replace(b'"?"', value.encode()))) is Reason.INVALID


def test_free_text_that_cannot_be_stored_is_left_to_who_stores() -> None:
    assert reason(record(CREATED | {"language": "\ud800"})) is None
    assert reason(record(FAILED | {"reason": "\ud800\0"})) is None


# --- details and precedence -----------------------------------------------------------


def test_a_detail_names_every_wrong_field_and_quotes_nothing() -> None:
    fields = EVENT | {
        "sessionId": {"secret": "secret"},
        "eventId": "secret" * 100,
        "payload": "secret",
        "timestamp": "secret",
        "schemaVersion": "secret",
    }
    refused = refusal(record(fields))
    for name in ("sessionId", "eventId", "payload", "timestamp", "schemaVersion"):
        assert name in refused.detail
    assert "secret" not in refused.detail


@pytest.mark.parametrize(
    ("value", "first"),
    [
        (b'{"type":"nothing.known","schemaVersion":2,"sessionId":""', Reason.UNDECODABLE),
        (EVENT | {"type": "x", "schemaVersion": 2, "sessionId": ""}, Reason.UNSUPPORTED_TYPE),
        (EVENT | {"eventType": "x", "schemaVersion": 2, "sessionId": ""}, Reason.UNSUPPORTED_TYPE),
        (EVENT | {"schemaVersion": 2, "sessionId": ""}, Reason.UNSUPPORTED_VERSION),
        (without(EVENT, "type") | {"schemaVersion": 2}, Reason.UNSUPPORTED_VERSION),
        (EVENT | {"sessionId": "", "payload": {"a": 2**63}}, Reason.INVALID),
        (EVENT | {"payload": {"a": 2**63}}, Reason.KEY_MISMATCH),
    ],
)
def test_of_several_reasons_the_first_in_their_order_counts(
    value: dict[str, Any] | bytes, first: Reason
) -> None:
    result = decode(record(value, key=b"another"), KeyPolicy.DEAD_LETTER)
    assert isinstance(result, Rejected)
    assert result.reason is first
