"""The one place that makes text from outside safe to print. Pure.

Whatever came from a topic, a database, a broker or a file goes through here before it is written
to a terminal or into a readable log: escape sequences, line ends, directional controls and
characters that nobody sees would otherwise forge or hide what stands beside them.
"""

from __future__ import annotations

from typing import Final

NULL: Final = "null"

_SHORT: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(content: bytes | str | None, limit: int | None = None) -> str:
    r"""Return the content on one line, with escapes for whatever is not plainly visible.

    Bytes are read as UTF-8; those that are none become ``\xNN``. A backslash is doubled, so
    that different contents look different. Beyond ``limit`` bytes, or characters of text, it
    only says how much there is.
    """
    if content is None:
        return NULL
    shown = content if limit is None else content[:limit]
    more = len(content) - len(shown)
    # Surrogates stand for the bytes that are no UTF-8, so that a real backslash differs.
    text = shown if isinstance(shown, str) else shown.decode(errors="surrogateescape")
    escaped = printable_line(text.replace("\\", "\\\\"))
    return f"{escaped}… ({more:,} more)" if more else escaped


def printable_line(line: str) -> str:
    """Escape a line of our own that quotes others; what is escaped already stays as it is."""
    if line.isprintable():
        return line
    return "".join(char if char.isprintable() else _escape(char) for char in line)


def _escape(char: str) -> str:
    code = ord(char)
    if char in _SHORT:
        return _SHORT[char]
    if 0xDC80 <= code <= 0xDCFF:  # noqa: PLR2004 -- where surrogateescape puts bytes 80 to FF
        return f"\\x{code - 0xDC00:02x}"
    if 0x80 <= code <= 0xFF:  # noqa: PLR2004 -- \x80 to \xff are bytes that are no UTF-8
        return f"\\u{code:04x}"
    return ascii(char)[1:-1]
