"""What a group keeps for a partition: an offset, and a text beside it. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Committed:
    """A committed offset. ``metadata``: whatever was committed beside it, by whomever."""

    offset: int
    metadata: str = ""
