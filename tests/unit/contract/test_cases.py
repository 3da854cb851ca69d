"""Cases from the field, as far as decoding decides over them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from consumer.contract.decode import Decoded, decode
from consumer.contract.messages import EventRecorded
from consumer.contract.record import Record
from consumer.contract.rejection import KeyPolicy, Reason, Rejected
from tests.cases.loader import Expected, case_names, expected, load_case

FOUND_LATER = {Reason.UNSTORABLE}
"""Reasons that stand in what a message does, not in what it says."""

LINES = [
    pytest.param(record, outcome, id=f"{name}-{number}")
    for name in case_names()
    for number, (record, outcome) in enumerate(
        zip(load_case(name), expected(name), strict=True), start=1
    )
]


@pytest.mark.parametrize(("record", "outcome"), LINES)
def test_a_line_is_refused_for_its_reason_or_not_at_all(record: Record, outcome: Expected) -> None:
    result = decode(record, KeyPolicy.WARN)
    if not outcome.reasons or outcome.reasons[0] in FOUND_LATER:
        assert isinstance(result, Decoded)
    else:
        assert isinstance(result, Rejected)
        assert result.reason in outcome.reasons


def event_of(case: str, line: int) -> EventRecorded:
    result = decode(load_case(case)[line - 1], KeyPolicy.WARN)
    assert isinstance(result, Decoded)
    assert isinstance(result.message, EventRecorded)
    return result.message


def test_a_binary_event_takes_its_id_and_its_time_from_the_headers() -> None:
    event = event_of("C06", 1)
    assert event.event_id == "evt-c06-1"
    assert event.timestamp == datetime(2026, 3, 4, 10, 0, 7, 250_000, UTC)
    assert not event.time_defaulted


def test_digits_beyond_milliseconds_are_dropped_not_rounded() -> None:
    assert event_of("C08", 2).timestamp == datetime(2026, 3, 4, 10, 0, 24, 860_000, UTC)


def test_a_structured_event_with_headers_beside_it_is_read_from_its_envelope() -> None:
    event = event_of("C09", 4)
    assert (event.session_id, event.event_id) == ("sess-c09", "e-5")


def test_a_time_without_seconds_is_named_in_the_detail() -> None:
    session, event, _ = (decode(record, KeyPolicy.WARN) for record in load_case("C15"))
    assert isinstance(session, Rejected)
    assert "startedAt" in session.detail
    assert isinstance(event, Rejected)
    assert "timestamp" in event.detail


def test_a_well_formed_year_is_stored_however_unlikely_it_is() -> None:
    assert event_of("C17", 4).timestamp == datetime(2569, 3, 4, 10, tzinfo=UTC)


def test_the_same_content_in_another_spelling_is_the_same_message() -> None:
    first, again = event_of("C22", 1), event_of("C22", 2)
    assert again == first
    assert list(first.payload) == ["text", "span", "gain"]
    assert type(again.payload["gain"]) is float


def test_extended_json_in_a_payload_stays_what_it_is() -> None:
    assert event_of("C30", 1).payload["at"] == {"$date": "2025-10-13T09:13:52Z"}
    assert event_of("C30", 1).payload["n"] == {"$numberLong": "42"}


def test_a_key_of_another_session_is_refused_only_under_that_policy() -> None:
    (record,) = load_case("C14")
    tolerated = decode(record, KeyPolicy.WARN)
    assert isinstance(tolerated, Decoded)
    assert tolerated.key_mismatch
    refused = decode(record, KeyPolicy.DEAD_LETTER)
    assert isinstance(refused, Rejected)
    assert refused.reason is Reason.KEY_MISMATCH
