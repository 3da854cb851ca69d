"""Times: strict RFC 3339 as the contract writes them, and the time a record is stamped with.

Read to the millisecond, in UTC. A record's time stands for the time of a message that has none.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from consumer.contract.record import Record

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_TIME_OF_DAY: Final = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"

# ``fromisoformat`` takes more forms than RFC 3339 has, and other ones with each Python.
# What it is given has passed this, so that only the calendar is left for it to judge.
_FORM: Final = re.compile(
    rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}[Tt ]{_TIME_OF_DAY}:[0-5][0-9](?:\.[0-9]+)?"
    rf"(?:[Zz]|[+-]{_TIME_OF_DAY})"
)

TIME_PATTERN: Final = f"^{_FORM.pattern}$"
"""The same for other programs; of the calendar it knows nothing."""

_USUAL_FORM: Final = re.compile(
    rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T{_TIME_OF_DAY}:[0-5][0-9](?:\.[0-9]{{3}})?Z"
)

_LAST_DAY_OF_YEAR_0: Final = "0000-12-31"
_FIRST_DAY_OF_YEAR_1: Final = "0001-01-01"


def parse_time(text: str) -> datetime | None:
    """Return the instant in UTC, or None where the text is not one of years 1 to 9999.

    Digits beyond milliseconds are dropped, not rounded. Seconds and zone are required;
    digits are ASCII; there is no leap second and no hour 24.
    """
    usual = parse_usual_time(text)
    if usual is not None:
        return usual.replace(tzinfo=UTC)
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


def parse_usual_time(text: str) -> datetime | None:
    """Return an instant in UTC as BSON takes it, without a zone; None where the form is not usual.

    A zone costs as much to make and to encode as the rest of the instant.
    """
    if _USUAL_FORM.fullmatch(text) is None:
        return None
    try:
        return datetime.fromisoformat(text[:-1])
    except ValueError:
        return None


def format_time(instant: datetime) -> str:
    """Return an aware time as text in UTC, to the millisecond."""
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


REDRIVE_TIMESTAMP: Final = "redrive-timestamp-ms"
"""On a dead letter that was sent back: the timestamp of its first record."""

_INTEGER: Final = re.compile(rb"-?(?:0|[1-9][0-9]{0,18})")
_INT64: Final = range(-(2**63), 2**63)


def record_time(record: Record) -> datetime | None:
    """Return the time that a record is stamped with, in UTC; None where it has none to be used."""
    return usable_time(effective_timestamp_ms(record))


def usable_time(timestamp_ms: int | None) -> datetime | None:
    """Return what a timestamp says, in UTC; None where it is none, below 0 or beyond year 9999.

    Kafka knows no time before its epoch: -1 says that there is none, and what else is below 0 is
    the zero time of some language, or an overflow.
    """
    if timestamp_ms is None or timestamp_ms < 0:
        return None
    try:
        return EPOCH + timedelta(milliseconds=timestamp_ms)
    except OverflowError:
        return None


def effective_timestamp_ms(record: Record) -> int | None:
    """Return the record's timestamp, or the one that stands for it, as the number it came as.

    In milliseconds since the epoch; may be -1 or absurd. None where the header that stands
    for it cannot be read: the record's own would be the time of the redrive.
    """
    if not record.headers:
        return record.timestamp_ms
    values = {value for name, value in record.headers if name == REDRIVE_TIMESTAMP}
    if not values:
        return record.timestamp_ms
    return parse_timestamp_ms(values.pop()) if len(values) == 1 else None


def is_redriven(record: Record) -> bool:
    """Tell whether the record is a dead letter that was sent back."""
    return any(name == REDRIVE_TIMESTAMP for name, _ in record.headers)


def parse_timestamp_ms(value: bytes | None) -> int | None:
    """Return a timestamp that is written as a decimal number, None where it is none."""
    if value is None or _INTEGER.fullmatch(value) is None:
        return None
    milliseconds = int(value)
    return milliseconds if milliseconds in _INT64 else None
