from __future__ import annotations

from datetime import UTC, timedelta
from typing import Any

import bson
import pytest
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument

from consumer.contract.json_text import BEYOND_INT64, MAX_DOCUMENT_BYTES
from consumer.contract.rejection import Reason, Rejected
from consumer.state.bson_compare import SERVER_ID_BYTES
from consumer.state.writes import MAX_CREATE_BYTES, MAX_END_BYTES, EventWrite, plan

from .builders import (
    SESSIONS,
    STAMPED,
    at,
    completed,
    create_write,
    created,
    end_write,
    event,
    event_write,
    failed,
    record,
    write,
)


def decoded(content: RawBSONDocument) -> dict[str, object]:
    return bson.decode(bytes(content.raw), CodecOptions(tz_aware=True, tzinfo=UTC))


def test_an_event_becomes_one_document_that_says_where_it_came_from() -> None:
    written = event_write(event("s", "e", {"text": "hi"}), record(7, partition=2))
    assert decoded(written.content) == {
        "sessionId": "s",
        "eventId": "e",
        "type": "user_speech",
        "payload": {"text": "hi"},
        "timestamp": at(1),
        "from": {"topic": "conversation.events", "partition": 2, "offset": 7},
    }


def test_an_event_tells_its_origin_and_does_not_print_its_document() -> None:
    source = record(2**40, partition=2)
    written = event_write(event("s", "e", {"text": "a caller's words"}), source)
    assert written.position == source.position
    assert "words" not in repr(written)


def test_a_creation_sets_what_only_a_creation_knows() -> None:
    written = create_write(created(metadata={"a": {"$date": "x"}}), record(3, topic=SESSIONS))
    assert decoded(written.content) == {
        "language": "en",
        "metadata": {"a": {"$date": "x"}},
        "startedAt": at(0),
        "createdFrom": {"topic": SESSIONS, "partition": 0, "offset": 3},
    }


def test_a_completion_sets_status_and_time_and_the_count_if_there_is_one() -> None:
    origin = {"topic": SESSIONS, "partition": 0, "offset": 4}
    bare = {"status": "completed", "endedAt": at(9), "endedFrom": origin}
    source = record(4, topic=SESSIONS)
    assert decoded(end_write(completed(), source).content) == bare
    assert decoded(end_write(completed(event_count=0), source).content) == {
        **bare,
        "eventCount": 0,
    }


def test_a_failure_sets_status_and_time_and_the_reason_if_there_is_one() -> None:
    origin = {"topic": SESSIONS, "partition": 0, "offset": 4}
    bare = {"status": "failed", "endedAt": at(9), "endedFrom": origin}
    source = record(4, topic=SESSIONS)
    assert decoded(end_write(failed(), source).content) == bare
    assert decoded(end_write(failed(reason=""), source).content) == {**bare, "reason": ""}


@pytest.mark.parametrize(
    ("written", "origin"),
    [
        (write(event(time_defaulted=True)), "from"),
        (write(created(time_defaulted=True)), "createdFrom"),
        (write(completed(time_defaulted=True)), "endedFrom"),
        (write(failed(time_defaulted=True)), "endedFrom"),
    ],
)
def test_a_time_taken_from_the_record_is_marked_as_such(written: EventWrite, origin: str) -> None:
    assert written.content[origin]["defaulted"] is True


def test_the_same_record_always_writes_the_same_bytes() -> None:
    one, other = (write(event(), record(5), STAMPED) for _ in range(2))
    assert one.content.raw == other.content.raw


def test_what_names_an_identity_is_told_apart_even_where_the_ids_look_alike() -> None:
    identities = {
        write(message).identity
        for message in (
            event("a", "b"),
            event("create", "s"),
            event("a.b", "c"),
            created("s"),
            completed("s"),
            created("t"),
        )
    }
    assert len(identities) == 6
    assert write(completed("s")).identity == write(failed("s")).identity


@pytest.mark.parametrize(
    ("message", "detail"),
    [
        (event(payload={"n": 2**63}), "payload: an integer beyond 64 bits"),
        (created(metadata={"n": 2**63}), "metadata: an integer beyond 64 bits"),
        (created(language="\ud800"), "language: an unpaired surrogate"),
        (failed(reason="\udead"), "reason: an unpaired surrogate"),
        (event(payload={"n": -BEYOND_INT64}), "payload: an integer beyond 64 bits"),
        (created(metadata={"t": "\ud800"}), "metadata: an unpaired surrogate"),
        (completed(event_count=2**63), "eventCount: an integer beyond 64 bits"),
    ],
)
def test_what_cannot_be_stored_is_rejected_before_anything_is_sent(
    message: object, detail: str
) -> None:
    planned = plan(message, record())  # type: ignore[arg-type]  # parametrised over all kinds
    assert planned == Rejected(Reason.UNSTORABLE, detail)


def test_an_event_may_be_as_large_as_a_document_with_the_id_that_the_server_adds() -> None:
    frame = len(event_write(event(payload={"t": ""})).content.raw) + SERVER_ID_BYTES
    room = MAX_DOCUMENT_BYTES - frame
    assert isinstance(plan(event(payload={"t": "x" * room}), record()), EventWrite)
    assert isinstance(plan(event(payload={"t": "x" * (room + 1)}), record()), Rejected)


def test_the_largest_creation_and_the_largest_end_fit_into_one_document() -> None:
    session_id = "\U0001f600" * 256
    bare_create, bare_end = create_write(created(metadata={"t": ""})), end_write(failed(reason=""))
    room = MAX_CREATE_BYTES - len(bare_create.content.raw)
    reason = "x" * (MAX_END_BYTES - len(bare_end.content.raw))
    create = create_write(created(session_id, metadata={"t": "x" * room}))
    end = end_write(failed(session_id, reason=reason))
    document = {
        "_id": bson.ObjectId(),
        "sessionId": session_id,
        **decoded(create.content),
        **decoded(end.content),
        "expireAt": STAMPED,
    }
    assert len(bson.encode(document)) <= MAX_DOCUMENT_BYTES
    assert len(reason) > 60_000
    too_much: list[Any] = [created(metadata={"t": "x" * (room + 1)}), failed(reason=reason + "x")]
    for message in too_much:
        assert isinstance(plan(message, record()), Rejected)


EXPIRY = STAMPED + timedelta(days=30)


def test_documents_expire_only_where_a_retention_is_set() -> None:
    assert "expireAt" not in event_write(event()).content
    assert event_write(event()).expire_at is None
    kept = write(event(), record(), EXPIRY)
    assert kept.expire_at == EXPIRY
    assert decoded(kept.content)["expireAt"] == EXPIRY


def test_the_expiry_of_a_session_is_no_part_of_its_content() -> None:
    kept = write(created(), record(), EXPIRY)
    assert kept.expire_at == EXPIRY
    assert "expireAt" not in kept.content
