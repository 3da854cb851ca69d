"""How fast records may go. Pure: the time is handed in."""

from __future__ import annotations


class Throttle:
    """Lets so many records a second through, on average; without a rate, all of them."""

    def __init__(self, rate: float | None = None) -> None:
        """``rate`` in records a second, above 0."""
        self._rate = rate
        self._free_at = 0.0

    def portion(self, most: int) -> int:
        """Return how many records to let go at once: about a second's worth, one at least."""
        return most if self._rate is None else max(1, min(most, int(self._rate)))

    def pause(self, now: float) -> float:
        """Return how many seconds the next records have to wait."""
        return max(0.0, self._free_at - now)

    def passed(self, records: int, now: float) -> None:
        """Note that so many records have gone."""
        if self._rate is not None:
            self._free_at = max(self._free_at, now) + records / self._rate
