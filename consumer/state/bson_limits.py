"""Whether a document can be stored, found out before it is sent, for each record alone.

One value that BSON refuses would fail the whole command its document travels in.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import bson
from bson.errors import BSONError

from consumer.contract.rejection import Reason, Rejected

MAX_LEVELS = 100
"""How deep a document may be, with the document itself as the first level."""

_INT64 = range(-(2**63), 2**63)

_LEVEL_BYTES = 7
"""The least that one level takes: type, empty name, length and end."""

_SHALLOW_BYTES = MAX_LEVELS * _LEVEL_BYTES

_OBJECT, _ARRAY = b"\x03", b"\x04"

_POSITIVE, _NEGATIVE = 0x7F, 0xFF

_NOT_FINITE = re.compile(rb"[\xf0\xf8][\x7f\xff]")
"""How the encodings of the infinities and of NaN end. No UTF-8 text holds these pairs."""

_REFUSALS = (BSONError, OverflowError, RecursionError, TypeError, ValueError)
"""What bson raises for a value it cannot encode; few of these are its own classes."""


def encode(document: Mapping[str, Any], max_bytes: int) -> bytes | Rejected:
    """Return a document of JSON and times as BSON, or why it cannot be stored.

    The bytes are what is sent, so that nothing is encoded twice.
    """
    try:
        encoded = bson.encode(document)
    except _REFUSALS:
        detail = _first_problem(document) or "holds a value that BSON cannot hold"
        return Rejected(Reason.UNSTORABLE, detail)
    if len(encoded) > max_bytes:
        return Rejected(Reason.UNSTORABLE, f"takes more than the {max_bytes} bytes it may")
    if _may_hide_a_problem(encoded):
        problem = _first_problem(document)
        if problem is not None:
            return Rejected(Reason.UNSTORABLE, problem)
    return encoded


def _may_hide_a_problem(encoded: bytes) -> bool:
    """Tell whether a walk is due: bson also encodes what is too deep or not finite.

    A necessary sign, read off the bytes at memory speed; walking every document in Python
    would cost more than everything else that is done for a record.
    """
    if len(encoded) > _SHALLOW_BYTES and (
        encoded.count(_OBJECT) + encoded.count(_ARRAY) >= MAX_LEVELS
    ):
        return True
    # The single bytes first: a search for one byte costs next to nothing, and hardly any
    # document has them.
    return (_POSITIVE in encoded or _NEGATIVE in encoded) and bool(_NOT_FINITE.search(encoded))


def _first_problem(document: Mapping[str, Any]) -> str | None:
    for field, value in document.items():
        problem = None if isinstance(value, datetime) else problem_of(value, level=2)
        if problem is not None:
            return f"{field}: {problem}"
    return None


def problem_of(value: object, level: int) -> str | None:
    """Say why a JSON value cannot be stored, or None; never quotes it.

    ``level`` is the one on which the value stands, were it an object or array. Goes level
    by level, so that no nesting exhausts the stack.
    """
    current = [value]
    while current:
        if level > MAX_LEVELS and any(isinstance(item, dict | list) for item in current):
            return f"deeper than {MAX_LEVELS} levels"
        below: list[object] = []
        for item in current:
            if isinstance(item, list):
                below += item
                continue
            if isinstance(item, dict):
                problem = _names_problem(item)
                below += item.values()
            else:
                problem = _scalar_problem(item)
            if problem is not None:
                return problem
        current = below
        level += 1
    return None


def _names_problem(names: Iterable[object]) -> str | None:
    for name in names:
        if not isinstance(name, str):
            return "a field name that is not text"
        if "\0" in name:
            return "NUL in a field name"
        if _has_surrogate(name):
            return "an unpaired surrogate in a field name"
    return None


def _scalar_problem(value: object) -> str | None:
    kind = type(value)
    if kind is str:
        return "an unpaired surrogate" if _has_surrogate(str(value)) else None
    if value is None or kind is bool:
        return None
    if kind is int:
        return None if value in _INT64 else "an integer beyond 64 bits"
    if isinstance(value, float) and kind is float:
        return None if math.isfinite(value) else "a number beyond what a double can hold"
    return "a value that BSON cannot hold"


def _has_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
