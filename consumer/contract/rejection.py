"""Why a record cannot be applied. The reasons are a stable enumeration others script against."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """The value of the ``dlq-reason`` header, in order of precedence where two apply."""

    UNDECODABLE = "undecodable"
    UNSUPPORTED_TYPE = "unsupported_type"
    UNSUPPORTED_VERSION = "unsupported_version"
    INVALID = "invalid"
    KEY_MISMATCH = "key_mismatch"
    UNSTORABLE = "unstorable"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that is wrong for good: no retry can help it.

    ``detail`` names fields and never quotes a value, since it is logged and
    travels in a header that more people may read than the conversation.
    """

    reason: Reason
    detail: str


class KeyPolicy(StrEnum):
    """What becomes of a record whose key is not its sessionId."""

    WARN = "warn"
    DEAD_LETTER = "dead_letter"
