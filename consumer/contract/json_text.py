"""Bytes to one JSON object: strict about form, exact about numbers, of no use where it is too deep.

What has the form of JSON and cannot be stored is read all the same, since it may stand in a field
that nobody reads; whoever wants to store it has to refuse it. Only what is nested deeper than a
parser goes is refused, and, unread, what has more parts than a document can hold: each takes far
more memory than its few bytes, and all of them are there before it is known which are wanted.
"""

from __future__ import annotations

import codecs
import math
from collections.abc import Mapping
from itertools import accumulate
from json import JSONDecodeError, JSONDecoder
from typing import Any, Final, NoReturn

from pydantic_core import from_json


class NotAnObjectError(ValueError):
    """The bytes are not one JSON object in UTF-8. The text never quotes them."""


class TooManyPartsError(ValueError):
    """The bytes hold more arrays, objects and members than any document can."""


BEYOND_INT64: Final = 2**64
"""Stands, with its sign, for integers that have thousands of digits.

Of an integer that cannot be stored only that and its sign ever matter, while reading a
million digits would take seconds.
"""

MAX_INTEGER_CHARACTERS: Final = 640
"""The longest integer that is surely exact; up to here no interpreter's limit applies."""

MAX_FRACTION_CHARACTERS: Final = 1000
"""The longest number with fraction or exponent; no sender of doubles writes so many digits. What
is longer is read as infinite."""

MAX_DOCUMENT_BYTES: Final = 16 * 1024 * 1024
"""What MongoDB stores at most as one document."""

MAX_LEVELS: Final = 200
"""How deep arrays and objects are read: as the fastest parser does. Python's own limit is another
in each version."""

_FRAME_BYTES: Final = 5
"""The least that an array, an object or a text takes in BSON: its length and its end."""

_NUMBER_BYTES: Final = 4

_ELEMENT_BYTES: Final = 2
"""The least that a member takes besides: its type and the end of its name. Items' have a digit."""

_PARTS: Final = bytes(set(range(256)) - set(b'[{,:"tfn'))
"""What tells nothing of the parts outside of strings; a literal is known by its first letter."""

_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))

_A_STRING: Final = b"s"

_AT_ONCE: Final = 1024 * 1024

MAX_QUICK_BYTES: Final = MAX_DOCUMENT_BYTES // _FRAME_BYTES
"""What is no larger cannot have more parts than a document can hold."""

_AS_DIGITS: Final = bytes.maketrans(b"123456789+-.eE", b"0" * 14)
_LONG_NUMBER: Final = b"0" * (MAX_FRACTION_CHARACTERS + 1)
_SAMPLE: Final = 100

_BEGINNINGS: Final = {
    codecs.BOM_UTF8: "begins with a byte-order mark",
    b"\0": "begins with a zero byte, as what is made for a schema registry",
}
_INSTEAD: Final[Mapping[type, str]] = {
    str: ", but text, as what is encoded twice",
    list: ", but an array",
}
"""What producers send by mistake, none of which is seen where it is looked at."""


def parse_object(data: bytes) -> dict[str, Any]:
    """Return the one JSON object that ``data`` is.

    Of a name that stands twice the last one counts. Integers are exact or, where they are
    beyond any use, ``BEYOND_INT64``; floats may be infinite, and texts hold unpaired surrogates.
    Raises ``NotAnObjectError``, ``TooManyPartsError`` and nothing else.
    """
    if _has_too_many_parts(data):
        raise TooManyPartsError("more parts than a document can hold")
    try:
        value = parse_quickly(data)
    except ValueError as error:
        if "recursion" in str(error):
            raise NotAnObjectError("nested deeper than is read") from None
        value = _parse_leniently(data)
    if not isinstance(value, dict):
        raise NotAnObjectError(f"not a JSON object{_INSTEAD.get(type(value), '')}")
    return value


def parse_quickly(data: bytes) -> object:
    """Return the JSON value that ``data`` is, as ``parse_object`` would, by the fastest parser.

    For up to ``MAX_QUICK_BYTES``. Raises ``ValueError``, which says nothing: it refuses unpaired
    surrogates and long numbers, too.
    """
    if len(data) > MAX_FRACTION_CHARACTERS and _may_hold_long_number(data):
        raise ValueError("a number too long to be read without looking")
    return from_json(data, allow_inf_nan=False, cache_strings="keys")


def _may_hold_long_number(data: bytes) -> bool:
    """Tell whether there is a run as long as that of what numbers are made of.

    Samples come first: they cost next to nothing, and are hardly ever all of a number.
    """
    samples = data[::_SAMPLE].translate(_AS_DIGITS)
    return _LONG_NUMBER[::_SAMPLE][1:] in samples and _LONG_NUMBER in data.translate(_AS_DIGITS)


def _parse_leniently(data: bytes) -> object:
    """Read JSON that the fastest parser refuses; where it is none, say where that shows."""
    for beginning, words in _BEGINNINGS.items():
        if data.startswith(beginning):
            raise NotAnObjectError(f"not a JSON object: {words}")
    if _levels(data) > MAX_LEVELS:
        raise NotAnObjectError("nested deeper than is read")
    try:
        return _LENIENT.decode(data.decode())
    except UnicodeDecodeError:
        raise NotAnObjectError("not UTF-8") from None
    except JSONDecodeError as error:
        if not error.pos:
            raise NotAnObjectError("not a JSON object") from None
        wrong = "more than a JSON object" if error.msg == "Extra data" else "not JSON"
        raise NotAnObjectError(f"{wrong}, at character {error.pos}") from None


def _levels(data: bytes) -> int:
    """Return how deep arrays and objects are nested in JSON; of anything else no more is meant."""
    outside = b"".join(_without_escapes(data).split(b'"')[::2])
    steps = (1 if one in b"[{" else -1 for one in outside.translate(None, _NO_BRACKETS))
    return max(accumulate(steps), default=0)


def _refuse_constant(_: str) -> NoReturn:
    raise NotAnObjectError("not JSON: NaN or Infinity")


def _read_integer(literal: str) -> int:
    if len(literal) <= MAX_INTEGER_CHARACTERS:
        return int(literal)
    return -BEYOND_INT64 if literal.startswith("-") else BEYOND_INT64


def _read_fraction(literal: str) -> float:
    return float(literal) if len(literal) <= MAX_FRACTION_CHARACTERS else math.inf


_LENIENT: Final = JSONDecoder(
    parse_constant=_refuse_constant, parse_int=_read_integer, parse_float=_read_fraction
)


def _has_too_many_parts(data: bytes) -> bool:
    """Tell, at memory speed, whether the parts alone would take more than a document may."""
    return len(data) > MAX_QUICK_BYTES and least_bson_bytes(data) > MAX_DOCUMENT_BYTES


def least_bson_bytes(data: bytes) -> int:
    """Return what the parts of JSON take at the very least as BSON, none of the names and values.

    Counted without reading it: what the reading costs is in question.
    """
    # Of most strings nothing but the quotes is left.
    parts = _without_escapes(data).translate(None, _PARTS).replace(b'""', _A_STRING)
    least, inside = 0, 0
    for start in range(0, len(parts), _AT_ONCE):
        pieces = parts[start : start + _AT_ONCE].split(b'"')
        least += _least_bytes(_A_STRING.join(pieces[inside::2]))
        inside = (inside + len(pieces) - 1) % 2
    return least


def _without_escapes(data: bytes) -> bytes:
    """Leave no quote in strings, so that each that is left begins or ends one."""
    return data.replace(b"\\\\", b"").replace(b'\\"', b"")


def _least_bytes(parts: bytes) -> int:
    """Return the least that BSON takes for these parts, of which each string is one letter."""
    containers = parts.count(b"[") + parts.count(b"{")
    members = parts.count(b":")
    texts = max(parts.count(_A_STRING) - members, 0)
    literals = parts.count(b"t") + parts.count(b"f") + parts.count(b"n")
    elements = parts.count(b",") + parts.count(b"{" + _A_STRING)
    numbers = max(elements - containers - texts - literals, 0)
    items = max(elements - members, 0)
    return (
        _FRAME_BYTES * (containers + texts)
        + _NUMBER_BYTES * numbers
        + _ELEMENT_BYTES * elements
        + items
    )
