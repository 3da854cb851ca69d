"""A line is judged before it is sent, as the consumer will judge the record."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from consumer.contract.kinds import SESSION_CREATED
from consumer.contract.messages import Fields, SessionCreated
from producer_tools.outgoing_message import (
    InvalidMessageError,
    Outgoing,
    Stream,
    check_line,
    encode_message,
    prepare_message,
)
from tests.own_kinds import upcasting


def limit(_: Stream) -> int:
    return 1024 * 1024


CREATED = b'{"type":"session.created","sessionId":"s\xc3\xa9","language":"en"}'
EVENT = (
    b'{"type":"event.recorded","sessionId":"s","eventId":"e","eventType":"system",'
    b'"payload":{"n":1}}'
)


def test_a_good_line_is_sent_as_it_stands_under_its_session() -> None:
    spaced = b' { "sessionId" : "s", "type":"session.failed", "unknown": 1 } '.strip()
    assert check_line(CREATED, limit) == Outgoing(Stream.SESSIONS, "sé".encode(), CREATED)
    assert check_line(spaced, limit) == Outgoing(Stream.SESSIONS, b"s", spaced)


@pytest.mark.reliability("F100")
def test_every_version_that_the_consumer_reads_is_sent_as_it_stands() -> None:
    def upcast(fields: Fields) -> Fields:
        return fields | {"language": fields["lang"]}

    with upcasting(SESSION_CREATED, upcast):
        first = CREATED.replace(b"language", b"lang")
        second = CREATED[:-1] + b',"schemaVersion":2}'
        for line in (first, second):
            assert check_line(line, limit) == Outgoing(Stream.SESSIONS, "sé".encode(), line)
            assert prepare_message(json.loads(line)).value == line
        message = SessionCreated("s", "en", datetime(2026, 3, 4, tzinfo=UTC))
        assert json.loads(prepare_message(message).value)["schemaVersion"] == 2
        with pytest.raises(InvalidMessageError, match=r"unsupported_version: .*later than 2"):
            prepare_message(json.loads(second) | {"schemaVersion": 3})


def test_an_event_goes_to_the_events() -> None:
    assert check_line(EVENT, limit) == Outgoing(Stream.EVENTS, b"s", EVENT)


@pytest.mark.parametrize(
    ("line", "reason", "detail"),
    [
        (b"hello", "undecodable", "JSON"),
        (b'\xef\xbb\xbf{"type":"session.created"}', "undecodable", ""),
        (b'{"type":"session.paused","sessionId":"s"}', "unsupported_type", "type"),
        (CREATED[:-1] + b',"schemaVersion":2}', "unsupported_version", "schemaVersion"),
        (b'{"type":"session.created","language":"en"}', "invalid", "sessionId"),
        (EVENT.replace(b'"system"', b'"noise"'), "unsupported_type", "eventType"),
    ],
)
def test_a_wrong_line_is_told_with_reason_and_field(line: bytes, reason: str, detail: str) -> None:
    with pytest.raises(InvalidMessageError) as refused:
        check_line(line, limit)
    assert refused.value.reason == reason
    assert detail in refused.value.detail


def test_a_problem_does_not_quote_what_was_said() -> None:
    line = EVENT.replace(b'"payload":{"n":1}', b'"payload":"my secret"')
    with pytest.raises(InvalidMessageError, match=r"^((?!secret).)*$"):
        check_line(line, limit)


def test_a_message_that_the_brokers_would_refuse_is_refused_here() -> None:
    large = EVENT.replace(b'{"n":1}', b'{"text":"' + b"x" * 2000 + b'"}')
    assert isinstance(check_line(large, lambda _: 4096), Outgoing)
    with pytest.raises(InvalidMessageError, match="too_large"):
        check_line(large, lambda _: 2048)


@pytest.mark.reliability("F98")
@pytest.mark.parametrize("session_id", [12345, None, "", "a\0b"])
def test_no_key_is_made_of_what_is_no_id(session_id: object) -> None:
    with pytest.raises(InvalidMessageError, match="invalid: sessionId"):
        encode_message({"type": "session.created", "sessionId": session_id})
