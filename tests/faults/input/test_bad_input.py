"""Bad input, one record each, through decoder, planner and store: rows B1 to B18 of the matrix."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from consumer.contract.kinds import EVENT_RECORDED
from consumer.contract.messages import Fields
from consumer.contract.record import Record
from consumer.contract.rejection import KeyPolicy, Reason
from consumer.engine.pipeline import RecordPlanner
from consumer.mongo.store import MongoStore
from consumer.state.outcomes import Outcome, Result
from tests.adapters.mongo.applying import apply
from tests.builders import STAMPED_MS, completed, created, encoded, event, failed
from tests.fakes.collections import MemoryCollections
from tests.own_kinds import upcasting

MIB = 1024 * 1024


class Consumer:
    """Decoder, planner and store, one record at a time."""

    def __init__(self, policy: KeyPolicy = KeyPolicy.WARN) -> None:
        self._planner = RecordPlanner(policy, None, lambda: datetime.now(UTC))
        self._store = MongoStore(MemoryCollections())
        self._offset = 0

    async def read(self, value: bytes | None, **fields: Any) -> Result:
        """Return how the next record ends."""
        self._offset += 1
        planned, _ = self._planner(_record(value, self._offset, **fields))
        if isinstance(planned, Result):
            return planned
        (result,) = await apply(self._store, [planned])
        return result


def _record(value: bytes | None, offset: int, key: bytes | None = b"s") -> Record:
    return Record("conversation.events", 0, offset, STAMPED_MS, key, value)


async def ends(value: bytes | None, **fields: Any) -> Outcome | Reason:
    """Return the outcome of one record, or why it was rejected."""
    result = await Consumer().read(value, **fields)
    return result.rejected.reason if result.rejected is not None else result.outcome


def with_payload(text: str) -> bytes:
    """An event whose payload has ``text`` as the JSON of its one field."""
    return encoded(event()).replace(b'{"text":"hello"}', b'{"x":' + text.encode() + b"}")


@pytest.mark.reliability("B1")
async def test_tombstones_are_skipped_and_keys_that_say_nothing_do_no_harm() -> None:
    assert await ends(None) is Outcome.SKIPPED
    assert await ends(b"") is Reason.UNDECODABLE
    for key in (None, b"", b"\xff\xfe"):
        assert await ends(encoded(event()), key=key) is Outcome.APPLIED


@pytest.mark.reliability("B2")
async def test_a_key_that_differs_is_applied_or_dead_lettered_as_the_policy_says() -> None:
    assert await ends(encoded(event()), key=b"other") is Outcome.APPLIED
    strict = await Consumer(KeyPolicy.DEAD_LETTER).read(encoded(event()), key=b"other")
    assert strict.rejected is not None
    assert strict.rejected.reason is Reason.KEY_MISMATCH


@pytest.mark.parametrize(
    "value",
    [
        b"hello",
        encoded(event())[:-1],
        encoded(event()) + b"x",
        encoded(event()).decode().encode("utf-16"),
        b"\xef\xbb\xbf" + encoded(event()),
        encoded(event()).replace(b"hello", b"\xff"),
        b"[" + encoded(event()) + b"]",
    ],
)
@pytest.mark.reliability("B3")
async def test_what_is_not_one_json_object_in_utf8_is_undecodable(value: bytes) -> None:
    assert await ends(value) is Reason.UNDECODABLE


@pytest.mark.reliability("B4")
async def test_unpaired_surrogates_are_refused_wherever_they_stand() -> None:
    lone = '"\\ud800"'
    assert await ends(with_payload(lone)) is Reason.UNSTORABLE
    assert await ends(with_payload("{" + lone + ":1}")) is Reason.UNSTORABLE
    spoken = encoded(event()).replace(b'"sessionId":"s"', b'"sessionId":"\\ud800"')
    assert await ends(spoken) is Reason.INVALID


@pytest.mark.reliability("B5")
async def test_nul_is_refused_in_names_and_ids_and_kept_in_text() -> None:
    assert await ends(with_payload('{"a\\u0000b":1}')) is Reason.UNSTORABLE
    spoken = encoded(event()).replace(b'"sessionId":"s"', b'"sessionId":"s\\u0000"')
    assert await ends(spoken) is Reason.INVALID
    assert await ends(with_payload('"a\\u0000b"')) is Outcome.APPLIED


@pytest.mark.parametrize(
    "number", [str(2**63), str(-(2**63) - 1), str(2**64), "9" * 5000, "1e400", "-1e400"]
)
@pytest.mark.reliability("B6")
async def test_numbers_that_bson_cannot_hold_are_unstorable_alone(number: str) -> None:
    assert await ends(with_payload(number)) is Reason.UNSTORABLE


@pytest.mark.reliability("B7")
async def test_nan_is_undecodable_and_no_number_loses_precision() -> None:
    for literal in ("NaN", "Infinity", "-Infinity"):
        assert await ends(with_payload(literal)) is Reason.UNDECODABLE
    consumer = Consumer()
    assert (await consumer.read(with_payload(str(2**53 + 1)))).outcome is Outcome.APPLIED
    assert (await consumer.read(with_payload(str(2**53)))).outcome is Outcome.CONFLICT
    zero = Consumer()
    assert (await zero.read(with_payload("-0.0"))).outcome is Outcome.APPLIED
    assert (await zero.read(with_payload("0.0"))).outcome is Outcome.DUPLICATE


@pytest.mark.parametrize(
    ("levels", "end"),
    [
        # The document and its payload are two levels more.
        (98, Outcome.APPLIED),
        (99, Reason.UNSTORABLE),
        (181, Reason.UNSTORABLE),
        # No parser goes so deep.
        (1_000, Reason.UNDECODABLE),
        (100_000, Reason.UNDECODABLE),
    ],
)
@pytest.mark.parametrize(("begin", "finish"), [("[", "]"), ('{"a":', "}")])
@pytest.mark.reliability("B8")
async def test_no_depth_breaks_more_than_its_record(
    levels: int, end: Outcome | Reason, begin: str, finish: str
) -> None:
    inner = "1" if begin != "[" else ""
    assert await ends(with_payload(begin * levels + inner + finish * levels)) is end


@pytest.mark.parametrize(
    ("size", "end"),
    [
        (MIB, Outcome.APPLIED),
        (15 * MIB, Outcome.APPLIED),
        (16 * MIB + 1, Reason.UNSTORABLE),
        (17 * MIB, Reason.UNSTORABLE),
    ],
)
@pytest.mark.reliability("B9")
async def test_what_is_larger_than_a_document_may_be_is_unstorable(
    size: int, end: Outcome | Reason
) -> None:
    assert await ends(with_payload('"' + "x" * size + '"')) is end


@pytest.mark.reliability("B10")
async def test_names_that_mean_something_elsewhere_are_inert_and_compared() -> None:
    names = '{"$set":1,"a.b":2,"":3,"__proto__":4,"_id":5,"$ref":"x","$id":6}'
    consumer = Consumer()
    assert (await consumer.read(with_payload(names))).outcome is Outcome.APPLIED
    assert (await consumer.read(with_payload(names))).outcome is Outcome.DUPLICATE
    other = names.replace('"$id":6', '"$id":7')
    assert (await consumer.read(with_payload(other))).outcome is Outcome.CONFLICT


@pytest.mark.parametrize(
    "session_id", [{"$ne": None}, ["a"], 1, True, None, "", "x" * 10_000_000, 1.5]
)
@pytest.mark.reliability("B11")
async def test_a_session_id_that_is_no_short_text_is_invalid(session_id: object) -> None:
    message = {**event(), "sessionId": session_id}
    assert await ends(json.dumps(message).encode()) is Reason.INVALID


@pytest.mark.reliability("B12")
async def test_ids_are_kept_as_they_are_and_told_apart_by_their_bytes() -> None:
    ids = ["a\nb", "\x1b[2J", "\u202eabc", "a\u200b", "\u00e9", "e\u0301", " a", "a", "A", "a "]
    consumer = Consumer()
    for session_id in ids:
        result = await consumer.read(encoded(event(session_id)))
        assert result.outcome is Outcome.APPLIED, session_id


@pytest.mark.reliability("B13")
async def test_of_a_name_that_stands_twice_the_last_one_counts() -> None:
    twice = encoded(event()).replace(b'"sessionId":"s"', b'"sessionId":"a","sessionId":"s"')
    consumer = Consumer()
    assert (await consumer.read(twice)).outcome is Outcome.APPLIED
    assert (await consumer.read(encoded(event()))).outcome is Outcome.DUPLICATE


@pytest.mark.reliability("B14")
async def test_unknown_kinds_are_refused_unknown_fields_ignored_missing_ones_invalid() -> None:
    assert await ends(encoded({**event(), "type": "event.invented"})) is Reason.UNSUPPORTED_TYPE
    assert await ends(encoded({**event(), "more": [1]})) is Outcome.APPLIED
    assert await ends(encoded(event(eventId=None))) is Reason.INVALID
    assert await ends(encoded({**event(), "payload": "text"})) is Reason.INVALID
    assert await ends(encoded({**event(), "schemaVersion": 2})) is Reason.UNSUPPORTED_VERSION


@pytest.mark.parametrize(
    ("written", "end"),
    [
        ("2026-03-04T10:00:00", Reason.INVALID),
        ("2026-03-04T10:00:00+14:00", Outcome.APPLIED),
        ("2026-03-04T10:00:00.123456Z", Outcome.APPLIED),
        ("0000-01-01T00:00:00Z", Reason.INVALID),
        ("10000-01-01T00:00:00Z", Reason.INVALID),
        ("1969-12-31T23:59:59Z", Outcome.APPLIED),
        ("2026-03-04T10:00:60Z", Reason.INVALID),
    ],
)
@pytest.mark.reliability("B15")
async def test_times_are_rfc_3339_or_invalid(written: str, end: Outcome | Reason) -> None:
    assert await ends(encoded(event(timestamp=written))) is end


@pytest.mark.reliability("B15")
async def test_a_number_is_no_time() -> None:
    for number in (1e20, -1, 1772618400000):
        message = {**event(), "timestamp": number}
        assert await ends(json.dumps(message).encode()) is Reason.INVALID


@pytest.mark.reliability("B16")
async def test_the_same_event_again_changes_nothing() -> None:
    consumer = Consumer()
    assert (await consumer.read(encoded(event()))).outcome is Outcome.APPLIED
    assert (await consumer.read(encoded(event()))).outcome is Outcome.DUPLICATE


@pytest.mark.reliability("B17")
async def test_the_same_id_with_other_content_is_a_conflict_and_the_first_stays() -> None:
    consumer = Consumer()
    await consumer.read(encoded(event()))
    other = await consumer.read(encoded(event(payload={"text": "other"})))
    assert other.rejected is not None
    assert other.rejected.reason is Reason.CONFLICT
    assert (await consumer.read(encoded(event()))).outcome is Outcome.DUPLICATE


@pytest.mark.reliability("B18")
async def test_stubs_late_events_and_ends_in_any_order_are_normal() -> None:
    consumer = Consumer()
    assert (await consumer.read(encoded(event()))).outcome is Outcome.APPLIED
    assert (await consumer.read(encoded(completed()))).outcome is Outcome.APPLIED
    assert (await consumer.read(encoded(created()))).outcome is Outcome.APPLIED
    late = await consumer.read(encoded(event(event_id="late")))
    assert (late.outcome, late.late) == (Outcome.APPLIED, True)
    assert (await consumer.read(encoded(completed()))).outcome is Outcome.DUPLICATE
    assert (await consumer.read(encoded(failed()))).outcome is Outcome.CONFLICT


@pytest.mark.reliability("F100")
async def test_two_versions_of_one_event_are_duplicates_and_a_third_waits_alone() -> None:
    def upcast(fields: Fields) -> Fields:
        return fields | {"payload": {"text": fields["said"]}}

    consumer = Consumer()
    assert (await consumer.read(encoded(event()))).outcome is Outcome.APPLIED
    with upcasting(EVENT_RECORDED, upcast):
        first = encoded(event(payload=None) | {"said": "hello"})
        second = encoded(event() | {"schemaVersion": 2})
        assert (await consumer.read(first)).outcome is Outcome.DUPLICATE
        assert (await consumer.read(second)).outcome is Outcome.DUPLICATE
        third = await consumer.read(encoded(event(event_id="f") | {"schemaVersion": 3}))
        assert third.rejected is not None
        assert third.rejected.reason is Reason.UNSUPPORTED_VERSION
