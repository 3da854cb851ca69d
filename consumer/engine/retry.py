"""How long to wait before doing the same work again. Pure: chance is handed in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with full jitter, without an end: an outage is waited out.

    ``initial`` and ``maximum`` in seconds. Full jitter spreads the instances of
    a group, which all meet the same outage at the same moment.
    """

    initial: float
    maximum: float

    def ceiling(self, attempt: int) -> float:
        """The longest wait after the ``attempt``-th failure (counted from 1), in seconds."""
        return min(self.maximum, self.initial * 2.0 ** min(attempt - 1, 63))

    def delay(self, attempt: int, chance: float) -> float:
        """The wait in seconds; ``chance`` is uniform in [0, 1). A tenth of the ceiling at least.

        The floor keeps an unlucky row of small chances from turning into a hot loop.
        """
        ceiling = self.ceiling(attempt)
        return ceiling * (0.1 + 0.9 * chance)
