"""Moments as people write them: in RFC 3339, or so long ago. Pure: the present is handed in."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from consumer.contract.times import EPOCH, parse_time
from consumer.errors import SettingsError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_WORDS = {
    "sec": "s",
    "second": "s",
    "min": "m",
    "minute": "m",
    "hour": "h",
    "day": "d",
    "week": "w",
}
_PART = re.compile(r"([0-9]{1,9})\s*([a-z]+)")
_AGO = re.compile(r"((?:[0-9]{1,9}\s*[a-z]+\s*)+)\s+ago")


def moment_ms(option: str, text: str, now: datetime) -> int:
    """Return the moment in milliseconds since the epoch.

    Raises ``SettingsError`` naming the option.
    """
    written = text.strip()
    ago = _AGO.fullmatch(written.lower())
    moment = parse_time(written) if ago is None else _ago(ago[1], now)
    if moment is None:
        raise SettingsError(
            f"{option}: {text!r} is neither a time such as 2026-03-04T10:00:00Z (with seconds "
            "and zone) nor a duration such as '2h ago' or '1d 12h ago'"
        )
    return (moment - EPOCH) // timedelta(milliseconds=1)


def _ago(durations: str, now: datetime) -> datetime | None:
    seconds = 0
    for number, unit in _PART.findall(durations):
        short = unit if unit in _UNITS else _WORDS.get(unit.removesuffix("s"))
        if short is None:
            return None
        seconds += int(number) * _UNITS[short]
    try:
        return now - timedelta(seconds=seconds)
    except OverflowError:
        return None
