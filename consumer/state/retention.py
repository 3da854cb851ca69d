"""How long documents are kept, where that is limited at all."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from consumer.contract.record import Record
from consumer.contract.record_time import effective_timestamp_ms

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

GRACE = timedelta(days=1)
"""A record this close to its expiry is no longer applied."""


@dataclass(frozen=True, slots=True)
class Retention:
    """Documents expire ``keep`` after the timestamp of their record.

    The record's, since it is the same on every redelivery, and since producers' clocks are
    not trusted to delete.
    """

    keep: timedelta

    def oldest_kept(self, now: datetime) -> datetime:
        """Return the timestamp before which a record is skipped.

        Applied, it would leave a stub that expires at once and that nobody will ever end.
        """
        return now - (self.keep - GRACE)

    def expiry(self, stamped: datetime | None) -> datetime | None:
        """Return when a document of a record so stamped expires; None: never.

        A record without a usable timestamp is kept: nothing says when to delete it.
        """
        if stamped is None:
            return None
        try:
            return stamped + self.keep
        except OverflowError:
            return None


def record_time(record: Record) -> datetime | None:
    """Return the time a record is stamped with, in UTC; None where that is not usable.

    It may be missing (-1) or beyond what a datetime holds.
    """
    timestamp_ms = effective_timestamp_ms(record)
    if timestamp_ms is None or timestamp_ms < 0:
        return None
    try:
        return _EPOCH + timedelta(milliseconds=timestamp_ms)
    except OverflowError:
        return None
