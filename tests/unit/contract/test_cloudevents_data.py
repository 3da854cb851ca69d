"""The types and the data of CloudEvents, in both modes of the Kafka binding."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest

from consumer.contract.cloudevents import split_type
from consumer.contract.messages import MessageKind
from consumer.contract.rejection import Reason
from tests.unit.contract.builders import (
    DATA,
    ENVELOPE,
    STRUCTURED,
    binary,
    decoded,
    reason,
    record,
    refusal,
    short,
    structured,
)


def base64(data: dict[str, Any] | bytes) -> str:
    return b64encode(json.dumps(data).encode() if isinstance(data, dict) else data).decode()


@pytest.mark.parametrize(
    ("written", "kind", "version"),
    [
        ("event.recorded", MessageKind.EVENT_RECORDED, None),
        ("event.recorded.v1", MessageKind.EVENT_RECORDED, 1),
        ("com.example.event.recorded", MessageKind.EVENT_RECORDED, None),
        ("com.example.conversation.session.failed.v12", MessageKind.SESSION_FAILED, 12),
        ("my-org.x_1.session.created.v0", MessageKind.SESSION_CREATED, 0),
        ("event.recorded.session.created", MessageKind.SESSION_CREATED, None),
        ("session.completed.v" + "9" * 5000, MessageKind.SESSION_COMPLETED, 999_999_999),
        ("", None, None),
        (".", None, None),
        ("v1", None, None),
        (".v1", None, 1),
        ("event.recorded.v", None, None),
        ("event.recorded.v01", None, None),
        ("event.recorded.v-1", None, None),
        ("event.recorded.v\u0661", None, None),
        ("event.recorded.V1", None, None),
        ("event.recorded.1", None, None),
        ("event.recorded.v1.v1", None, 1),
        ("xevent.recorded", None, None),
        (".event.recorded", None, None),
        ("com..event.recorded", None, None),
        ("com example.event.recorded", None, None),
        ("com.example.Event.Recorded.v1", None, 1),
        ("x." * 500_000 + "event.recorded", MessageKind.EVENT_RECORDED, None),
        ("." * 1_000_000 + "event.recorded", None, None),
    ],
    ids=short,
)
def test_a_type_is_a_kind_with_a_prefix_and_a_version(
    written: str, kind: MessageKind | None, version: int | None
) -> None:
    found, stated = split_type(written)
    assert found == kind
    if kind is not None:
        assert stated == version


def test_an_unknown_type_is_unsupported() -> None:
    for event in (
        binary(DATA, type=b"com.example.unknown"),
        structured(type="com.example.unknown"),
    ):
        assert reason(event) is Reason.UNSUPPORTED_TYPE


def test_a_missing_type_is_invalid_even_where_the_data_has_one() -> None:
    data = DATA | {"type": "event.recorded"}
    for event in (binary(data, type=None), structured(data=data, type=None), structured(type=5)):
        assert reason(event) is Reason.INVALID


def test_the_type_of_the_data_is_an_unknown_field() -> None:
    for event in (binary(DATA | {"type": "x"}), structured(data=DATA | {"type": "x"})):
        assert decoded(event) == decoded(binary(DATA))


@pytest.mark.parametrize(
    ("suffix", "version", "outcome"),
    [
        ("", None, None),
        ("", 1, None),
        (".v1", None, None),
        (".v1", 1, None),
        (".v2", None, Reason.UNSUPPORTED_VERSION),
        (".v2", 1, Reason.UNSUPPORTED_VERSION),
        (".v1", 2, Reason.UNSUPPORTED_VERSION),
        (".v2", "1", Reason.UNSUPPORTED_VERSION),
        (".v0", None, Reason.INVALID),
        (".v0", 1, Reason.INVALID),
        (".v1", 0, Reason.INVALID),
        (".v1", "1", Reason.INVALID),
    ],
)
def test_the_version_of_a_type_must_agree_with_the_schema_version(
    suffix: str, version: object, outcome: Reason | None
) -> None:
    data = DATA if version is None else DATA | {"schemaVersion": version}
    for event in (
        binary(data, type=f"event.recorded{suffix}".encode()),
        structured(data=data, type=f"event.recorded{suffix}"),
    ):
        assert reason(event) is outcome


def test_null_data_is_invalid() -> None:
    for event in (binary(None), structured(data=None), record(ENVELOPE, headers=STRUCTURED)):
        refused = refusal(event)
        assert refused.reason is Reason.INVALID
        assert "data" in refused.detail


def test_a_null_value_in_structured_mode_is_invalid() -> None:
    assert reason(record(None, headers=STRUCTURED)) is Reason.INVALID


@pytest.mark.parametrize("value", [b"", b"[]", b'"x"', b"{", b"\xef\xbb\xbf{}", b"\xff"])
def test_data_in_binary_mode_is_one_json_object(value: bytes) -> None:
    assert reason(binary(value)) is Reason.UNDECODABLE


@pytest.mark.parametrize("value", [b"", b"[]", b'"x"', b"{", b"\xef\xbb\xbf{}", b"[{}]"])
def test_an_envelope_is_one_json_object(value: bytes) -> None:
    assert reason(record(value, headers=STRUCTURED)) is Reason.UNDECODABLE


@pytest.mark.parametrize("data", [[], [DATA], json.dumps(DATA), 1, True, ""])
def test_data_in_an_envelope_is_an_object(data: object) -> None:
    refused = refusal(structured(data=data))
    assert refused.reason is Reason.INVALID
    assert "data" in refused.detail


def test_data_in_base64_is_read_as_data() -> None:
    envelope = ENVELOPE | {"data_base64": base64(DATA)}
    assert decoded(record(envelope, headers=STRUCTURED)) == decoded(structured())
    assert decoded(record(envelope | {"data": None}, headers=STRUCTURED)) == decoded(structured())


def test_data_in_base64_that_is_no_json_object_is_undecodable() -> None:
    for data in (b"", b"[]", b"{", b"\xff", b"\xef\xbb\xbf{}"):
        refused = refusal(structured(data=None, data_base64=base64(data)))
        assert refused.reason is Reason.UNDECODABLE
        assert "data_base64" in refused.detail


@pytest.mark.parametrize(
    "encoded", ["?", "e30", "e30=\n", "e3 0=", "e30==", "\u00e9", 1, {}, [], False]
)
def test_data_that_is_no_base64_is_invalid(encoded: object) -> None:
    assert reason(structured(data=None, data_base64=encoded)) is Reason.INVALID


def test_data_must_not_stand_twice() -> None:
    assert reason(structured(data_base64=base64(DATA))) is Reason.INVALID


def test_an_envelope_without_headers_is_not_a_cloudevent() -> None:
    assert reason(record(ENVELOPE | {"data": DATA})) is Reason.UNSUPPORTED_TYPE


@pytest.mark.parametrize(
    ("event", "first"),
    [
        (structured(type="x", data=None, data_base64=base64(b"x")), Reason.UNDECODABLE),
        (binary(None, type=b"x", specversion=b"2.0"), Reason.UNSUPPORTED_TYPE),
        (structured(type="x", data=[]), Reason.UNSUPPORTED_TYPE),
        (binary(DATA | {"eventType": "x"}, type=b"event.recorded.v2"), Reason.UNSUPPORTED_TYPE),
        (binary(None, type=b"event.recorded.v2"), Reason.UNSUPPORTED_VERSION),
        (structured(data=DATA | {"schemaVersion": 2}, type=None), Reason.UNSUPPORTED_VERSION),
    ],
)
def test_of_several_reasons_the_first_in_their_order_counts(event: Any, first: Reason) -> None:
    assert reason(event) is first
