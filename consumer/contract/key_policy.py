"""What a key that is not the sessionId leads to."""

from __future__ import annotations

from enum import StrEnum


class KeyPolicy(StrEnum):
    """What becomes of a record whose key is not its sessionId."""

    WARN = "warn"
    DEAD_LETTER = "dead_letter"
