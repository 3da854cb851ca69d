"""Times as the contract writes them: strict RFC 3339, read to the millisecond, in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_TIME_OF_DAY: Final = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"

# ``fromisoformat`` takes more forms than RFC 3339 has, and other ones with each Python.
# What it is given has passed this, so that only the calendar is left for it to judge.
_FORM: Final = re.compile(
    rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}[Tt ]{_TIME_OF_DAY}:[0-5][0-9](?:\.[0-9]+)?"
    rf"(?:[Zz]|[+-]{_TIME_OF_DAY})"
)

_LAST_DAY_OF_YEAR_0: Final = "0000-12-31"
_FIRST_DAY_OF_YEAR_1: Final = "0001-01-01"


def parse_time(text: str) -> datetime | None:
    """Return the instant in UTC, or None where the text is not one of years 1 to 9999.

    Digits beyond milliseconds are dropped, not rounded. Seconds and zone are required;
    digits are ASCII; there is no leap second and no hour 24.
    """
    if _FORM.fullmatch(text) is None:
        return None
    if text.endswith("z"):
        text = text[:-1] + "Z"
    days_back = 0
    if text.startswith(_LAST_DAY_OF_YEAR_0):
        # A zone west of Greenwich can lift it into year 1, but a datetime cannot begin there.
        text = _FIRST_DAY_OF_YEAR_1 + text[len(_LAST_DAY_OF_YEAR_0) :]
        days_back = 1
    try:
        local = datetime.fromisoformat(text)
        if local.tzinfo is not UTC:
            offset = local.utcoffset() or timedelta()
            local = local.replace(tzinfo=UTC) - (offset + timedelta(days=days_back))
        elif days_back:
            return None
    except (ValueError, OverflowError):
        return None
    surplus = local.microsecond % 1000
    return local.replace(microsecond=local.microsecond - surplus) if surplus else local


def time_from_ms(milliseconds: int) -> datetime | None:
    """Return the instant so long after the epoch, or None outside of years 1 to 9999."""
    try:
        return EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None


def format_time(instant: datetime) -> str:
    """Return an aware time as text in UTC, to the millisecond."""
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
