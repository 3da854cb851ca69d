"""How long documents are kept, where that is limited at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from consumer.contract.record import Record
from consumer.contract.times import is_redriven, record_time

GRACE = timedelta(days=1)
"""A record this close to its expiry is no longer applied."""

FIRST_TIME = datetime(2000, 1, 1, tzinfo=UTC)
"""Before this no record can have been made: it is a clock that was never set, or seconds that
were taken for milliseconds."""

AHEAD = timedelta(days=1)
"""How far ahead of ours a producer's clock may be and still be believed."""


class Lifetime(NamedTuple):
    """How long what a record writes is kept.

    ``expire_at`` None: for ever. ``over``: it would expire at once, and leave a stub that nobody
    will ever end, so that it is not written. ``doubtful``: the record's timestamp cannot be right,
    and so decides neither.
    """

    expire_at: datetime | None = None
    over: bool = False
    doubtful: bool = False


FOR_EVER = Lifetime()


@dataclass(frozen=True, slots=True)
class Retention:
    """Documents expire ``keep`` after the timestamp of their record.

    The record's, since it is the same on every redelivery. Unless the topic has its brokers stamp
    it, it is the producer's clock, which may be wrong: a timestamp that cannot be right decides
    nothing. ``oldest_possible``: by topic, how old a record can be that it still has.
    """

    keep: timedelta
    oldest_possible: Mapping[str, timedelta] = field(default_factory=dict)

    def lifetime(self, record: Record, now: datetime) -> Lifetime:
        """Return how long what the record writes is kept."""
        stamped = self._believed_time(record, now)
        if stamped is None:
            return Lifetime(doubtful=True)
        try:
            expire_at = stamped + self.keep
        except OverflowError:
            return FOR_EVER
        return Lifetime(expire_at, over=now - stamped > self.keep - GRACE)

    def _believed_time(self, record: Record, now: datetime) -> datetime | None:
        """Return the time that a record is stamped with, None where that cannot be right.

        There is none, it is before ``FIRST_TIME`` or far ahead, or the topic would have deleted
        the record by then. What was sent back from the dead letters may be older than that.
        """
        stamped = record_time(record)
        if stamped is None or stamped < FIRST_TIME or stamped - AHEAD > now:
            return None
        age = self.oldest_possible.get(record.topic)
        if age is not None and now - stamped > age and not is_redriven(record):
            return None
        return stamped
