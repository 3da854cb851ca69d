from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import bson
import pytest
from bson.int64 import Int64
from bson.raw_bson import RawBSONDocument

from consumer.contract.decode import Decoded, decode
from consumer.contract.messages import EventType
from consumer.contract.record import Record
from consumer.contract.rejection import KeyPolicy, Reason
from consumer.state.bson_compare import raw_document
from consumer.state.outcomes import Outcome, Result, classify_duplicate
from consumer.state.writes import EventWrite, Write, plan

from .builders import SESSIONS, at, completed, created, event, failed, record, write


def stored_by(written: Write, **changes: Any) -> RawBSONDocument:
    """The document that a write leaves, with changes; a change to None removes a field."""
    fields = {"sessionId": written.session_id, **dict(written.content.items()), **changes}
    kept = {name: value for name, value in fields.items() if value is not None}
    return raw_document(bson.encode(kept))


def outcome(written: Write, stored: RawBSONDocument) -> Outcome:
    return classify_duplicate(written, stored).outcome


def differing(result: Result) -> str:
    assert result.outcome is Outcome.CONFLICT
    assert result.rejected is not None
    assert result.rejected.reason is Reason.CONFLICT
    return result.rejected.detail


EVERY_KIND = [
    (event(), "from"),
    (created(), "createdFrom"),
    (completed(), "endedFrom"),
    (failed(), "endedFrom"),
]


@pytest.mark.parametrize(("message", "origin"), EVERY_KIND)
def test_the_same_content_from_this_very_record_is_redelivered(message: Any, origin: str) -> None:
    assert outcome(write(message, 7), stored_by(write(message, 7))) is Outcome.REDELIVERED


@pytest.mark.parametrize(("message", "origin"), EVERY_KIND)
@pytest.mark.parametrize(
    "other",
    [record(8), record(7, partition=1), record(7, topic=SESSIONS)],
)
def test_the_same_content_from_another_record_is_a_duplicate(
    message: Any, origin: str, other: Any
) -> None:
    assert outcome(write(message, 7), stored_by(write(message, other))) is Outcome.DUPLICATE


@pytest.mark.parametrize(("message", "origin"), EVERY_KIND)
@pytest.mark.parametrize("left", [None, 5, "x", [], {}, {"topic": "t"}])
def test_a_document_of_an_older_writer_without_a_usable_origin_is_judged_by_content(
    message: Any, origin: str, left: Any
) -> None:
    stored = stored_by(write(message, 7), **{origin: left})
    assert outcome(write(message, 7), stored) is Outcome.DUPLICATE


@pytest.mark.parametrize(
    ("written", "stored", "detail"),
    [
        (event(payload={"t": "a"}), event(payload={"t": "b"}), "event differs in payload"),
        (event(), event(event_type=EventType.SYSTEM), "event differs in type"),
        (event(timestamp=at(1)), event(timestamp=at(1, 1)), "event differs in timestamp"),
        (
            event(payload={}, event_type=EventType.SYSTEM, timestamp=at(2)),
            event(),
            "event differs in type, payload, timestamp",
        ),
        (created(language="en"), created(language="de"), "session differs in language"),
        (created(metadata={}), created(metadata={"a": 1}), "session differs in metadata"),
        (created(started_at=at(0)), created(started_at=at(1)), "session differs in startedAt"),
        (completed(), failed(), "session differs in status"),
        (failed(), completed(), "session differs in status"),
    ],
)
def test_other_content_is_a_conflict_even_at_the_same_position(
    written: Any, stored: Any, detail: str
) -> None:
    for position in (7, 8):
        result = classify_duplicate(write(written, 7), stored_by(write(stored, position)))
        assert differing(result) == f"the stored {detail}"


def test_a_conflict_quotes_no_value() -> None:
    result = classify_duplicate(
        write(event(payload={"text": "secret-a"}), 1),
        stored_by(write(event(payload={"text": "secret-b"}), 2)),
    )
    assert "secret" not in differing(result)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (completed(ended_at=at(9)), completed(ended_at=at(9, 46), event_count=12)),
        (completed(event_count=1), completed(time_defaulted=True)),
        (failed(reason="a"), failed(reason="b", ended_at=at(10))),
    ],
)
def test_two_equal_ends_are_duplicates_whatever_else_they_say(first: Any, second: Any) -> None:
    assert outcome(write(second, 2), stored_by(write(first, 1))) is Outcome.DUPLICATE


@pytest.mark.parametrize("stored_defaulted", [True, False])
@pytest.mark.parametrize("own_defaulted", [True, False])
def test_times_are_compared_only_if_both_messages_carried_them(
    stored_defaulted: bool, own_defaulted: bool
) -> None:
    both_carried = not stored_defaulted and not own_defaulted
    expected = Outcome.CONFLICT if both_carried else Outcome.DUPLICATE
    pairs: list[tuple[Any, Any]] = [
        (
            event(timestamp=at(1), time_defaulted=stored_defaulted),
            event(timestamp=at(2), time_defaulted=own_defaulted),
        ),
        (
            created(started_at=at(1), time_defaulted=stored_defaulted),
            created(started_at=at(2), time_defaulted=own_defaulted),
        ),
    ]
    for stored, own in pairs:
        assert outcome(write(own, 2), stored_by(write(stored, 1))) is expected


def test_times_are_compared_at_milliseconds() -> None:
    finer = at(1, 123) + timedelta(microseconds=987)
    stored = stored_by(write(event(timestamp=at(1, 123)), 1))
    assert outcome(write(event(timestamp=finer), 2), stored) is Outcome.DUPLICATE


def test_what_else_stands_in_the_document_does_not_matter() -> None:
    stored = stored_by(write(event(), 1), _id=bson.ObjectId(), expireAt=at(5), addedByHand=1)
    assert outcome(write(event(), 2), stored) is Outcome.DUPLICATE


def test_a_number_is_the_same_in_either_width_and_never_a_double() -> None:
    stored = stored_by(write(event(payload={"n": 5}), 1), payload={"n": Int64(5)})
    assert outcome(write(event(payload={"n": 5}), 2), stored) is Outcome.DUPLICATE
    assert outcome(write(event(payload={"n": 5.0}), 2), stored) is Outcome.CONFLICT


def test_null_metadata_of_another_writer_is_not_the_empty_object() -> None:
    stored = raw_document(
        bson.encode({"sessionId": "s", "language": "en", "startedAt": at(0), "metadata": None})
    )
    assert outcome(write(created(metadata={}), 1), stored) is Outcome.CONFLICT


SOURCES = (b"/voice/gateway", b"/crm/notes")


def of_source(source: bytes, text: str, **named: str) -> Write:
    """What a CloudEvent with the id 1 writes, by its own source."""
    headers = (
        ("ce_specversion", b"1.0"),
        ("ce_type", b"event.recorded"),
        ("ce_source", source),
        ("ce_id", b"1"),
    )
    data = {"sessionId": "s", "eventType": "system", "payload": {"text": text}, **named}
    value = json.dumps(data).encode()
    sent = Record("t", 0, SOURCES.index(source), 1_772_618_400_000, b"s", value, headers)
    decoded = decode(sent, KeyPolicy.WARN)
    assert isinstance(decoded, Decoded)
    planned = plan(decoded.message, sent)
    assert isinstance(planned, EventWrite)
    return planned


@pytest.mark.reliability("F89")
def test_two_sources_that_use_one_id_in_a_session_conflict_and_none_is_lost_unsaid() -> None:
    first, second = (of_source(source, repr(source)) for source in SOURCES)
    assert first.identity == second.identity == ("event", "s", "1")
    assert (
        differing(classify_duplicate(second, stored_by(first)))
        == "the stored event differs in payload"
    )
    same, again = (of_source(source, "the same") for source in SOURCES)
    assert outcome(again, stored_by(same)) is Outcome.DUPLICATE


@pytest.mark.reliability("F89")
def test_an_event_id_in_the_data_tells_two_sources_with_one_id_apart() -> None:
    first, second = (of_source(source, "", eventId=repr(source)) for source in SOURCES)
    assert first.identity != second.identity
