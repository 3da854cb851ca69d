"""How many statements one command carries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

TIMEOUTS_BEFORE_HALVING = 2


class Lane:
    """Cuts work into commands, smaller ones where commands do not fit their deadline.

    Down to one: what never fits the deadline together must not block for ever.
    """

    def __init__(self, limit: int) -> None:
        """Begin with at most ``limit`` in one command."""
        self.limit = limit
        self._timeouts = 0

    def cut(self, work: Sequence[T]) -> Iterator[Sequence[T]]:
        """Yield the work in parts."""
        for start in range(0, len(work), self.limit):
            yield work[start : start + self.limit]

    def timed_out(self, size: int) -> None:
        """Note that a command with ``size`` statements did not fit; every second time halves."""
        self._timeouts += 1
        if self._timeouts % TIMEOUTS_BEFORE_HALVING == 0:
            self.limit = max(1, min(self.limit, size) // 2)
