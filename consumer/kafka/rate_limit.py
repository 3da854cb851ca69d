"""How fast records may go. Pure: the time is handed in, and whoever asks does the waiting."""

from __future__ import annotations

from typing import Final

SHORTEST_DELAY: Final = 0.005
"""Seconds. A shorter sleep costs more than it paces."""

CATCH_UP: Final = 0.1
"""Seconds. What was missed within them is made up for: sleeping and sending are not exact.

After a stall there is no more to make up for, or all of it would come in a rush.
"""


class RateLimiter:
    """Lets so many records a second through, on average; without a rate, all of them.

    Before records go, wait for ``delay``; then ``take`` as many as go.
    """

    def __init__(self, rate: float | None = None) -> None:
        """``rate`` in records a second, above 0."""
        self._rate = rate
        self._free_at: float | None = None

    def batch_size(self, most: int) -> int:
        """Return how many records to let go at once: about a second's worth, one at least."""
        return most if self._rate is None else max(1, min(most, int(self._rate)))

    def delay(self, now: float) -> float:
        """Return how many seconds the next records have to wait; 0 where they need not."""
        ahead = 0.0 if self._free_at is None else self._free_at - now
        return ahead if ahead > SHORTEST_DELAY else 0.0

    def take(self, records: int, now: float) -> None:
        """Note that so many records go now."""
        if self._rate is not None:
            free_at = now if self._free_at is None else max(self._free_at, now - CATCH_UP)
            self._free_at = free_at + records / self._rate
