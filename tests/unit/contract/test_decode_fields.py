"""Which values the fields of a message may have."""

from __future__ import annotations

from typing import Any

import pytest

from consumer.contract.messages import EventRecorded, SessionCompleted, SessionCreated
from consumer.contract.rejection import Reason
from tests.unit.contract.builders import (
    COMPLETED,
    CREATED,
    EVENT,
    FAILED,
    decoded,
    reason,
    record,
    refusal,
    short,
)


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


@pytest.mark.parametrize("levels", [99, 101, 181])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_depth_alone_makes_no_message_invalid(opening: str, closing: str, levels: int) -> None:
    deep = opening * levels + "1" + closing * levels
    payload = record(EVENT | {"payload": {"x": "?"}}).value or b""
    unread = record(EVENT | {"x": "?"}).value or b""
    assert reason(record(payload.replace(b'"?"', deep.encode()))) is None
    assert decoded(record(unread.replace(b'"?"', deep.encode()))) == decoded(record(EVENT))


@pytest.mark.parametrize("name", ["sessionId", "eventId", "payload", "timestamp"])
@pytest.mark.parametrize("value", ["[" * 181 + "]" * 181, "9" * 5000, "0." + "9" * 5000], ids=short)
def test_an_extreme_value_is_invalid_where_another_type_must_stand(name: str, value: str) -> None:
    fields = record(EVENT | {name: "?"}).value or b""
    assert reason(record(fields.replace(b'"?"', value.encode()))) is Reason.INVALID


def test_free_text_that_cannot_be_stored_is_left_to_who_stores() -> None:
    assert reason(record(CREATED | {"language": "\ud800"})) is None
    assert reason(record(FAILED | {"reason": "\ud800\0"})) is None


@pytest.mark.parametrize("wrong", [0, 1.5, True, None, [], {}])
@pytest.mark.reliability("F97")
def test_an_event_type_that_is_no_text_is_told_to_be_that(wrong: object) -> None:
    refused = refusal(record(EVENT | {"eventType": wrong}))
    assert (refused.reason, refused.detail) == (Reason.INVALID, "eventType: must be text")
