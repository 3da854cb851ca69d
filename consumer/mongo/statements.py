"""The statements of a batch, and what each one has met so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from consumer.errors import ConsumerError
from consumer.state.writes import EventWrite, SessionWrite

W = TypeVar("W", bound=EventWrite | SessionWrite)

TRIES_BEFORE_ALONE = 3
"""After so many errors of its own a statement is sent in a command of its own, and named."""


@dataclass(slots=True, eq=False)
class Statement(Generic[W]):
    """One write on its way. ``index`` is its record's place in the batch, None for an activity.

    ``own_possible``: this delivery may have written it already, unheard. It stays false
    where the first answer of all was a clean duplicate key: then somebody else was first.
    ``troubles``: how often it failed where others were answered well; ``unanswered``: how
    often a command of it alone had no answer. ``raced_with``: hashes of the documents for
    which its guard holds and that it was refused beside.
    """

    write: W
    index: int | None = None
    sent: bool = False
    met_stored: bool = False
    troubles: int = 0
    unanswered: int = 0
    raced_with: list[int] = field(default_factory=list)

    @property
    def own_possible(self) -> bool:
        """Whether what is found in its place may be its own earlier attempt."""
        return not self.met_stored

    @property
    def goes_alone(self) -> bool:
        """Whether it travels in a command of its own, behind the others."""
        return self.unanswered > 0 or self.troubles >= TRIES_BEFORE_ALONE

    @property
    def named(self) -> int | None:
        """Its record's place in the batch, once it is the one that keeps failing."""
        return self.index if self.troubles >= TRIES_BEFORE_ALONE else None


@dataclass(slots=True, eq=False)
class Receipt(Generic[W]):
    """What came of sending some statements; those that appear nowhere had no answer."""

    applied: list[Statement[W]] = field(default_factory=list)
    doubted: list[Statement[W]] = field(default_factory=list)
    refused: list[tuple[Statement[W], str]] = field(default_factory=list)
    troubles: list[ConsumerError] = field(default_factory=list)
    broken: bool = False
    """A command as a whole had no answer; the rest was not sent."""
