"""The fast way: which records it takes, and that the slow way would say the same."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consumer.contract.decode import MAX_VALUE_BYTES, Decoded, decode
from consumer.contract.kinds import EVENT_RECORDED, SESSION_COMPLETED, SESSION_CREATED
from consumer.contract.messages import Fields
from consumer.contract.record import Headers, Record
from consumer.contract.rejection import KeyPolicy, Rejected
from consumer.contract.times import REDRIVE_TIMESTAMP
from consumer.state.fast_path import plan_quickly
from consumer.state.writes import Write, plan
from tests.own_kinds import upcasting
from tests.unit.contract.builders import (
    COMPLETED,
    CREATED,
    DATA,
    EVENT,
    FAILED,
    binary,
    record,
    structured,
    without,
)
from tests.unit.contract.test_decode_properties import headers, records, values

EXPIRY = datetime(2027, 1, 2, 3, 4, 5, 678_000, UTC)
TRACED = (("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),)


def planned_slowly(source: Record, expire_at: datetime | None) -> Write | None:
    """What the slow way makes of a message that is in order and has its key."""
    decoded = decode(source, KeyPolicy.DEAD_LETTER)
    if not isinstance(decoded, Decoded):
        return None
    planned = plan(decoded.message, source, expire_at)
    return None if isinstance(planned, Rejected) else planned


def planned_fast_and_as_slowly(source: Record, expire_at: datetime | None) -> Write:
    planned = plan_quickly(source, expire_at, MAX_VALUE_BYTES)
    assert planned is not None
    assert planned == planned_slowly(source, expire_at)
    assert planned.expire_at == expire_at
    return planned


@pytest.mark.parametrize(
    "ordinary",
    [
        record(EVENT),
        record(EVENT | {"schemaVersion": 1, "more": [1, {"a": None}]}),
        record(EVENT | {"timestamp": "2026-03-05T00:00:05.123456+14:00"}),
        record(EVENT, headers=TRACED),
        record(EVENT, headers=(*TRACED, ("content-type", b"application/json"))),
        record(without(EVENT, "timestamp"), headers=TRACED),
        record(EVENT | {"timestamp": None}, headers=((REDRIVE_TIMESTAMP, b"5"),)),
        record(EVENT | {"payload": {"text": "x" * 50_000}}),
        binary(DATA),
        binary(DATA, *TRACED, subject=b"s-1", time=None),
        structured(),
        structured(subject="s-1", data=EVENT),
    ],
)
@pytest.mark.parametrize("expire_at", [None, EXPIRY])
def test_an_ordinary_event_is_planned_fast_and_as_slowly(
    ordinary: Record, expire_at: datetime | None
) -> None:
    planned = planned_fast_and_as_slowly(ordinary, expire_at)
    assert ("expireAt" in planned.content) == (expire_at is not None)


@pytest.mark.parametrize(
    "ordinary",
    [
        record(CREATED),
        record(CREATED | {"schemaVersion": 1, "more": [1, {"a": None}]}, headers=TRACED),
        record(CREATED | {"metadata": None}),
        record(without(CREATED, "metadata", "startedAt")),
        record(CREATED | {"startedAt": "2026-03-05T00:00:05.123456+14:00"}),
        record(COMPLETED),
        record(without(COMPLETED, "eventCount", "endedAt"), headers=((REDRIVE_TIMESTAMP, b"5"),)),
        record(FAILED),
        record(FAILED | {"reason": None}),
    ],
)
@pytest.mark.parametrize("expire_at", [None, EXPIRY])
def test_an_ordinary_message_of_a_session_is_planned_fast_and_as_slowly(
    ordinary: Record, expire_at: datetime | None
) -> None:
    planned_fast_and_as_slowly(ordinary, expire_at)


@pytest.mark.parametrize(
    "odd",
    [
        record(None),
        record(b""),
        record(b"[]"),
        record(EVENT, key=None),
        record(EVENT, key=b"other"),
        record(EVENT | {"type": ["event.recorded"]}),
        record(EVENT | {"type": "session.created"}),
        record(EVENT | {"type": "session.opened"}),
        record(CREATED, key=None),
        record(CREATED, key=b"other"),
        record(CREATED | {"sessionId": 1}, key=b"1"),
        record(CREATED | {"sessionId": "a\0"}, key=b"a\0"),
        record(CREATED | {"schemaVersion": 2}),
        record(CREATED | {"language": ""}),
        record(CREATED | {"language": "x" * 65}),
        record(CREATED | {"language": ["en"]}),
        record(CREATED | {"metadata": []}),
        record(CREATED | {"metadata": {"a": 2**63}}),
        record(CREATED | {"startedAt": 5}),
        record(CREATED | {"startedAt": "2026-03-04T24:00:00Z"}),
        record(without(CREATED, "startedAt"), timestamp_ms=-1),
        record(COMPLETED | {"eventCount": -1}),
        record(COMPLETED | {"eventCount": True}),
        record(COMPLETED | {"eventCount": 1.0}),
        record(FAILED | {"reason": 5}),
        record(FAILED | {"reason": "\ud800"}),
        binary(CREATED, type=b"session.created"),
        record(EVENT | {"schemaVersion": True}),
        record(EVENT | {"schemaVersion": 1.0}),
        record(EVENT | {"schemaVersion": 2}),
        record(EVENT | {"sessionId": 1}, key=b"1"),
        record(EVENT | {"sessionId": ""}, key=b""),
        record(EVENT | {"sessionId": "s" * 257}, key=b"s" * 257),
        record(EVENT | {"eventId": "a\0"}),
        record(EVENT | {"eventId": "\ud800"}),
        record(EVENT | {"eventId": None}),
        record(EVENT | {"eventType": "shout"}),
        record(EVENT | {"eventType": ["system"]}),
        record(EVENT | {"payload": [{}]}),
        record(EVENT | {"payload": {"a": 2**63}}),
        record(EVENT | {"payload": {"a": float("inf")}}),
        record(EVENT | {"payload": {"a\0": 1}}),
        record(EVENT | {"payload": {"a": "\ud800"}}),
        record(EVENT | {"timestamp": 5}),
        record(EVENT | {"timestamp": "2026-03-04T10:00:05"}),
        record(EVENT | {"timestamp": "2026-03-04T10:00:60Z"}),
        record(EVENT | {"timestamp": "2026-03-04T24:00:00Z"}),
        record(without(EVENT, "timestamp"), timestamp_ms=-1),
        binary(EVENT, type=b"session.created"),
        binary(EVENT, specversion=b"0.3"),
        binary(EVENT, subject=b"other"),
        binary(EVENT, ("ce_id", b"ce-2")),
        binary(EVENT, type=b"event.recorded.v2"),
        binary(EVENT | {"schemaVersion": 1}, type=b"event.recorded.v2"),
        structured(data_base64="e30="),
        structured(data=[EVENT]),
        record(EVENT, headers=(("content-type", b"application/cloudevents+avro"),)),
    ],
)
def test_what_is_not_in_order_goes_the_slow_way(odd: Record) -> None:
    assert plan_quickly(odd, None, MAX_VALUE_BYTES) is None


def test_a_value_larger_than_may_be_read_goes_the_slow_way() -> None:
    source = record(EVENT)
    size = len(source.value or b"")
    assert plan_quickly(source, None, size) is not None
    assert plan_quickly(source, None, size - 1) is None


def of_version(suffix: str, *, binary_mode: bool, data: dict[str, Any]) -> Record:
    name = f"event.recorded{suffix}"
    return binary(data, type=name.encode()) if binary_mode else structured(data=data, type=name)


@st.composite
def nearly_messages(draw: st.DrawFn) -> Record:
    """Messages of which at most two fields are anything: events, in each wrapping; sessions'."""
    message = draw(st.sampled_from([EVENT, EVENT, CREATED, COMPLETED, FAILED]))
    odd = st.dictionaries(
        st.sampled_from([*message, "schemaVersion", "data", "id"]), values, max_size=2
    )
    version: st.SearchStrategy[dict[str, Any]] = st.just({}) | st.fixed_dictionaries(
        {"schemaVersion": st.integers(0, 4)}
    )
    dropped = draw(
        st.sets(st.sampled_from(["type", "eventId", "timestamp", "startedAt", "endedAt"]))
    )
    data: dict[str, Any] = without(message, *dropped) | draw(version) | draw(odd)
    suffix = draw(st.sampled_from(["", ".v1", ".v2", ".v3"]))
    binary_mode = draw(st.none() | st.booleans())
    made = (
        record(data)
        if binary_mode is None
        else of_version(suffix, binary_mode=binary_mode, data=data)
    )
    key: bytes | None = draw(st.sampled_from((b"s-1", b"s-2", None)))
    more: Headers = draw(st.just(()) | headers)
    stamped: int = draw(st.sampled_from((1_772_618_400_000, -1, 0)))
    return Record("t", 3, 42, stamped, key, made.value, made.headers + more)


def shouted(fields: Fields) -> Fields:
    """Read a version whose payload was another."""
    return fields | {"payload": {"upcast": fields["payload"]}}


def again(fields: Fields) -> Fields:
    """Read a version that counted in another way, and whose sessions had other metadata."""
    return fields | {"eventCount": 7, "metadata": {"upcast": fields.get("metadata")}}


@given(nearly_messages() | records, st.none() | st.just(EXPIRY), st.integers(1, 3))
@example(record(json.dumps(EVENT).replace("hello", "a\\u0000").encode()), None, 1)
@example(record(EVENT), None, 2)
@example(record(CREATED), None, 2)
@example(record(COMPLETED | {"schemaVersion": 1}), None, 2)
@example(record(EVENT | {"schemaVersion": 2}), None, 2)
@example(of_version(".v2", binary_mode=True, data=EVENT), None, 2)
@example(of_version(".v2", binary_mode=False, data=EVENT | {"schemaVersion": 1}), None, 2)
@example(of_version(".v1", binary_mode=False, data=EVENT | {"schemaVersion": 2}), None, 2)
@pytest.mark.reliability("F100")
def test_both_ways_make_the_same_write(
    source: Record, expire_at: datetime | None, newest: int
) -> None:
    with (
        upcasting(EVENT_RECORDED, *[shouted] * (newest - 1)),
        upcasting(SESSION_CREATED, *[again] * (newest - 1)),
        upcasting(SESSION_COMPLETED, *[again] * (newest - 1)),
    ):
        planned: Any = plan_quickly(source, expire_at, MAX_VALUE_BYTES)
        if planned is not None:
            assert planned == planned_slowly(source, expire_at)
