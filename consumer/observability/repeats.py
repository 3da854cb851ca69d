"""Collapsing what repeats: one line an interval, with a count. Pure but for its own memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MOST_KEYS = 1000


class Sums:
    """Adds up counts by name, to be told once an interval."""

    def __init__(self, interval: float) -> None:
        """``interval`` in seconds."""
        self._interval = interval
        self._counts: Counter[str] = Counter()
        self._told_at: float | None = None

    def add(self, counts: Mapping[str, int]) -> None:
        """Take some."""
        self._counts.update(counts)

    def due(self, now: float, *, final: bool = False) -> Mapping[str, int]:
        """Return the sums since the last time; none where that is not ``interval`` ago.

        ``final``: return them in any case.
        """
        waits = self._told_at is not None and now - self._told_at < self._interval
        if not self._counts or (waits and not final):
            return {}
        sums, self._counts, self._told_at = self._counts, Counter(), now
        return dict(sums)


@dataclass(slots=True)
class _Seen(Generic[V]):
    since: float
    held_back: int
    last: V


class Repeats(Generic[K, V]):
    """Lets the first of each key through, then holds back its like for ``interval`` seconds.

    Every one held back is counted: in the next that passes, or in what ``due`` yields
    when none comes any more.
    """

    def __init__(self, interval: float) -> None:
        """``interval`` in seconds; the caller gives the time, from one monotonic clock."""
        self._interval = interval
        self._seen: dict[K, _Seen[V]] = {}

    def admit(self, key: K, value: V, now: float) -> int | None:
        """Return how many were held back since the last that passed; None: hold this back too."""
        seen = self._seen.get(key)
        if seen is not None and now - seen.since < self._interval:
            seen.held_back += 1
            seen.last = value
            return None
        held_back = seen.held_back if seen is not None else 0
        self._seen.pop(key, None)  # so that the oldest key is always the first
        self._seen[key] = _Seen(now, 0, value)
        if len(self._seen) > MOST_KEYS:
            del self._seen[next(iter(self._seen))]
        return held_back

    def due(self, now: float) -> Iterator[tuple[V, int]]:
        """Forget keys whose interval is over; yield the last one held back and their number."""
        over = [key for key, seen in self._seen.items() if now - seen.since >= self._interval]
        for key in over:
            seen = self._seen.pop(key)
            if seen.held_back:
                yield seen.last, seen.held_back
