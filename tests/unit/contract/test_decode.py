"""What a record of bare JSON says, and why one is refused."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from consumer.contract.decode import Decoded, Tombstone, decode
from consumer.contract.messages import (
    EventRecorded,
    EventType,
    MessageKind,
    SessionCompleted,
    SessionCreated,
    SessionFailed,
)
from consumer.contract.record import Headers, Record
from consumer.contract.rejection import KeyPolicy, Reason, Rejected
from tests.unit.contract.builders import (
    COMPLETED,
    CREATED,
    EVENT,
    FAILED,
    binary,
    decoded,
    reason,
    record,
    refusal,
    short,
    structured,
    without,
)


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
    refused = refusal(record(EVENT | {"type": unknown}))
    assert refused.reason is Reason.UNSUPPORTED_TYPE
    assert set(refused.detail.partition("(")[2].rstrip(")").split(", ")) == set(MessageKind)


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
    assert refused.detail == "eventType: not a known one (user_speech, bot_speech, system)"


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


def test_neither_many_headers_nor_a_large_value_decide_over_a_message() -> None:
    headers: Headers = tuple((f"header-{n}", None if n % 2 else b"\xff") for n in range(10_000))
    large = EVENT | {"payload": {"text": "x" * 17 * 2**20}}
    message = decoded(record(large, headers=headers))
    assert isinstance(message, EventRecorded)
    assert message.payload == large["payload"]


@pytest.mark.reliability("F71")
def test_a_value_larger_than_may_be_read_is_refused_unread() -> None:
    large = record(EVENT, key=b"s")
    size = len(large.value or b"")
    assert isinstance(decode(large, KeyPolicy.WARN, max_value_bytes=size), Decoded)
    refused = decode(large, KeyPolicy.WARN, max_value_bytes=size - 1)
    said = f"value: {size} bytes, more than the {size - 1} that are read"
    assert refused == Rejected(Reason.UNSTORABLE, said)


@pytest.mark.parametrize(
    "wrapped",
    [
        record,
        binary,
        lambda value: structured(data=None, data_base64=b64encode(value).decode()),
    ],
    ids=["bare", "binary", "base64"],
)
@pytest.mark.reliability("F71")
def test_more_parts_than_a_document_can_hold_are_unstorable(
    wrapped: Callable[[bytes], Record],
) -> None:
    value = b'{"a":[' + b"[]," * (2 * 1024 * 1024) + b"0]}"
    assert refusal(wrapped(value)).reason is Reason.UNSTORABLE
