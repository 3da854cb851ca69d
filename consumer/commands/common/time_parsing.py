"""Times as people write them on a command line: one grammar for every command and option. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta

from consumer.contract.times import parse_time
from consumer.errors import SettingsError

FORMS = "2026-03-04T10:00:00Z, 2026-03-04, yesterday, 2h, 1d 12h ago"
"""Each form once, for the help of an option and for the message of an error."""

_DAYS_AGO = {"today": 0, "yesterday": 1}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_PART = re.compile(r"([0-9]{1,9})\s*((?:sec(?:ond)?|min(?:ute)?|hour|day|week)s?|[smhdw])")
_DURATION = re.compile(rf"(?:{_PART.pattern}\s*)+")


def parse_moment(option: str, text: str, now: datetime) -> datetime:
    """Return the time that was written, in UTC.

    It is a time of RFC 3339, with seconds and zone; a date, ``today`` or ``yesterday``, which
    stand for the first moment of that day in UTC; or how long before ``now``, with or without
    ``ago``. Raises ``SettingsError`` naming the option.
    """
    written = text.strip().lower()
    try:
        moment = _day(written, now) or _ago(written, now) or parse_time(text.strip())
    except OverflowError:
        moment = None
    if moment is None:
        raise SettingsError(
            f"{option}: {text!r} is not a time. Allowed are, for example: {FORMS}; "
            "a time of day has seconds and a zone"
        )
    return moment


def _day(written: str, now: datetime) -> datetime | None:
    if _DATE.fullmatch(written):
        return parse_time(f"{written}T00:00:00Z")
    if written not in _DAYS_AGO:
        return None
    midnight = datetime.combine(now.astimezone(UTC), time(), UTC)
    return midnight - timedelta(days=_DAYS_AGO[written])


def _ago(written: str, now: datetime) -> datetime | None:
    durations = written.removesuffix("ago")
    if _DURATION.fullmatch(durations) is None:
        return None
    seconds = sum(int(number) * _UNITS[unit[0]] for number, unit in _PART.findall(durations))
    return now - timedelta(seconds=seconds)
