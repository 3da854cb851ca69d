"""Which records are of a session, or of a type, whatever form they come in."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from consumer.commands.common.record_selection import MessageFilter
from consumer.contract.decode import MAX_VALUE_BYTES
from consumer.contract.kinds import set_own_kinds
from consumer.contract.messages import MessageKind
from consumer.contract.record import Record
from consumer.kafka.ranges import Bounds
from tests.builders import completed, created, encoded, event, failed, record
from tests.own_kinds import summarized
from tests.own_kinds.acme_kinds import SUMMARIZED

OF_SESSION = MessageFilter(MAX_VALUE_BYTES, sessions=["sitzung-ü"])


def escaped(message: dict[str, object]) -> bytes:
    """The same message as a producer writes it that keeps to ASCII."""
    return json.dumps(message, ensure_ascii=True).encode()


def test_a_session_s_records_are_found_by_what_they_say() -> None:
    for message in (created("sitzung-ü"), event("sitzung-ü"), failed("sitzung-ü")):
        assert OF_SESSION.matches(record(message))
        assert OF_SESSION.matches(record(message, key=None))
        assert OF_SESSION.matches(record(escaped(message), key=None))


def test_records_of_other_sessions_are_not_wanted() -> None:
    assert not OF_SESSION.matches(record(event("other")))
    assert not OF_SESSION.matches(record(event("other", payload={"text": "sitzung-ü"})))
    assert not OF_SESSION.matches(record(event("other"), key="sitzung-ü".encode()))
    assert not OF_SESSION.matches(record(event("sitzung-ü2")))


def test_a_session_in_a_cloud_event_is_found() -> None:
    data = {"sessionId": "sitzung-ü", "eventId": "e", "eventType": "system", "payload": {}}
    envelope = {
        "specversion": "1.0",
        "id": "1",
        "source": "s",
        "type": "com.example.event.recorded.v1",
    }
    structured = envelope | {"data_base64": base64.b64encode(encoded(data)).decode()}
    headers = (("content-type", b"application/cloudevents+json"),)
    assert OF_SESSION.matches(record(encoded(structured), key=None, headers=headers))
    binary = tuple((f"ce_{name}", value.encode()) for name, value in envelope.items())
    assert OF_SESSION.matches(record(encoded(data), key=None, headers=binary))
    of_kind = MessageFilter(MAX_VALUE_BYTES, kinds=[MessageKind.EVENT_RECORDED])
    assert of_kind.matches(record(encoded(data), key=None, headers=binary))


@pytest.mark.parametrize("value", [b"not JSON", b"{}", None])
def test_what_cannot_be_decoded_belongs_to_the_session_of_its_key(value: bytes | None) -> None:
    own = Record("t", 0, 0, 0, "sitzung-ü".encode(), value)
    assert OF_SESSION.matches(own)
    assert not OF_SESSION.matches(Record("t", 0, 0, 0, b"other", value))
    assert not OF_SESSION.matches(Record("t", 0, 0, 0, None, value))


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (created(), MessageKind.SESSION_CREATED),
        (completed(), MessageKind.SESSION_COMPLETED),
        (failed(), MessageKind.SESSION_FAILED),
        (event(), MessageKind.EVENT_RECORDED),
    ],
)
def test_a_type_is_found_by_what_the_message_is(
    message: dict[str, object], kind: MessageKind
) -> None:
    assert MessageFilter(MAX_VALUE_BYTES, kinds=[kind]).matches(record(message))
    others = MessageFilter(
        MAX_VALUE_BYTES, kinds=[other for other in MessageKind if other is not kind]
    )
    assert not others.matches(record(message))
    assert not others.matches(record(message | {"note": [other.value for other in MessageKind]}))


def test_what_cannot_be_decoded_has_no_type() -> None:
    assert not MessageFilter(MAX_VALUE_BYTES, kinds=list(MessageKind)).matches(
        record(b"session.created")
    )


def test_session_and_type_must_both_fit() -> None:
    both = MessageFilter(MAX_VALUE_BYTES, sessions=["a", "b"], kinds=[MessageKind.EVENT_RECORDED])
    assert both.matches(record(event("b")))
    assert not both.matches(record(created("b")))
    assert not both.matches(record(event("c")))
    assert not both.matches(Record("t", 0, 0, 0, b"a", b"not JSON"))


@pytest.mark.reliability("F81")
def test_a_time_s_records_are_found_wherever_they_stand_and_the_others_counted() -> None:
    stamps = [1, 5, 900, 6, 2, 7, -1, 10]
    filtered = MessageFilter(MAX_VALUE_BYTES, ["sitzung-ü"], bounds=Bounds(from_ms=5, to_ms=10))
    records = [record(event("sitzung-ü"))._replace(timestamp_ms=stamp) for stamp in stamps]
    assert [one.timestamp_ms for one in records if filtered.matches(one)] == [5, 6, 7]
    assert filtered.outside == 5
    assert not filtered.matches(record(event("other"))._replace(timestamp_ms=6))


def test_an_older_version_belongs_to_the_session_that_it_means() -> None:
    def named(fields: dict[str, Any]) -> dict[str, Any]:
        return {**fields, "sessionId": f"sitzung-{fields['sessionId']}"}

    set_own_kinds([replace(SUMMARIZED, upcasters=(named,))])
    try:
        of_session = MessageFilter(MAX_VALUE_BYTES, sessions=["sitzung-ü"])
        assert of_session.matches(record(summarized("ü"), key=b"old"))
        assert not of_session.matches(record(summarized("o"), key=b"old"))
    finally:
        set_own_kinds(())
