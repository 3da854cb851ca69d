"""How a delivery ended. Every record that is settled has exactly one outcome."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Flag, StrEnum, auto

from consumer.contract.rejection import Rejected


class Outcome(StrEnum):
    """The closed set of ends; their counts add up to the records consumed."""

    APPLIED = "applied"
    REDELIVERED = "redelivered"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    DEAD_LETTERED = "dead_lettered"
    SKIPPED = "skipped"


class Mark(Flag):
    """What is counted beside a record's outcome, and changes nothing about it."""

    KEY_MISMATCH = auto()
    """The key is not the sessionId."""
    EXPIRED = auto()
    """Skipped because its document would expire at once."""
    DOUBTFUL_TIMESTAMP = auto()
    """Its timestamp cannot be right, so that it decided nothing about how long it is kept."""


NO_MARK = Mark(0)

MARK_NAMES = {
    Mark.KEY_MISMATCH: "key_mismatches",
    Mark.EXPIRED: "expired",
    Mark.DOUBTFUL_TIMESTAMP: "doubtful_timestamps",
}
"""How logs and reports name what is counted beside the outcomes."""


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of one record, with what the dead letter needs where one is due.

    ``late`` marks, best effort, an event that met an ended session; it stands
    beside the outcome and changes nothing.
    """

    outcome: Outcome
    rejected: Rejected | None = None
    late: bool = False
