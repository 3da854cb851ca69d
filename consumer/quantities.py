"""How numbers are written for people, on a terminal and on the status page alike. Pure."""

from __future__ import annotations

from datetime import timedelta

LONGEST = timedelta(days=999_999_999).total_seconds()
"""Seconds. A producer's clock, or a retention of for ever, may make more of them."""

UNKNOWN = "?"
NONE = "-"


def count_text(count: float | None) -> str:
    """Return ``1,234``; ``?`` where it is not known."""
    return UNKNOWN if count is None else f"{count:,.0f}"


def rate_text(rate: float | None) -> str:
    """Return records per second as ``1,234/s``; ``?`` where it is not known."""
    return UNKNOWN if rate is None else f"{rate:,.0f}/s"


def duration_text(seconds: float | None) -> str:
    """Return seconds as ``0:01:05``, ``-0:01:05`` or ``2 days, 0:01:05``; ``-`` for none."""
    if seconds is None:
        return NONE
    length = round(min(abs(seconds), LONGEST))
    return f"{'-' if seconds < 0 < length else ''}{timedelta(seconds=length)}"


def plural(count: int, noun: str) -> str:
    """Return so many of them."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
