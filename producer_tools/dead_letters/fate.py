"""What has become of a dead letter, and how the state topic says so. Pure.

The key of an entry is the failure's origin: topic, partition and offset of the failed record,
and its timestamp. Copies of one letter have the same key and so one fate. A record that was
redriven and fails again has a new offset, hence a new key and a fate of its own; so has a
record of a topic that was deleted and made anew, by its timestamp.

The value says what was done, when, and where the record went. Entries are never deleted; the
topic is compacted, so that it holds one for each letter dealt with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from consumer.contract.record import Position
from consumer.contract.rfc3339 import format_time

STATE_TOPIC_SUFFIX: Final = ".redriven"


class Fate(StrEnum):
    """What was done with a letter. One without a fate waits."""

    REDRIVEN = "redriven"
    PARKED = "parked"
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True)
class FateEntry:
    """One entry of the state topic, as it is written. ``destination``: where the record went."""

    key: bytes
    fate: Fate
    letter: Position
    at: datetime
    destination: Position | None = None
    because: str | None = None

    @property
    def value(self) -> bytes:
        """The entry's value: one JSON object."""
        content: dict[str, object] = {
            "state": self.fate,
            "at": format_time(self.at),
            "letter": self.letter,
        }
        if self.destination is not None:
            content["to"] = self.destination
        if self.because is not None:
            content["because"] = self.because
        return _json(content)


def state_topic(letters_topic: str) -> str:
    """Return the topic that remembers what became of the letters of ``letters_topic``."""
    return letters_topic + STATE_TOPIC_SUFFIX


def origin_key(origin: Position, timestamp_ms: int) -> bytes:
    """Return the key of a failed record, the same for every copy of its letter."""
    return _json([*origin, timestamp_ms])


def letter_key(letter: Position) -> bytes:
    """Return the key of a letter that does not say where it comes from."""
    return _json(["letter", *letter])


def fate_of(value: bytes) -> Fate | None:
    """Read an entry's value; None where it is not one of ours."""
    try:
        content = json.loads(value)
        return Fate(content["state"]) if isinstance(content, Mapping) else None
    except (ValueError, KeyError, RecursionError):
        return None


def _json(content: object) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(
        errors="surrogatepass"
    )
