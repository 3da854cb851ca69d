"""What a session document may say of itself."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """How far a session is. Never goes back: initiated, active, then one of the two ends."""

    INITIATED = "initiated"
    ACTIVE = "active"
    COMPLETED = "completed"
    FAILED = "failed"


ENDED = frozenset({Status.COMPLETED, Status.FAILED})
PAST_INITIATED = ENDED | {Status.ACTIVE}


_BY_VALUE = {status.value: status for status in Status}


def status_of(value: object) -> Status | None:
    """Return a stored status, or None where there is none that is known."""
    return _BY_VALUE.get(value) if isinstance(value, str) else None
