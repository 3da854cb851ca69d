"""What a check of one precondition found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from consumer.errors import PreconditionError


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


def refuse(findings: Iterable[Finding]) -> None:
    """Raise ``PreconditionError`` with a line for each finding that failed."""
    failed = [finding for finding in findings if finding.status is Status.FAILED]
    if failed:
        raise PreconditionError("\n".join(f"{f.name}: {f.detail}; cure: {f.cure}" for f in failed))
