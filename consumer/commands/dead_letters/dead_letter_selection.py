"""Which letters a command is about: by reason, key, time of failure, origin, place. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from consumer.commands.dead_letters.dead_letter_record import DeadLetterRecord, UnreadableDeadLetter
from consumer.contract.times import parse_time

UNREADABLE: Final = "unreadable"
"""Stands where a reason would, for a letter whose headers do not tell one."""

_PLACE: Final = re.compile(r"([0-9]{1,9})(?::([0-9]{1,19})(?:-([0-9]{1,19}))?)?")
_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")
_AGO: Final = re.compile(r"([0-9]{1,6})(s|m|h|d)")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True, slots=True)
class PartitionOffsets:
    """Offsets of one partition; both ends inclusive, None where that end is open."""

    partition: int
    first: int | None = None
    last: int | None = None

    def holds(self, partition: int, offset: int) -> bool:
        """Return whether the offset of that partition lies in it."""
        return (
            partition == self.partition
            and (self.first is None or offset >= self.first)
            and (self.last is None or offset <= self.last)
        )


@dataclass(frozen=True, slots=True)
class Origin:
    """A topic that records came from, or one place in it."""

    topic: str
    place: PartitionOffsets | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """Each filter that is set must hold; of one with several values any will do.

    ``since`` is inclusive and ``until`` exclusive; both are about when the record failed.
    A letter that cannot be read has no reason, key or origin: it is selected by its place,
    by the word ``unreadable`` for a reason, or where nothing else is asked for.
    """

    reasons: frozenset[str] = frozenset()
    keys: frozenset[bytes] = frozenset()
    since: datetime | None = None
    until: datetime | None = None
    origins: Sequence[Origin] = ()
    places: Sequence[PartitionOffsets] = ()
    """Where in the dead-letter topic the letters themselves lie."""

    @property
    def everything(self) -> bool:
        """Whether no filter is set."""
        return self == _EVERYTHING

    def selects(self, letter: DeadLetterRecord | UnreadableDeadLetter) -> bool:
        """Return whether the letter is meant."""
        position = letter.position
        if self.places and not any(
            place.holds(position.partition, position.offset) for place in self.places
        ):
            return False
        if isinstance(letter, UnreadableDeadLetter):
            named = UNREADABLE in self.reasons if self.reasons else True
            return named and not (self.keys or self.origins or self.since or self.until)
        return self._selects(letter)

    def _selects(self, letter: DeadLetterRecord) -> bool:
        return (
            (not self.reasons or letter.reason in self.reasons)
            and (not self.keys or letter.key in self.keys)
            and (self.since is None or letter.failed_at >= self.since)
            and (self.until is None or letter.failed_at < self.until)
            and (not self.origins or any(_from(letter, origin) for origin in self.origins))
        )


_EVERYTHING: Final = Selection()


def _from(letter: DeadLetterRecord, origin: Origin) -> bool:
    topic, partition, offset = letter.origin
    return topic == origin.topic and (origin.place is None or origin.place.holds(partition, offset))


def parse_partition_offsets(text: str) -> PartitionOffsets:
    """Read ``PARTITION``, ``PARTITION:OFFSET`` or ``PARTITION:FIRST-LAST``.

    Raises ``ValueError`` with a text for people.
    """
    found = _PLACE.fullmatch(text.strip())
    if found is None:
        raise ValueError(
            f"{text!r} is not PARTITION, PARTITION:OFFSET or PARTITION:FIRST-LAST, such as 3:17-40"
        )
    partition, first, last = found.groups()
    if first is None:
        return PartitionOffsets(int(partition))
    place = PartitionOffsets(int(partition), int(first), int(first if last is None else last))
    if int(first) > int(last or first):
        raise ValueError(f"{text!r}: the first offset is behind the last")
    return place


def parse_origin(text: str) -> Origin:
    """Read ``TOPIC``, or ``TOPIC:`` and a place. Raises ``ValueError`` with a text for people."""
    topic, colon, place = text.strip().partition(":")
    if _TOPIC.fullmatch(topic) is None:
        raise ValueError(
            f"{text!r} is not TOPIC or TOPIC:PARTITION:FIRST-LAST, such as "
            "conversation.events:3:17-40"
        )
    return Origin(topic, parse_partition_offsets(place) if colon else None)


def parse_moment(text: str, now: datetime) -> datetime:
    """Read a time of RFC 3339, a date (its first moment in UTC), or how long ago (``26h``).

    Raises ``ValueError`` with a text for people.
    """
    written = text.strip()
    if _DATE.fullmatch(written):
        written += "T00:00:00Z"
    ago = _AGO.fullmatch(written)
    moment = _before(now, int(ago[1]), ago[2]) if ago else parse_time(written)
    if moment is None:
        raise ValueError(
            f"{text!r} is not a time such as 2026-03-04T10:00:00Z, a date, or how long ago (26h)"
        )
    return moment.astimezone(UTC)


def _before(now: datetime, count: int, unit: str) -> datetime | None:
    try:
        return now - timedelta(**{_UNITS[unit]: count})
    except OverflowError:
        return None
