"""What has become of a dead letter, and how the state topic says so. Pure.

The key of an entry is the failure: topic, partition and offset of the failed record, its
timestamp, how often it has failed, and a digest of its content. Copies of one letter have the
same key and so one fate. A record that was redriven and fails again has a fate of its own; so
has a record of a topic that was deleted and made anew, also where it has no timestamp.

The value says what was done, when, and where the record went. Entries are never deleted; the
topic is compacted, so that it holds one for each letter dealt with. An entry that this version
cannot read was written by someone who dealt with the letter: it does not wait any more.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from consumer.contract.record import Headers, Position
from consumer.contract.times import format_time

STATE_TOPIC_SUFFIX: Final = ".redriven"


class DeadLetterStatus(StrEnum):
    """What was done with a letter. One without a fate waits."""

    REDRIVEN = "redriven"
    PARKED = "parked"
    DISCARDED = "discarded"
    UNKNOWN = "unknown"
    """Something that only a later version, or someone else, knows."""


@dataclass(frozen=True, slots=True)
class StatusRecord:
    """One entry of the state topic, as it is written. ``destination``: where the record went."""

    key: bytes
    fate: DeadLetterStatus
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


def origin_key(origin: Position, timestamp_ms: int, attempt: int, digest: str) -> bytes:
    """Return the key of a failed record, the same for every copy of its letter."""
    return _json([*origin, timestamp_ms, attempt, digest])


def letter_key(letter: Position, timestamp_ms: int, digest: str) -> bytes:
    """Return the key of a letter that does not say where it comes from.

    ``timestamp_ms`` and ``digest`` are the letter's own: its place alone would be that of
    another one once the dead-letter topic has been made anew.
    """
    return _json(["letter", *letter, timestamp_ms, digest])


def digest_of(key: bytes | None, value: bytes | None, headers: Headers) -> str:
    """Return a digest of a record's content: 32 hexadecimal digits."""
    hashed = hashlib.blake2b(digest_size=16)
    for name, content in (("", key), ("", value), *headers):
        for part in (name.encode(errors="surrogatepass"), content):
            # With lengths in front, no two contents are the same run of bytes.
            hashed.update(b"-" if part is None else b"%d:" % len(part))
            hashed.update(part or b"")
    return hashed.hexdigest()


def parse_status(value: bytes) -> DeadLetterStatus:
    """Read an entry's value; ``UNKNOWN`` where it is not one that this version writes."""
    try:
        content = json.loads(value)
        return (
            DeadLetterStatus(content["state"])
            if isinstance(content, Mapping)
            else DeadLetterStatus.UNKNOWN
        )
    except (ValueError, KeyError, RecursionError):
        return DeadLetterStatus.UNKNOWN


def _json(content: object) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(
        errors="surrogatepass"
    )
