"""JSON of any depth and size: its form is judged, and what can be used of it is read."""

from __future__ import annotations

import gc
import json
import time
import tracemalloc
from random import Random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from consumer.contract.json_form import end_of_value
from consumer.contract.json_text import NotAnObjectError, Unstorable, parse_object
from tests.unit.contract.builders import short

MIB = 2**20
TOO_DEEP = 100_000
"""More levels than the parser of any Python nests."""


def arrays(levels: int, inside: str = "") -> str:
    return "[" * levels + inside + "]" * levels


def objects(levels: int, inside: str = "1") -> str:
    return '{"a":' * levels + inside + "}" * levels


def member(value: str) -> Any:
    """What the value of a member is read as."""
    return parse_object(f'{{"x":{value}}}'.encode())["x"]


@pytest.mark.parametrize("levels", [1, 99, 101, 181])
def test_nesting_that_a_parser_can_do_is_read_as_it_is(levels: int) -> None:
    assert member(arrays(levels)) == json.loads(arrays(levels))
    assert member(objects(levels)) == json.loads(objects(levels))


@pytest.mark.parametrize(
    "deep", [arrays(TOO_DEEP), arrays(TOO_DEEP, '"a]"'), arrays(TOO_DEEP, "1")], ids=short
)
def test_an_array_too_deep_for_any_parser_is_passed_over(deep: str) -> None:
    read = parse_object(f'{{"a":1,"x": {deep} ,"y":[2,"\\u00e9"],"a":3}}'.encode())
    assert read == {"a": 3, "x": Unstorable.TOO_DEEP, "y": [2, "é"]}


def test_of_an_object_too_deep_for_any_parser_the_upper_fields_are_read() -> None:
    read = parse_object(
        f'{{"x":{{"kept":1,"in":{objects(TOO_DEEP)},"and":[{arrays(TOO_DEEP)}]}},"y":2}}'.encode()
    )
    assert read == {
        "x": {"kept": 1, "in": {"": Unstorable.TOO_DEEP}, "and": Unstorable.TOO_DEEP},
        "y": 2,
    }


def test_white_space_may_stand_between_all_that_is_closed() -> None:
    deep = "[ " * TOO_DEEP + "]\n" * TOO_DEEP
    read = parse_object(f'{{"a":{{"b":{{"c":{deep} }} }} , "d":1 }} '.encode())
    assert read == {"a": {"b": {"": Unstorable.TOO_DEEP}}, "d": 1}


@pytest.mark.parametrize(
    "data",
    [
        b"[" * MIB,
        b'{"a":' * (MIB // 5),
        b'{"a":' + b"[" * MIB,
        b'{"a":[' + b'{"a":' * (MIB // 5),
        f'{{"x":{"[" * TOO_DEEP}{"]" * (TOO_DEEP - 1)}}}'.encode(),
        f'{{"x":{"[" * TOO_DEEP}{"]" * (TOO_DEEP + 1)}}}'.encode(),
        f'{{"x":{"[" * TOO_DEEP}{"}" * TOO_DEEP}}}'.encode(),
        f'{{"x":{"[" * TOO_DEEP}1{"}" * TOO_DEEP}}}'.encode(),
        f'{{"x":{"[" * TOO_DEEP}1,"a":2{"]" * TOO_DEEP}}}'.encode(),
        f'{{"x":{"[" * TOO_DEEP}{{"a":1,2}}{"]" * TOO_DEEP}}}'.encode(),
        f'{{"x":{arrays(TOO_DEEP, "1,")}}}'.encode(),
        f'{{"x":{arrays(TOO_DEEP, "NaN")}}}'.encode(),
        f'{{"x":{arrays(TOO_DEEP)},}}'.encode(),
        f'{{"x":{arrays(TOO_DEEP)} "y":1}}'.encode(),
        f'{{"x":{arrays(TOO_DEEP)},y:1}}'.encode(),
        f'{{"x":{arrays(TOO_DEEP)}}} 1'.encode(),
        f'{{"x":{arrays(TOO_DEEP)},"y":{"[" * TOO_DEEP}}}'.encode(),
    ],
    ids=short,
)
def test_depth_does_not_excuse_the_form(data: bytes) -> None:
    with pytest.raises(NotAnObjectError):
        parse_object(data)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)


@st.composite
def nearly_json(draw: st.DrawFn) -> str:
    """Arrays in some spelling, of which some are hurt."""
    values = draw(st.lists(json_values, max_size=3))
    text = json.dumps(
        values,
        ensure_ascii=draw(st.booleans()),
        separators=draw(st.sampled_from([(",", ":"), (" ,\n", "\t: ")])),
    )
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(text)))
        inserted = draw(st.sampled_from([*'[]{},:"\\ \n0-1.e', "", "", "[]", '""', "null", "\x01"]))
        text = text[:at] + inserted + text[at + draw(st.integers(0, 1)) :]
    return "[" + text


def is_json(text: str) -> bool:
    def refuse(_: str) -> None:
        raise ValueError

    try:
        json.loads(text, parse_constant=refuse)
    except ValueError:
        return False
    return True


@given(nearly_json())
@example("[]]")
@example("[{},[]]")
@example('[[{"a":[1]},{"b":[]}]]')
@example('["\\ud800"]')
@example("[[[[1]]}]")
@example('[{"a":[[1]]]]')
@example('[{"a":{"b":[[1]]}]}')
def test_passing_over_takes_exactly_what_the_parser_takes(text: str) -> None:
    try:
        whole = end_of_value(text, 0) == len(text.rstrip(" \n\t\r"))
    except json.JSONDecodeError:
        whole = False
    assert whole == is_json(text)


LEAVES = ("1", "-0.5e3", '"]["', '"\\"{,"', "true", "null", "[]", " { } ", '"\\u12ab"')


def grown(rng: Random, leaves: int) -> str:
    """A value that has the more leaves, and levels, the larger the number is."""
    if leaves <= 1:
        return rng.choice(LEAVES)
    inner = [grown(rng, leaves // 2)] if rng.random() < 0.8 else []
    inner += [rng.choice(LEAVES) for _ in range(rng.randint(0, 3))]
    inner += [grown(rng, leaves // 3)]
    rng.shuffle(inner)
    separator = rng.choice((",", " ,\n"))
    if rng.random() < 0.5:
        return f"[{separator.join(inner)}]"
    return "{" + separator.join(f'"{rng.choice("ab{],:")}":{value}' for value in inner) + "}"


def test_passing_over_large_values_takes_exactly_what_the_parser_takes(rng: Random) -> None:
    taken = 0
    for _ in range(300):
        text = f"[{grown(rng, rng.choice((10, 1_000, 10_000)))}]"
        if rng.random() < 0.5:
            at = rng.randint(1, len(text))
            inserted = rng.choice([*'[]{},:"', "", ",1", '"a":1,'])
            text = text[:at] + inserted + text[at + rng.randint(0, 1) :]
        try:
            whole = end_of_value(text, 0) == len(text)
        except json.JSONDecodeError:
            whole = False
        assert whole == is_json(text), text
        taken += whole
    assert 100 < taken < 300


@settings(max_examples=20)
@given(st.dictionaries(st.text(max_size=3), json_values, max_size=4), st.text(max_size=3))
def test_a_part_too_deep_leaves_the_rest_as_it_is(members: dict[str, Any], name: str) -> None:
    values = {key: json.dumps(value) for key, value in members.items()}
    values[name] = arrays(TOO_DEEP)
    text = ",".join(f"{json.dumps(key)}:{value}" for key, value in values.items())
    assert parse_object(f"{{{text}}}".encode()) == {**members, name: Unstorable.TOO_DEEP}


def filled(unit: str, before: str = "", after: str = "", size: int = MIB) -> bytes:
    return (before + unit * ((size - len(before + after)) // len(unit)) + after).encode()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(filled("["), id="arrays"),
        pytest.param(filled("[", '{"x":'), id="arrays in a member"),
        pytest.param(filled('{"a":'), id="objects"),
        pytest.param(filled('[{"a":', '{"x":'), id="both"),
        pytest.param(filled("[1,", '{"x":'), id="arrays with scalars"),
        pytest.param(filled("[[]],", '{"x":' + "[" * 20_000), id="small arrays deep below"),
        pytest.param(filled("[1,", '{"x":', "1" + "],1" * 200_000), id="arrays and scalars"),
        pytest.param(filled('"\\n",', '{"x":' + "[" * 20_000), id="strings deep below"),
        pytest.param(filled("9", '{"x":', "}"), id="digits"),
        pytest.param(filled("9", '{"x":0.', "}"), id="digits behind a point"),
        pytest.param(filled(" "), id="white space"),
        pytest.param(filled("a", '{"x":"'), id="an endless text"),
        pytest.param(filled("[],", '{"x":[', "1]}"), id="small arrays"),
        pytest.param(filled('{"":1},', '{"x":[', "1]}"), id="small objects"),
        pytest.param(
            ("{" + ",".join(f'"{i}":{arrays(1500)}' for i in range(340)) + "}").encode(),
            id="many deep members",
        ),
        pytest.param(
            filled('"":1,', '{"data":{"x":' + arrays(2000) + ",", '"y":1}}'),
            id="many members beside a deep one",
        ),
    ],
)
def test_a_mebibyte_of_anything_takes_little_time_and_memory(data: bytes) -> None:
    begun = time.process_time()
    attempt(data)
    # Ten times what it takes: what is quadratic takes minutes.
    assert time.process_time() - begun < 1
    tracemalloc.start()
    attempt(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50 * MIB


@pytest.mark.parametrize("data", [filled("[],", '{"x":[', "1]}"), filled("[],", '{"x":[')])
def test_the_collector_of_garbage_is_left_as_it_was(data: bytes) -> None:
    assert gc.isenabled()
    attempt(data)
    assert gc.isenabled()
    gc.disable()
    try:
        attempt(data)
        assert not gc.isenabled()
    finally:
        gc.enable()


def attempt(data: bytes) -> None:
    try:
        parse_object(data)
    except NotAnObjectError:
        return
