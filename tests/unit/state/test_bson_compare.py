from __future__ import annotations

from typing import Any

import bson
import pytest
from bson.int64 import Int64
from hypothesis import given
from hypothesis import strategies as st

from consumer.state.bson_compare import (
    behind_id,
    behind_length,
    differing_fields,
    raw_document,
    same_but_for_id,
    same_value,
)


def same(left: Any, right: Any) -> bool:
    """Compare two values as they lie in a store."""
    return same_value(
        raw_document(bson.encode({"v": left}))["v"], raw_document(bson.encode({"v": right}))["v"]
    )


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1}),
        ([{"a": 1, "b": 2}], [{"b": 2, "a": 1}]),
        (7, Int64(7)),
        ({"n": 7}, {"n": Int64(7)}),
        ({"n": [-7]}, {"n": [Int64(-7)]}),
        (-0.0, 0.0),
        ({"x": [0.0]}, {"x": [-0.0]}),
        ({"$ref": "c", "$id": 1}, {"$id": 1, "$ref": "c"}),
        ({}, {}),
        ([], []),
        (None, None),
        ("Köln", "Köln"),
    ],
)
def test_the_same_content_in_another_shape_is_the_same(left: Any, right: Any) -> None:
    assert same(left, right)
    assert same(right, left)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (True, 1),
        (False, 0),
        (1, 1.0),
        (0, -0.0),
        (100, 100.0),
        (True, 1.0),
        ({"n": 1}, {"n": True}),
        (["a", "b"], ["b", "a"]),
        (["a"], ["a", "a"]),
        ([], {}),
        ({}, None),
        ({"a": None}, {}),
        ({"a": 1}, {"b": 1}),
        ({"a": 1}, {"a": 1, "b": 2}),
        ("1", 1),
        ("é", "e\u0301"),
        ({"$ref": "c", "$id": 1}, {"$ref": "c", "$id": 2}),
        ("x", b"x"),
        (0.1 + 0.2, 0.3),
    ],
)
def test_other_content_differs(left: Any, right: Any) -> None:
    assert not same(left, right)
    assert not same(right, left)


def test_text_that_is_not_utf_8_in_the_store_differs_and_does_not_raise() -> None:
    stored = bson.encode({"v": {"t": "xx"}}).replace(b"xx\0", b"\xff\xfe\0")
    ours = raw_document(bson.encode({"v": {"t": "xx"}}))
    assert not same_value(ours["v"], raw_document(stored)["v"])


def test_a_time_that_no_datetime_can_hold_differs_and_does_not_raise() -> None:
    ours = raw_document(bson.encode({"t": bson.DatetimeMS(0)}))
    stored = raw_document(bson.encode({"t": bson.DatetimeMS(2**62)}))
    assert not same_value(ours["t"], stored["t"])


def test_content_as_deep_as_a_server_can_store_is_compared() -> None:
    def nested(innermost: object) -> object:
        for _ in range(190):
            innermost = [{"a": innermost, "b": 1}]
        return innermost

    assert same({"v": nested(1), "w": 2}, {"w": 2, "v": nested(1)})
    assert not same({"v": nested(1), "w": 2}, {"w": 2, "v": nested(2)})


def test_no_document_prints_what_it_holds() -> None:
    document = raw_document(bson.encode({"payload": {"text": "a caller's words"}}))
    assert "words" not in repr(document)
    assert "words" not in repr([document["payload"]])
    assert "words" not in str({"op": document})


def test_a_document_is_recognised_behind_the_id_that_the_server_adds() -> None:
    content = {"sessionId": "s", "payload": {"n": 1}}
    ours = raw_document(bson.encode(content))
    given_id = raw_document(bson.encode({"_id": bson.ObjectId(), **content}))
    assert same_but_for_id(ours, given_id)
    for other in (
        {"_id": "seventeen", **content},
        {"_id": bson.ObjectId(), **content, "payload": {"n": 2}},
        {"_id": bson.ObjectId(), **content, "more": 1},
        {"_ib": bson.ObjectId(), **content},
        content,
    ):
        assert not same_but_for_id(ours, raw_document(bson.encode(other)))


def test_a_large_document_is_recognised_too() -> None:
    content = {"sessionId": "s", "payload": {"text": "x" * 10_000}}
    stored = raw_document(bson.encode({"stored": {"_id": bson.ObjectId(), **content}}))["stored"]
    # Newer versions of PyMongo hand out a view of what they received.
    assert isinstance(stored.raw, bytes | memoryview)
    assert same_but_for_id(raw_document(bson.encode(content)), stored)
    assert same_value(raw_document(bson.encode(content))["payload"], stored["payload"])


def test_the_differing_fields_are_named_and_absent_is_not_null() -> None:
    ours = raw_document(bson.encode({"a": 1, "b": 2, "c": None}))
    stored = raw_document(bson.encode({"a": 1, "b": 3}))
    assert differing_fields(ours, stored, ("a", "b", "c", "d")) == ("b", "c")


texts = st.text(st.characters(codec="utf-8"), max_size=5)
names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=20,
)


def reversed_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reversed_keys(value[key]) for key in reversed(value)}
    if isinstance(value, list):
        return [reversed_keys(item) for item in value]
    return value


@given(json_values)
def test_no_order_of_keys_makes_a_difference(value: Any) -> None:
    assert same(value, reversed_keys(value))


def canonical(value: Any) -> Any:
    """An independent model of what is the same: typed, hashable, without order of keys."""
    if isinstance(value, dict):
        return ("object", frozenset((key, canonical(item)) for key, item in value.items()))
    if isinstance(value, list):
        return ("array", tuple(canonical(item) for item in value))
    return (type(value).__name__, value)


small_values = st.recursive(
    st.sampled_from([None, True, False, 0, 1, 0.0, -0.0, 1.0, "", "1"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2)
    ),
    max_leaves=4,
)


@given(small_values, small_values)
def test_the_comparison_agrees_with_its_definition(left: Any, right: Any) -> None:
    assert same(left, right) == (canonical(left) == canonical(right))


def test_what_is_stored_behind_an_id_of_the_servers_is_found_by_its_bytes() -> None:
    encoded = bson.encode({"sessionId": "s", "payload": {"a": 1}})
    stored = bson.encode({"_id": bson.ObjectId(), **bson.decode(encoded)})
    assert behind_id(stored) == behind_length(encoded)


@pytest.mark.parametrize("other", ["text", 7, b"twelve bytes", None])
def test_what_has_another_id_is_opened(other: object) -> None:
    assert behind_id(bson.encode({"_id": other, "sessionId": "s"})) is None


def test_what_has_no_id_is_opened() -> None:
    assert behind_id(bson.encode({"sessionId": "s"})) is None
