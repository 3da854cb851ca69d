"""How many statements one command carries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")

MAX_STATEMENTS = 100_000
"""What MongoDB takes at most in one command; the engine's batches are smaller."""

MAX_IN_ONE_FIND = 500
"""Ids in one find."""

GROWTH = 16
"""A command that was full and fitted lets the next ones carry one part in so many more."""


class Lane:
    """Cuts work into commands, smaller ones where commands do not fit their deadline.

    Down to one: what never fits the deadline together must not block for ever. It outlives
    the batches: a database that is too slow for one batch is too slow for the next.
    """

    def __init__(self, most: int) -> None:
        """Begin with at most ``most`` in one command, and never exceed it."""
        self.limit = most
        self._most = most

    def cut(self, work: Sequence[T]) -> Iterator[Sequence[T]]:
        """Yield the work in parts, by the limit as it is when each part is taken."""
        start = 0
        while start < len(work):
            part = work[start : start + self.limit]
            start += len(part)
            yield part

    def timed_out(self, size: int) -> None:
        """Note that a command with ``size`` statements did not fit: half of it may.

        Commands of one size under way side by side halve once. Of one statement alone that
        says nothing: it might never fit, and all others would travel one by one each time.
        """
        if size > 1:
            self.limit = min(self.limit, size // 2)

    def fitted(self, size: int) -> None:
        """Note that a command with ``size`` statements fitted; a full one lets the next grow."""
        if size >= self.limit:
            self.limit = min(self._most, self.limit + max(1, self.limit // GROWTH))


@dataclass(frozen=True, slots=True)
class Lanes:
    """One for each kind of command of a store."""

    inserts: Lane = field(default_factory=lambda: Lane(MAX_STATEMENTS))
    upserts: Lane = field(default_factory=lambda: Lane(MAX_STATEMENTS))
    events: Lane = field(default_factory=lambda: Lane(MAX_IN_ONE_FIND))
    sessions: Lane = field(default_factory=lambda: Lane(MAX_IN_ONE_FIND))
