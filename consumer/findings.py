"""What a check of one precondition found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """``warning``: a run would start, but this wants looking at."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One precondition: what was looked at, what was seen, and what to do where it fails."""

    name: str
    status: Status
    detail: str
    cure: str = ""
