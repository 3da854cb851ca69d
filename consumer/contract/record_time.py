"""The time of a record, which stands for the time of a message that has none."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from consumer.contract.record import Record
from consumer.contract.rfc3339 import time_from_ms

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
    return time_from_ms(timestamp_ms)


def effective_timestamp_ms(record: Record) -> int | None:
    """Return the record's timestamp, or the one that stands for it, as the number it came as.

    In milliseconds since the epoch; may be -1 or absurd. None where the header that stands
    for it cannot be read: the record's own would be the time of the redrive.
    """
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
