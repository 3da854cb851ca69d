"""Which bytes are a JSON object, and what is in it."""

from __future__ import annotations

import json
import time
import tracemalloc
from random import Random
from typing import Any

import bson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consumer.contract.json_text import (
    BEYOND_INT64,
    MAX_DOCUMENT_BYTES,
    MAX_FRACTION_CHARACTERS,
    MAX_INTEGER_CHARACTERS,
    NotAnObjectError,
    TooManyPartsError,
    least_bson_bytes,
    parse_object,
    parse_quickly,
)
from tests.unit.contract.builders import short


def member(value: str) -> Any:
    """What the value of a member is read as."""
    return parse_object(f'{{"x":{value}}}'.encode())["x"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"[object Object]",
        b"null",
        b'"text"',
        b"1",
        b"[]",
        b'[{"a":1}]',
        b'"{\\"a\\":1}"',
        b'{"a":1',
        b'{"a":1,}',
        b'{"a"}',
        b"{'a':1}",
        b"{a:1}",
        b'{"a":1}}',
        b'{"a":1}{"b":2}',
        b'{"a":1} x',
        b'{"a":1}\0',
        b'{"a":1}\xc2\xa0',
        b'{"a":01}',
        b'{"a":+1}',
        b'{"a":.5}',
        b'{"a":1.}',
        b'{"a":0x1}',
        b'{"a":tru}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":[-Infinity]}',
        b'{"a":"\n"}',
        b'{"a":"\\x"}',
        b'{"a":"\\u12"}',
        b'{"a":"b',
        b'{"a":1 /* b */}',
        '{"a":\u0661}'.encode(),
    ],
)
def test_what_is_not_one_json_object_is_refused(data: bytes) -> None:
    with pytest.raises(NotAnObjectError):
        parse_object(data)


@pytest.mark.parametrize(
    "data",
    [
        b'\xef\xbb\xbf{"a":1}',
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-16-le"),
        '{"a":1}'.encode("utf-32"),
        b'{"a":"\xff"}',
        b'{"a":"\xc3"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\xc0\x80"}',
        b'\x00\x00\x00\x00\x0c{"a":1}',
    ],
)
def test_what_is_not_plain_utf_8_is_refused(data: bytes) -> None:
    with pytest.raises(NotAnObjectError):
        parse_object(data)


def test_the_text_of_the_error_quotes_nothing() -> None:
    with pytest.raises(NotAnObjectError) as caught:
        parse_object(b'{"a":"secret" secret}')
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (b'\xef\xbb\xbf{"a":1}', ": begins with a byte-order mark"),
        (b'\0\0\0\0\7{"a":1}', ": begins with a zero byte, as what is made for a schema registry"),
        (b'"{\\"a\\":1}"', ", but text, as what is encoded twice"),
        (b'[{"a":1}]', ", but an array"),
        (b"null", ""),
        (b"secret", ""),
    ],
)
def test_the_usual_mistakes_are_told_by_name(data: bytes, hint: str) -> None:
    with pytest.raises(NotAnObjectError) as caught:
        parse_object(data)
    assert str(caught.value) == f"not a JSON object{hint}"


def test_white_space_around_the_object_is_allowed() -> None:
    assert parse_object(b'\r\n\t {"a" :\n1 } \n') == {"a": 1}


def test_of_a_name_that_stands_twice_the_last_one_counts() -> None:
    assert parse_object(b'{"a":1,"b":2,"a":3}') == {"a": 3, "b": 2}


@pytest.mark.parametrize(
    ("literal", "number"),
    [
        ("-0", 0),
        ("9223372036854775808", 2**63),
        ("9007199254740993", 2**53 + 1),
        ("1" * MAX_INTEGER_CHARACTERS, int("1" * MAX_INTEGER_CHARACTERS)),
    ],
    ids=short,
)
def test_an_integer_is_exact_and_never_a_float(literal: str, number: int) -> None:
    assert member(literal) == number
    assert type(member(literal)) is int


@pytest.mark.parametrize("literal", ["1e2", "1.0", "-0.0", "5E+1"])
def test_a_fraction_or_an_exponent_makes_a_float(literal: str) -> None:
    assert member(literal) == float(literal)
    assert type(member(literal)) is float


def test_a_number_that_overflows_a_double_is_infinite() -> None:
    assert member("1e400") == float("inf")
    assert member("-1e400") == float("-inf")


@pytest.mark.parametrize("digits", [MAX_FRACTION_CHARACTERS + 1, 5000, 2**20])
def test_an_integer_beyond_any_use_keeps_its_sign_and_stays_beyond_64_bits(digits: int) -> None:
    assert member("9" * digits) == BEYOND_INT64
    assert member("-" + "9" * digits) == -BEYOND_INT64


@pytest.mark.parametrize("spaces", [0, 1, 50, 99, 100])
def test_a_fraction_with_thousands_of_digits_cannot_be_stored(spaces: int) -> None:
    for literal in ("0." + "1" * (MAX_FRACTION_CHARACTERS - 2), "1e-" + "0" * 900):
        assert member(" " * spaces + literal) == float(literal)
    for literal in ("0." + "1" * (MAX_FRACTION_CHARACTERS - 1), "1e-" + "0" * 1000):
        assert member(" " * spaces + literal) == float("inf")


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=()), max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)


@st.composite
def nearly_json(draw: st.DrawFn) -> str:
    """An object in some spelling, of which some are hurt."""
    text = json.dumps(
        {"": draw(json_values)},
        ensure_ascii=draw(st.booleans()),
        separators=draw(st.sampled_from([(",", ":"), (" ,\n", "\t: ")])),
    )
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(text)))
        inserted = draw(st.sampled_from([*'[]{},:"\\ \n0-1.eE+', "", "[]", '""', "null", "\x01"]))
        text = text[:at] + inserted + text[at + draw(st.integers(0, 1)) :]
    return text


def refuse_constant(_: str) -> None:
    raise ValueError


@given(nearly_json())
@example('{"":"\\ud800"}')
@example('{"":"\\ud83d\\ude00"}')
@example('{"":-0,"":-0.0}')
@example('{"":123456789012345678901234567890.5e-17}')
@example('{"":NaN}')
def test_both_parsers_read_what_the_standard_librarys_does(text: str) -> None:
    data = text.encode(errors="surrogatepass")
    try:
        expected = json.loads(data.decode(), parse_constant=refuse_constant)
    except ValueError:
        expected = None
    if not isinstance(expected, dict):
        with pytest.raises(NotAnObjectError):
            parse_object(data)
        return
    assert repr(parse_object(data)) == repr(expected)
    try:
        quickly = parse_quickly(data)
    except ValueError:
        return
    assert repr(quickly) == repr(expected)


def test_an_unpaired_surrogate_is_read() -> None:
    assert parse_object(b'{"a":"\\ud800","\\udc00":1}') == {"a": "\ud800", "\udc00": 1}


@pytest.mark.parametrize(("begin", "inside", "end"), [("[", "", "]"), ('{"a":', "1", "}")])
def test_what_is_nested_deeper_than_is_read_is_refused(begin: str, inside: str, end: str) -> None:
    long = f',"y":{"9" * 2000}'
    for levels in (1, 99, 101, 181):
        text = begin * levels + inside + end * levels
        for beside in ("", long, ',"y":"[{[{\\\\\\"[","z":[[]]' + long):
            assert member(text + beside) == json.loads(text)
    for levels, beside in ((250, ""), (250, ',"y":"\\ud800"'), (250, long), (9000, long)):
        with pytest.raises(NotAnObjectError, match="nested deeper than is read"):
            member(begin * levels + inside + end * levels + beside)


def test_the_length_of_a_number_does_not_excuse_its_form() -> None:
    for literal in ("0" * 5000, "1" * 5000 + ".", "--" + "1" * 5000, "1" * 5000 + "e"):
        with pytest.raises(NotAnObjectError):
            member(literal)


@pytest.mark.parametrize(
    "item",
    ["[]", "{}", "[{}]", '{"":0}', '{"":{"":0}}', '""', '","', '"\\"[\\\\"', "0", "null", "1.5"],
)
@pytest.mark.reliability("F71")
def test_more_parts_than_a_document_can_hold_are_refused_unread(item: str) -> None:
    data = f'{{"a":[{f"{item}," * (16 * MAX_DOCUMENT_BYTES // 10 // len(item))}0]}}'.encode()
    tracemalloc.start()
    try:
        with pytest.raises(TooManyPartsError):
            parse_object(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * len(data) + 2**26, "what is not read takes no more than a few copies"


@pytest.mark.reliability("F71")
def test_what_a_large_text_holds_is_no_part_of_a_document() -> None:
    text = '[{"a":0},' * (MAX_DOCUMENT_BYTES // 8)
    assert parse_object(json.dumps({"text": text}).encode()) == {"text": text}


def any_value(rng: Random, depth: int) -> Any:
    match rng.randrange(9 if depth else 6):
        case 0:
            return rng.choice((None, True, False))
        case 1:
            return rng.randrange(-(2**40), 2**40)
        case 2:
            return rng.random()
        case 3 | 4 | 5:
            return "".join(rng.choices('[]{},:"\\tfns é', k=rng.randrange(5)))
        case 6:
            return [any_value(rng, depth - 1) for _ in range(rng.randrange(5))]
        case _:
            names = ("", "a", ',"', "\\", "[{:", "é")
            return {rng.choice(names): any_value(rng, depth - 1) for _ in range(rng.randrange(4))}


@pytest.mark.reliability("F71")
def test_what_a_document_can_hold_is_never_taken_for_too_much(rng: Random) -> None:
    for _ in range(2_000):
        document = {"a": any_value(rng, 4)}
        ascii_only = rng.random() < 0.5
        data = json.dumps(document, ensure_ascii=ascii_only).encode()
        assert 0 < least_bson_bytes(data) <= len(bson.encode(document)), data


def filled(unit: str, before: str = "", after: str = "") -> bytes:
    return (before + unit * ((2**20 - len(before + after)) // len(unit)) + after).encode()


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
        pytest.param(filled('"\\ud800",', '{"x":[', "1]}"), id="unpaired surrogates"),
        pytest.param(filled("1.5,", '{"x":[' + "9" * 1001 + ",", "1]}"), id="a long number first"),
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
    assert peak < 50 * 2**20


def attempt(data: bytes) -> None:
    try:
        parse_object(data)
    except NotAnObjectError:
        return
