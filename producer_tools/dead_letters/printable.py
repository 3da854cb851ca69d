"""Foreign bytes as text that does nothing to a terminal. Pure."""

from __future__ import annotations

from typing import Final

from consumer.contract.record import Position

NULL: Final = "null"

_SHORT: Final = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(content: bytes | str | None, limit: int | None = None) -> str:
    r"""Return the content on one line, with escapes for whatever is not plainly visible.

    Bytes are read as UTF-8; those that are none become ``\xNN``. Beyond ``limit`` bytes, or
    characters of text, it only says how much there is.
    """
    if content is None:
        return NULL
    shown = content if limit is None else content[:limit]
    more = len(content) - len(shown)
    text = shown if isinstance(shown, str) else _decoded(shown)
    escaped = "".join(char if _is_plain(char) else _escape(char) for char in text)
    return f"{escaped}… ({more:,} more)" if more else escaped


def _decoded(content: bytes) -> str:
    # Surrogates stand for the bytes that are no UTF-8, so that a real backslash differs.
    return content.decode(errors="surrogateescape")


def _is_plain(char: str) -> bool:
    return char.isprintable() and char != "\\"


def _escape(char: str) -> str:
    if char in _SHORT:
        return _SHORT[char]
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # noqa: PLR2004 -- where surrogateescape puts bytes 80 to FF
        return f"\\x{code - 0xDC00:02x}"
    return ascii(char)[1:-1]


def place(position: Position) -> str:
    """Return ``TOPIC:PARTITION:OFFSET``, as the options take it."""
    return f"{printable(position.topic)}:{position.partition}:{position.offset}"
