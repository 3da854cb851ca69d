"""Bytes to one JSON object: strict about form, indifferent to depth and length.

What has the form of JSON is not refused here, however deep a value or long a number is:
it may stand in a field that nobody reads. It is replaced by a value that no field of the
contract takes and BSON cannot hold, so that whoever wants to store it has to refuse it. Only
what has more parts than a document can hold is refused unread: each takes far more memory than
its few bytes, and all of them are there before it is known which are wanted.
"""

from __future__ import annotations

import gc
from enum import Enum
from json import JSONDecodeError, JSONDecoder
from typing import Any, Final, NoReturn

from consumer.contract.json_form import (
    end_of_blank,
    end_of_flat_members,
    end_of_name,
    end_of_value,
)


class NotAnObjectError(ValueError):
    """The bytes are not one JSON object in UTF-8. The text never quotes them."""


class TooManyPartsError(ValueError):
    """The bytes hold more arrays, objects and members than any document can."""


class Unstorable(Enum):
    """Stands in a parsed value for a part that can be written in JSON but never be stored."""

    TOO_DEEP = "too deep"
    TOO_LONG = "too long"


BEYOND_INT64: Final = 2**64
"""Stands, with its sign, for every integer of more than ``MAX_INTEGER_CHARACTERS``.

Of an integer that cannot be stored only that and its sign ever matter, while reading a
million digits would take seconds.
"""

MAX_INTEGER_CHARACTERS: Final = 640
"""The longest integer that is read digit by digit; up to here no interpreter's limit applies."""

MAX_FRACTION_CHARACTERS: Final = 1000
"""The longest number with fraction or exponent; no sender of doubles writes so many digits."""

LONG: Final = 64 * 1024
"""From so many characters on the collector of garbage stands back while a text is parsed."""

MAX_DOCUMENT_BYTES: Final = 16 * 1024 * 1024
"""What MongoDB stores at most as one document."""

_FRAME_BYTES: Final = 5
"""The least that an array, an object or a text takes in BSON: its length and its end."""

_NUMBER_BYTES: Final = 4

_ELEMENT_BYTES: Final = 2
"""The least that a member takes besides: its type and the end of its name. Items' have a digit."""

_PARTS: Final = bytes(set(range(256)) - set(b'[{,:"tfn'))
"""What tells nothing of the parts outside of strings; a literal is known by its first letter."""

_A_STRING: Final = b"s"

_AT_ONCE: Final = 1024 * 1024

DEEPEST_FIELD: Final = 2
"""The level of the deepest object whose fields are read: an envelope's data."""


def parse_object(data: bytes) -> dict[str, Any]:
    """Return the one JSON object that ``data`` is.

    Of a name that stands twice the last one counts. Integers are exact or, where they are
    beyond any use, ``BEYOND_INT64``; floats may be infinite; parts may be ``Unstorable``.
    Raises ``NotAnObjectError``, ``TooManyPartsError`` and nothing else.
    """
    if _has_too_many_parts(data):
        raise TooManyPartsError("more parts than a document can hold")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise NotAnObjectError("not UTF-8") from None
    # JSON makes no circles, and looking for them again and again among hundreds of thousands
    # of small arrays would take several times as long as parsing does.
    pause = len(text) >= LONG and gc.isenabled()
    if pause:
        gc.disable()
    try:
        return _parse(text)
    finally:
        if pause:
            gc.enable()


def _has_too_many_parts(data: bytes) -> bool:
    """Tell, at memory speed, whether the parts alone would take more than a document may."""
    return (
        len(data) * _FRAME_BYTES > MAX_DOCUMENT_BYTES
        and least_bson_bytes(data) > MAX_DOCUMENT_BYTES
    )


def least_bson_bytes(data: bytes) -> int:
    """Return what the parts of JSON take at the very least as BSON, none of the names and values.

    Counted without reading it: what the reading costs is in question.
    """
    unescaped = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Of most strings nothing but the quotes is left.
    parts = unescaped.translate(None, _PARTS).replace(b'""', _A_STRING)
    least, inside = 0, 0
    for start in range(0, len(parts), _AT_ONCE):
        pieces = parts[start : start + _AT_ONCE].split(b'"')
        least += _least_bytes(_A_STRING.join(pieces[inside::2]))
        inside = (inside + len(pieces) - 1) % 2
    return least


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


def _parse(text: str) -> dict[str, Any]:
    start = 0 if text.startswith("{") else end_of_blank(text, 0)
    if not text.startswith("{", start):
        raise NotAnObjectError("not a JSON object")
    decoder = _READS_SHORT if len(text) <= MAX_INTEGER_CHARACTERS else _READS_LONG
    members: dict[str, Any]
    try:
        try:
            members, end = decoder.raw_decode(text, start)
        except RecursionError:
            members, end = _read_object(text, start, level=1)
    except JSONDecodeError as error:
        raise NotAnObjectError(f"not JSON, at character {error.pos}") from None
    if end != len(text) and end_of_blank(text, end) != len(text):
        raise NotAnObjectError(f"more than a JSON object, at character {end}")
    return members


def _refuse_constant(_: str) -> NoReturn:
    raise NotAnObjectError("not JSON: NaN or Infinity")


def _read_integer(literal: str) -> int:
    if len(literal) <= MAX_INTEGER_CHARACTERS:
        return int(literal)
    return -BEYOND_INT64 if literal.startswith("-") else BEYOND_INT64


def _read_fraction(literal: str) -> float | Unstorable:
    return float(literal) if len(literal) <= MAX_FRACTION_CHARACTERS else Unstorable.TOO_LONG


_READS_SHORT: Final = JSONDecoder(parse_constant=_refuse_constant)
"""For texts too short for a number that is too long: reads numbers without calling back."""

_READS_LONG: Final = JSONDecoder(
    parse_constant=_refuse_constant,
    parse_int=_read_integer,
    parse_float=_read_fraction,
)


def _read_object(text: str, at: int, level: int) -> tuple[dict[str, Any], int]:
    """Read the object that begins ``at``, member by member; return it and its end.

    For objects that the decoder cannot nest deep enough to read: hundreds of levels below
    the deepest that can be stored. Of these only what is too deep is lost.
    """
    members: dict[str, Any] = {}
    at = end_of_blank(text, at + 1)
    if text.startswith("}", at):
        return members, at + 1
    while True:
        end = end_of_flat_members(text, at)
        if end != at:
            members |= _READS_LONG.decode(f"{{{text[at : end - 1]}}}")
            at = end
        name_end = end_of_name(text, at)
        name, _ = _READS_LONG.raw_decode(text, end_of_blank(text, at))
        members[name], at = _read_value(text, end_of_blank(text, name_end), level + 1)
        at = end_of_blank(text, at)
        if text.startswith("}", at):
            return members, at + 1
        if not text.startswith(",", at):
            raise JSONDecodeError("neither a further member nor the end", "", at)
        at += 1


def _read_value(text: str, at: int, level: int) -> tuple[Any, int]:
    """Read the value that begins ``at`` and would stand on ``level``; return it and its end."""
    begins_object = text.startswith("{", at)
    if begins_object and level <= DEEPEST_FIELD:
        return _read_object(text, at, level)
    try:
        return _READS_LONG.raw_decode(text, at)
    except RecursionError:
        # An object stays one, whatever is in it.
        too_deep = {"": Unstorable.TOO_DEEP} if begins_object else Unstorable.TOO_DEEP
        return too_deep, end_of_value(text, at)
