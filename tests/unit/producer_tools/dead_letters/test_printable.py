"""Foreign bytes on a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer_tools.dead_letters.printable import printable


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (None, "null"),
        (b"", ""),
        ("Grüße 你好 🙂".encode(), "Grüße 你好 🙂"),
        (b"\x1b[2J\x07", r"\x1b[2J\x07"),
        (b"a\nb\r\tc\\", r"a\nb\r\tc\\"),
        (b"\xff\xfe", r"\xff\xfe"),
        (b"\\xff", r"\\xff"),
        ("\x9b31m", r"\x9b31m"),
        ("\u202eabc\u2028", r"\u202eabc\u2028"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_is_not_plainly_visible_is_escaped(content: bytes | str | None, shown: str) -> None:
    assert printable(content) == shown


def test_a_long_content_says_how_much_more_there_is() -> None:
    assert printable(b"x" * 5000, limit=3) == "xxx… (4,997 more)"


@given(st.binary())
def test_whatever_is_shown_is_one_printable_line(content: bytes) -> None:
    assert printable(content).isprintable()


@given(st.binary(), st.binary())
def test_different_bytes_look_different(one: bytes, other: bytes) -> None:
    assert (printable(one) == printable(other)) == (one == other)
