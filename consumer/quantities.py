"""How numbers are written for people, on a terminal and on the status page alike. Pure."""

from __future__ import annotations

from datetime import timedelta

UNKNOWN = "?"
NONE = "-"


def count_text(count: float | None) -> str:
    """Return ``1,234``; ``?`` where it is not known."""
    return UNKNOWN if count is None else f"{count:,.0f}"


def rate_text(rate: float | None) -> str:
    """Return records per second as ``1,234/s``; ``?`` where it is not known."""
    return UNKNOWN if rate is None else f"{rate:,.0f}/s"


def duration_text(seconds: float | None) -> str:
    """Return seconds as ``0:01:05`` or ``2 days, 0:01:05``; ``-`` where there is none."""
    return NONE if seconds is None else str(timedelta(seconds=round(seconds)))
