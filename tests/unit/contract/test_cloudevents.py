"""Which records are CloudEvents, and what their attributes lend to the data."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from consumer.contract.cloudevents import Mode, mode_of
from consumer.contract.messages import EventRecorded, SessionCreated
from consumer.contract.rejection import Reason, Rejected
from tests.unit.contract.builders import (
    CREATED,
    DATA,
    ENVELOPE,
    EVENT,
    STRUCTURED,
    binary,
    decoded,
    reason,
    record,
    refusal,
    structured,
    without,
)

CE_TIME = datetime(2026, 3, 4, 10, 0, 7, 250_000, UTC)


@pytest.mark.parametrize(
    "media_type",
    [
        b"application/cloudevents+json",
        b"Application/CloudEvents+JSON",
        b"application/cloudevents+json;charset=utf-8",
        b' application/cloudevents+json ; Charset="UTF-8"',
    ],
)
def test_a_structured_event_is_known_by_its_media_type(media_type: bytes) -> None:
    assert mode_of((("content-type", media_type),)) is Mode.STRUCTURED
    assert mode_of((("ce_type", b"x"), ("content-type", media_type))) is Mode.STRUCTURED


@pytest.mark.parametrize(
    "media_type",
    [
        b"application/cloudevents",
        b"application/cloudevents+avro",
        b"application/CLOUDEVENTS+protobuf; x=y",
        b"application/cloudevents-batch+json; charset=UTF-8",
        b"application/cloudevents+json+x",
    ],
)
@pytest.mark.parametrize("value", [ENVELOPE | {"data": DATA}, EVENT, b"[]", None])
def test_another_format_of_cloudevents_is_undecodable(
    media_type: bytes, value: dict[str, Any] | bytes | None
) -> None:
    headers = (("content-type", media_type), ("ce_specversion", b"1.0"))
    assert reason(record(value, headers=headers)) is Reason.UNDECODABLE


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("content-type", b"application/json"),),
        (("content-type", None),),
        (("content-type", b"\xff"),),
        (("content-type", b""),),
        (("content-type", b"text/application/cloudevents+json"),),
        (("Content-Type", b"application/cloudevents+json"),),
        (("contenttype", b"application/cloudevents+json"),),
        (("ce-type", b"x"), ("CE_TYPE", b"x"), ("xce_type", b"x"), ("ce", b"x"), ("", None)),
    ],
)
def test_every_other_record_is_bare(headers: tuple[tuple[str, bytes | None], ...]) -> None:
    assert mode_of(headers) is Mode.BARE
    assert decoded(record(EVENT, headers=headers)) == decoded(record(EVENT))


def test_any_attribute_makes_a_binary_event() -> None:
    assert mode_of((("ce_anything", None),)) is Mode.BINARY
    assert reason(record(EVENT, headers=(("ce_anything", None),))) is Reason.INVALID


def test_a_content_type_may_stand_twice_but_not_in_two_minds() -> None:
    twice = (*STRUCTURED, ("content-type", b"APPLICATION/cloudevents+json; charset=utf-8"))
    assert mode_of(twice) is Mode.STRUCTURED
    assert mode_of((*STRUCTURED, ("content-type", b"application/json"))) is Mode.UNREADABLE


def test_a_binary_event_lends_its_id_and_time_to_its_data() -> None:
    message = decoded(binary(DATA))
    assert isinstance(message, EventRecorded)
    assert (message.event_id, message.timestamp) == ("ce-1", CE_TIME)
    assert not message.time_defaulted


def test_a_structured_event_lends_its_id_and_time_to_its_data() -> None:
    assert decoded(structured()) == decoded(binary(DATA))


@pytest.mark.parametrize("name", ["eventId", "timestamp"])
def test_null_in_the_data_is_absent(name: str) -> None:
    assert decoded(binary(DATA | {name: None})) == decoded(binary(DATA))


def test_what_the_data_has_itself_counts() -> None:
    own = {"eventId": "e-1", "timestamp": "2026-03-04T10:00:05Z"}
    for event in (
        binary(DATA | own),
        structured(data=DATA | own),
        binary(DATA | own, id=b"\xff", time=b"soon"),
        structured(data=DATA | own, id=5, time="soon"),
    ):
        assert decoded(event) == decoded(record(EVENT))


def test_a_session_takes_its_time_but_no_id_from_the_envelope() -> None:
    message = decoded(binary(without(CREATED, "startedAt", "type"), type=b"session.created"))
    assert isinstance(message, SessionCreated)
    assert message.started_at == CE_TIME


def test_without_any_time_an_event_has_that_of_the_record() -> None:
    for event in (binary(DATA, time=None), structured(time=None)):
        message = decoded(event)
        assert isinstance(message, EventRecorded)
        assert message.timestamp == datetime(2026, 3, 4, 10, tzinfo=UTC)
        assert message.time_defaulted


@pytest.mark.parametrize(
    "time", ["", "2026-03-04T10:00Z", "2026-03-04 10:00:24", "2026-03-04T10:00:24.8GMT", "\u0661"]
)
def test_an_envelope_s_time_that_cannot_be_read_is_never_replaced(time: str) -> None:
    for event in (binary(DATA, time=time.encode()), structured(time=time)):
        refused = refusal(event)
        assert refused.reason is Reason.INVALID
        assert refused.detail.startswith("time: ")


def test_without_any_id_an_event_is_invalid() -> None:
    for event in (binary(DATA, id=None), structured(id=None), structured(id=7), structured(id="")):
        refused = refusal(event)
        assert refused.reason is Reason.INVALID
        assert "eventId" in refused.detail


@pytest.mark.parametrize("name", ["specversion", "type", "id", "subject", "time"])
def test_an_attribute_that_is_not_utf_8_is_invalid_where_it_is_needed(name: str) -> None:
    assert reason(binary(DATA, **{name: b"\xff"})) is Reason.INVALID


@pytest.mark.parametrize("name", ["specversion", "type", "id", "subject", "time"])
def test_an_attribute_may_stand_twice_but_not_with_two_values(name: str) -> None:
    stated = {"subject": b"s-1"}
    once = binary(DATA, **stated)
    header = f"ce_{name}"
    value = dict(once.headers)[header]
    assert decoded(binary(DATA, (header, value), (header, None), **stated)) == decoded(once)
    refused = refusal(binary(DATA, (header, b"other"), (header, value), **stated))
    assert refused.reason is Reason.INVALID
    assert name in refused.detail


def test_attributes_that_say_nothing_here_may_be_anything() -> None:
    noise = (
        ("ce_source", b"\xff"),
        ("ce_traceparent", b"1"),
        ("ce_traceparent", b"2"),
        ("ce_datacontenttype", None),
        ("traceparent", b"\xfe"),
    )
    assert decoded(binary(DATA, *noise, source=None)) == decoded(binary(DATA))


@pytest.mark.parametrize("version", ["0.3", "1", "1.0.1", "1.1", "2.0", "", " 1.0", None])
def test_a_specversion_other_than_1_0_is_invalid(version: str | None) -> None:
    stated = None if version is None else version.encode()
    for event in (binary(DATA, specversion=stated), structured(specversion=version)):
        refused = refusal(event)
        assert refused.reason is Reason.INVALID
        assert "specversion" in refused.detail
    assert reason(structured(specversion=1.0)) is Reason.INVALID


@pytest.mark.parametrize("subject", ["s-2", "", "S-1", "s-1 "])
def test_a_subject_must_be_the_session_id(subject: str) -> None:
    for event in (binary(DATA, subject=subject.encode()), structured(subject=subject)):
        refused = refusal(event)
        assert refused.reason is Reason.INVALID
        assert "subject" in refused.detail
    assert reason(structured(subject=1)) is Reason.INVALID
    assert reason(structured(subject=None)) is None
    assert reason(structured(subject="s-1")) is None


def test_a_subject_alone_does_not_stand_for_the_session_id() -> None:
    """Other programs put other things there, while an id and a time are what they are."""
    data = without(DATA, "sessionId")
    for event in (binary(data, subject=b"s-1"), structured(subject="s-1", data=data)):
        refused = refusal(event)
        assert refused.reason is Reason.INVALID
        assert refused.detail == "sessionId: missing; subject: does not stand for sessionId"


@pytest.mark.parametrize("kind", ["event.recorded", "com.example.event.recorded.v1"])
def test_an_envelope_without_its_content_type_is_told_what_is_missing(kind: str) -> None:
    headers = (("content-type", b"application/json"),)
    refused = refusal(structured(type=kind)._replace(headers=headers))
    assert refused.detail.startswith("content-type: an envelope of CloudEvents needs the header")


@pytest.mark.parametrize("prefix", ["ce-", "CE-", "Ce-"])
def test_attributes_under_http_s_prefix_are_told_kafka_s(prefix: str) -> None:
    headers = tuple((prefix + name, b"x") for name in ("specversion", "type", "id"))
    refused = refusal(record(DATA, headers=headers))
    assert refused == Rejected(
        Reason.INVALID, "type: missing; ce-…: in Kafka the headers of a CloudEvent begin with ce_"
    )
    assert reason(record(EVENT, headers=headers)) is None


def test_a_bare_message_may_have_fields_that_an_envelope_has() -> None:
    assert reason(record({**EVENT, "specversion": "1.0", "data": {}})) is None
