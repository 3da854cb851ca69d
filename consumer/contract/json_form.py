"""Passing over JSON that is nested too deep for any parser, while checking its form.

A parser takes a stack frame for each level. Here regular expressions read thousands of leaves
at once, and what brackets they open and close is matched as runs of bytes, so that no shape of
a value takes a step of Python for each of its parts.
"""

from __future__ import annotations

import re
from functools import cache
from json import JSONDecodeError
from typing import Final

_BLANK: Final = r"[ \t\n\r]*+"
_STRING: Final = r'"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+"'
_NUMBER: Final = r"-?+(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?+[0-9]++)?+"
_SCALAR: Final = rf"(?:{_STRING}|{_NUMBER}|true|false|null)"
_NAME: Final = rf"{_BLANK}{_STRING}{_BLANK}:"

_BRANCH: Final = rf"(?:{_BLANK}(?:\[(?!{_BLANK}\])|\{{{_NAME}))*+"
"""The arrays and objects that a leaf is the first of, one in the other."""
_LEAF: Final = rf"{_BRANCH}{_BLANK}(?:{_SCALAR}|\[{_BLANK}\]|\{{{_BLANK}\}})(?:{_BLANK}[\]}}])*+"
"""A scalar or an empty array or object, with all that begins and all that ends with it."""
_NEXT_LEAF: Final = rf"{_BLANK},(?:{_NAME})?+{_LEAF}"

_ITEM: Final = rf"{_BLANK}{_SCALAR}{_BLANK}"
_ITEMS: Final = rf"\[(?:{_ITEM}(?:,{_ITEM})*+|{_BLANK})\]"
_MEMBERS: Final = rf"\{{(?:{_NAME}{_ITEM}(?:,{_NAME}{_ITEM})*+|{_BLANK})\}}"
_FLAT: Final = rf"(?:{_SCALAR}|{_ITEMS}|{_MEMBERS})"
"""A value without a further level inside it."""

_BLANK_RUN: Final = re.compile(_BLANK)
_NAME_OF_MEMBER: Final = re.compile(_NAME)
_FLAT_MEMBERS: Final = re.compile(rf"(?:{_NAME}{_BLANK}{_FLAT}{_BLANK},)*+")
_FIRST_LEAF: Final = re.compile(_LEAF)
_STRINGS: Final = re.compile(_STRING)

_LEAVES_AT_ONCE: Final = 4096
_GROWTH: Final = 8
"""Small, since what is read beyond the end of a value is read again with what it belongs to."""

_WORTH_IT: Final = 0.9
"""The innermost brackets are taken out until no more than a tenth of all would be left out."""
_NO_STRUCTURE: Final = bytes(set(range(256)) - set(b"[]{},:"))
_RUNS: Final = re.compile(rb"[\[{]+|[\]}]+")
_AS_OPENED: Final = bytes.maketrans(b"]}", b"[{")


def end_of_blank(text: str, at: int) -> int:
    """Return where the white space that begins ``at`` ends."""
    return _end(_BLANK_RUN, text, at)


def end_of_name(text: str, at: int) -> int:
    """Return where the name of a member ends, with its colon. Raises ``JSONDecodeError``."""
    return _end(_NAME_OF_MEMBER, text, at)


def end_of_flat_members(text: str, at: int) -> int:
    """Return where the members with a flat value and a comma end; ``at``: the first has none."""
    return _end(_FLAT_MEMBERS, text, at)


def end_of_value(text: str, at: int) -> int:
    """Return the end of the array or object that begins ``at``, however deep it is.

    Raises ``JSONDecodeError`` where the form is not that of JSON.
    """
    opened = b""
    leaves, most, growing = _FIRST_LEAF, 1, True
    while True:
        end = _end(leaves, text, at)
        brackets = _brackets(text[at:end])
        left = _left_open(opened, brackets, at)
        if left:
            opened, at = left, end
            most = min(most * _GROWTH, _LEAVES_AT_ONCE) if growing else most
        elif most > 1:
            # The value ends in here: again, with fewer.
            most, growing = most // _GROWTH, False
        else:
            return _end_in_leaf(text, end, opened, brackets)
        leaves = _next_leaves(most)


@cache
def _next_leaves(most: int) -> re.Pattern[str]:
    """Compiled when first needed: no ordinary message needs them."""
    return re.compile(rf"(?:{_NEXT_LEAF}){{1,{most}}}+")


def _brackets(leaves: str) -> bytes:
    """Return what opens and closes, matching pairs left out where they are easily found.

    A comma ends an item or a member and begins another: written as closing and opening what
    it stands in, it is matched against that like any other bracket.
    """
    structure = _STRINGS.sub("", leaves).encode().translate(None, _NO_STRUCTURE)
    brackets = structure.replace(b",:", b"}{").replace(b",", b"][").replace(b":", b"")
    while True:
        before = len(brackets)
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if len(brackets) >= before * _WORTH_IT:
            return brackets


def _left_open(opened: bytes, brackets: bytes, at: int) -> bytes:
    """Return what is open behind ``brackets``; nothing where they close more than ``opened``."""
    left = bytearray(opened)
    for run in _RUNS.findall(brackets):
        if run[0] in b"[{":
            left += run
            continue
        closed = run.translate(_AS_OPENED)[::-1]
        if len(closed) > len(left):
            return b""
        if not left.endswith(closed):
            raise JSONDecodeError("closed as what it is not", "", at)
        del left[len(left) - len(closed) :]
    return bytes(left)


def _end_in_leaf(text: str, end: int, opened: bytes, brackets: bytes) -> int:
    """Return the end of the value whose last leaf ends at ``end`` and has these brackets.

    The last of them may close what stands around the value.
    """
    closing = brackets.count(b"]") + brackets.count(b"}")
    surplus = closing - (len(brackets) - closing) - len(opened)
    own = brackets[: len(brackets) - surplus]
    while surplus:
        end -= 1
        surplus -= text[end] in "]}"
    if _left_open(opened, own, end):
        raise JSONDecodeError("closed as what it is not", "", end)
    return end


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    if found is None:
        raise JSONDecodeError("not what must stand here", "", at)
    return found.end()
