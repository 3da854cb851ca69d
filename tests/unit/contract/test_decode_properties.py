"""What holds for every record, whatever is in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from consumer.contract.decode import Decoded, Tombstone, decode
from consumer.contract.record import Headers, Record
from consumer.contract.rejection import KeyPolicy, Reason, Rejected
from consumer.contract.times import REDRIVE_TIMESTAMP
from tests.unit.contract.builders import (
    CE_HEADERS,
    COMPLETED,
    CREATED,
    DATA,
    ENVELOPE,
    EVENT,
    FAILED,
    STRUCTURED,
    record,
)

KINDS = [CREATED, COMPLETED, FAILED, EVENT]
FIELDS = sorted({name for kind in [*KINDS, ENVELOPE] for name in kind} | {"data", "data_base64"})
WORDS = [
    *FIELDS,
    *(kind["type"] for kind in KINDS),
    "1.0",
    "user_speech",
    "s-1",
    "2026-03-04T10:00:05Z",
    "com.example.event.recorded.v2",
    "e30=",
]

texts = st.sampled_from(WORDS) | st.text(st.characters(), max_size=5)
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(st.sampled_from(FIELDS) | texts, values, max_size=8)


@st.composite
def spoiled_messages(draw: st.DrawFn) -> dict[str, Any]:
    """Messages of which some fields are anything."""
    message = draw(st.sampled_from([*KINDS, DATA, ENVELOPE | {"data": DATA}]))
    return dict(message) | draw(objects)


@st.composite
def spoiled_bytes(draw: st.DrawFn) -> bytes:
    """JSON of which some bytes are anything."""
    encoded = json.dumps(draw(spoiled_messages())).encode()
    at = draw(st.integers(0, len(encoded)))
    return encoded[:at] + draw(st.binary(max_size=3)) + encoded[at + draw(st.integers(0, 3)) :]


header_values = (
    st.none() | st.binary(max_size=8) | texts.map(lambda text: text.encode(errors="replace"))
)
headers = st.lists(
    st.tuples(
        st.sampled_from([*CE_HEADERS, "ce_subject", "content-type", REDRIVE_TIMESTAMP])
        | st.text(max_size=5),
        header_values
        | st.sampled_from([*CE_HEADERS.values(), b"application/cloudevents+json", b"-1", b"5"]),
    ),
    max_size=8,
).map(tuple)
records = st.builds(
    Record,
    topic=st.just("t"),
    partition=st.integers(0, 9),
    offset=st.integers(0, 2**63 - 1),
    timestamp_ms=st.integers(-(2**63), 2**63 - 1) | st.sampled_from([-1, 0]),
    key=st.none() | st.binary(max_size=4) | st.just(b"s-1"),
    value=st.none()
    | st.binary(max_size=40)
    | spoiled_bytes()
    | spoiled_messages().map(lambda message: json.dumps(message).encode()),
    headers=headers,
)


@given(records, st.sampled_from(KeyPolicy))
def test_every_record_is_a_message_a_tombstone_or_refused(
    record: Record, policy: KeyPolicy
) -> None:
    result = decode(record, policy)
    match result:
        case Decoded(message):
            assert message.session_id
            assert result.key_mismatch == (record.key != message.session_id.encode())
            assert policy is KeyPolicy.WARN or not result.key_mismatch
        case Rejected():
            assert result.reason not in {Reason.UNSTORABLE, Reason.CONFLICT}
            assert result.detail
        case Tombstone():
            assert record.value is None


@given(records, st.sampled_from(KeyPolicy))
def test_decoding_again_says_the_same(record: Record, policy: KeyPolicy) -> None:
    assert decode(record, policy) == decode(record, policy)


# --- precedence -----------------------------------------------------------------------

Flaw = Callable[[dict[str, Any]], None]


def setting(**fields: object) -> Flaw:
    return lambda message: message.update(fields)


FLAWS: list[tuple[Reason, Flaw]] = [
    (Reason.UNSUPPORTED_TYPE, setting(eventType="tool_call")),
    (Reason.UNSUPPORTED_VERSION, setting(schemaVersion=2)),
    (Reason.INVALID, setting(sessionId="")),
    (Reason.INVALID, setting(eventId=["e"])),
    (Reason.INVALID, setting(payload=None)),
    (Reason.INVALID, setting(timestamp="soon")),
]
TYPES = {
    None: "event.recorded",
    Reason.UNSUPPORTED_TYPE: "event.unheard",
    Reason.INVALID: None,
}


def bare(data: dict[str, Any], type_: str | None) -> tuple[dict[str, Any], Headers]:
    return data | {"type": type_}, ()


def structured(data: dict[str, Any], type_: str | None) -> tuple[dict[str, Any], Headers]:
    return ENVELOPE | {"data": data, "type": type_}, STRUCTURED


def binary(data: dict[str, Any], type_: str | None) -> tuple[dict[str, Any], Headers]:
    encoded = None if type_ is None else type_.encode()
    return data, tuple((CE_HEADERS | {"ce_type": encoded}).items())


@given(
    st.sets(st.integers(0, len(FLAWS) - 1)),
    st.sampled_from(sorted(TYPES, key=str)),
    st.sampled_from([bare, structured, binary]),
    st.booleans(),
    st.booleans(),
)
def test_the_first_reason_in_their_order_counts(
    flaws: set[int],
    flaw_of_type: Reason | None,
    wrap: Callable[[dict[str, Any], str | None], tuple[dict[str, Any], Headers]],
    cut_short: bool,
    other_key: bool,
) -> None:
    data = {name: value for name, value in EVENT.items() if name != "type"}
    reasons = {flaw_of_type} - {None}
    for index in flaws:
        reason, flaw = FLAWS[index]
        if reason is Reason.UNSUPPORTED_TYPE and flaw_of_type is Reason.INVALID:
            # Without a type nothing says that there is an eventType.
            continue
        flaw(data)
        reasons.add(reason)
    value, headers = wrap(data, TYPES[flaw_of_type])
    encoded = json.dumps(value).encode()
    if cut_short:
        encoded = encoded[:-1]
        reasons.add(Reason.UNDECODABLE)
    if other_key:
        reasons.add(Reason.KEY_MISMATCH)
    result = decode(
        record(encoded, key=b"other" if other_key else b"s-1", headers=headers),
        KeyPolicy.DEAD_LETTER,
    )
    first = next((reason for reason in Reason if reason in reasons), None)
    assert (result.reason if isinstance(result, Rejected) else None) is first
