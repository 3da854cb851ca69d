from __future__ import annotations

from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.contract.rejection import Reason, Rejected
from consumer.state.bson_limits import MAX_LEVELS, encode

from .test_bson_compare import json_values

LIMIT = 1 << 20


def nested_objects(levels: int) -> Any:
    value: Any = "innermost"
    for _ in range(levels):
        value = {"": value}
    return value


def nested_arrays(levels: int) -> Any:
    value: Any = "innermost"
    for _ in range(levels):
        value = [value]
    return value


def encoded(value: Any) -> bytes | Rejected:
    return encode({"payload": value}, LIMIT)


class NotJson:
    """Stands for whatever a parser puts in the place of what cannot be stored."""


@pytest.mark.parametrize(
    ("value", "detail"),
    [
        ({"n": 2**63}, "payload: an integer beyond 64 bits"),
        ({"n": -(2**63) - 1}, "payload: an integer beyond 64 bits"),
        ({"n": [1, {"x": 10**5000}]}, "payload: an integer beyond 64 bits"),
        ({"a\0b": 1}, "payload: NUL in a field name"),
        ({"a": "\ud800"}, "payload: an unpaired surrogate"),
        ({"\udfff": 1}, "payload: an unpaired surrogate in a field name"),
        ({"a": float("inf")}, "payload: a number beyond what a double can hold"),
        ({"a": [float("-inf")]}, "payload: a number beyond what a double can hold"),
        ({"a": float("nan")}, "payload: a number beyond what a double can hold"),
        ({"a": NotJson()}, "payload: a value that BSON cannot hold"),
        ({1: "a"}, "payload: a field name that is not text"),
    ],
)
def test_what_bson_cannot_hold_is_unstorable_and_no_value_is_quoted(
    value: Any, detail: str
) -> None:
    assert encoded(value) == Rejected(Reason.UNSTORABLE, detail)


@pytest.mark.parametrize("nested", [nested_objects, nested_arrays])
def test_a_hundred_levels_with_the_document_as_the_first_are_storable(nested: Any) -> None:
    assert isinstance(encoded(nested(MAX_LEVELS - 1)), bytes)


@pytest.mark.parametrize("nested", [nested_objects, nested_arrays])
@pytest.mark.parametrize("levels", [MAX_LEVELS, 181, 900, 1_000, 100_000])
def test_one_level_more_is_not_and_no_depth_exhausts_the_stack(nested: Any, levels: int) -> None:
    assert encoded(nested(levels)) == Rejected(Reason.UNSTORABLE, "payload: deeper than 100 levels")


@pytest.mark.parametrize(
    "value",
    [
        {"n": 2**63 - 1, "m": -(2**63)},
        {"": {"$set": 1, "a.b": 2, "_id": 3, "__proto__": {}}},
        {"t": "NUL \0 in a value is text"},
        {"f": 1.7976931348623157e308, "g": 5e-324, "h": -0.0},
        {"wide": [{"a": []} for _ in range(500)]},
        {"looks": ["\x03\x04" * 400, "\x01", -4081, 0x7FF0]},
        {},
    ],
)
def test_everything_else_that_json_can_say_is_storable(value: Any) -> None:
    stored = encoded(value)
    assert isinstance(stored, bytes)
    assert bson.decode(stored)["payload"] == value


def test_the_size_limit_is_met_exactly() -> None:
    frame = len(bson.encode({"payload": {"t": ""}}))
    assert isinstance(encoded({"t": "x" * (LIMIT - frame)}), bytes)
    assert encoded({"t": "x" * (LIMIT - frame + 1)}) == Rejected(
        Reason.UNSTORABLE, f"takes more than the {LIMIT} bytes it may"
    )


@given(json_values)
def test_all_ordinary_json_is_storable_and_comes_back_as_it_was(value: Any) -> None:
    stored = encoded(value)
    assert isinstance(stored, bytes)
    assert bson.decode(stored)["payload"] == value


@given(
    json_values,
    st.sampled_from([2**63, float("inf"), float("nan"), "\udc00", NotJson(), {"\0": 1}]),
    st.integers(0, 3),
)
def test_one_bad_value_anywhere_is_found(good: Any, bad: Any, depth: int) -> None:
    for _ in range(depth):
        bad = {"deeper": [bad]}
    answer = encoded([good, {"beside": good, "bad": bad}])
    assert isinstance(answer, Rejected)
    assert answer.reason is Reason.UNSTORABLE
