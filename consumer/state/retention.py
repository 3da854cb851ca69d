"""How long documents are kept, where that is limited at all."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

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

    def expiry(self, timestamp_ms: int) -> datetime | None:
        """Return when a document of a record so stamped expires; None: never.

        A record without a usable timestamp (-1, or beyond what a datetime holds) is kept:
        nothing says when to delete it.
        """
        stamped = record_time(timestamp_ms)
        if stamped is None:
            return None
        try:
            return stamped + self.keep
        except OverflowError:
            return None


def record_time(timestamp_ms: int) -> datetime | None:
    """Return a record's timestamp as a time in UTC, None where it is not usable."""
    if timestamp_ms < 0:
        return None
    try:
        return _EPOCH + timedelta(milliseconds=timestamp_ms)
    except OverflowError:
        return None
