"""Passing over JSON that is nested too deep for any parser, while checking its form.

Takes a regular expression for each run of text and one byte of memory for each level that
is open, where a parser takes a stack frame for each level.
"""

from __future__ import annotations

import re
from json import JSONDecodeError
from typing import Final

_BLANK: Final = r"[ \t\n\r]*+"
_STRING: Final = r'"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+"'
_NUMBER: Final = r"-?+(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?+[0-9]++)?+"
_SCALAR: Final = rf"(?:{_STRING}|{_NUMBER}|true|false|null)"
_NAME: Final = rf"{_BLANK}{_STRING}{_BLANK}:"
_ITEM: Final = rf"{_BLANK}{_SCALAR}{_BLANK}"
_ITEMS: Final = rf"\[(?:{_ITEM}(?:,{_ITEM})*+|{_BLANK})\]"
_MEMBERS: Final = rf"\{{(?:{_NAME}{_ITEM}(?:,{_NAME}{_ITEM})*+|{_BLANK})\}}"
_FLAT: Final = rf"{_BLANK}(?:{_SCALAR}|{_ITEMS}|{_MEMBERS}){_BLANK}"
"""A value without a further level inside it."""

_BLANK_RUN: Final = re.compile(_BLANK)
_NAME_OF_MEMBER: Final = re.compile(_NAME)
_OPENINGS: Final = re.compile(
    rf"(?:{_BLANK}(?:\[(?:{_ITEM},)*+(?!{_BLANK}\])|\{{{_NAME}(?:{_ITEM},{_NAME})*+))*+"
)
"""Arrays and objects that begin inside each other, with the scalars before the inner ones."""
_FLAT_ITEMS: Final = re.compile(rf"(?:{_FLAT},)*+")
_FLAT_MEMBERS: Final = re.compile(rf"(?:{_FLAT},{_NAME})*+")
_LAST_VALUE: Final = re.compile(_FLAT)
_CLOSINGS: Final = re.compile(rf"(?:{_BLANK}[\]}}])*+")
_NEXT_ITEM: Final = re.compile(rf"{_BLANK},")
_NEXT_MEMBER: Final = re.compile(rf"{_BLANK},{_NAME}")

_STRINGS: Final = re.compile(_STRING)
_ALL_BUT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_AS_OPENED: Final = bytes.maketrans(b"]}", b"[{")


def end_of_blank(text: str, at: int) -> int:
    """Return where the white space that begins ``at`` ends."""
    return _end(_BLANK_RUN, text, at)


def end_of_name(text: str, at: int) -> int:
    """Return where the name of a member ends, with its colon. Raises ``JSONDecodeError``."""
    return _end(_NAME_OF_MEMBER, text, at)


def end_of_value(text: str, at: int) -> int:
    """Return the end of the array or object that begins ``at``, however deep it is.

    Raises ``JSONDecodeError`` where the form is not that of JSON.
    """
    opened = bytearray()
    while True:
        if opened:
            at = _end(_FLAT_ITEMS if opened.endswith(b"[") else _FLAT_MEMBERS, text, at)
        end = _end(_OPENINGS, text, at)
        if end != at:
            opened += _STRINGS.sub("", text[at:end]).encode().translate(None, _ALL_BUT_BRACKETS)
            at = end
            continue
        at = _close(text, _end(_LAST_VALUE, text, at), opened)
        if not opened:
            return at
        at = _end(_NEXT_ITEM if opened.endswith(b"[") else _NEXT_MEMBER, text, at)


def _close(text: str, at: int, opened: bytearray) -> int:
    """Take off ``opened`` what is closed ``at``; return where that ends."""
    end = _end(_CLOSINGS, text, at)
    closed = text[at:end].encode().translate(_AS_OPENED, _ALL_BUT_BRACKETS)
    surplus = len(closed) - len(opened)
    if surplus > 0:
        # The last ones close what stands around the value.
        closed = closed[: len(opened)]
        while surplus > 0:
            end -= 1
            surplus -= text[end] in "]}"
    if not opened.endswith(closed[::-1]):
        raise JSONDecodeError("closed as what it is not", "", at)
    del opened[len(opened) - len(closed) :]
    return end


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    if found is None:
        raise JSONDecodeError("not what must stand here", "", at)
    return found.end()
