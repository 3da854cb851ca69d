"""What has become of dead letters: the records of the status topic, and an index of them on disk.

The key of a status record is the failure: topic, partition and offset of the failed record, its
timestamp, how often it has failed, and a digest of its content. Copies of one dead letter have
the same key and so one status. A record that was redriven and fails again has a status of its own.

The value says what was done, when, and where the record went. Status records are never deleted;
the topic is compacted, so that it holds one for each failure dealt with. One that this version
cannot read was written by someone who dealt with the dead letter: it does not wait any more.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final

from consumer.commands.dead_letters.dead_letter_record import json_bytes
from consumer.contract.record import Position
from consumer.contract.times import format_time


class DeadLetterStatus(StrEnum):
    """What was done with a dead letter. One without a status waits."""

    REDRIVEN = "redriven"
    PARKED = "parked"
    DISCARDED = "discarded"
    UNKNOWN = "unknown"
    """Something that only a later version, or someone else, knows."""


Statuses = frozenset[DeadLetterStatus]

NO_STATUSES: Final[Statuses] = frozenset()
SENT: Final[Statuses] = frozenset({DeadLetterStatus.REDRIVEN, DeadLetterStatus.PARKED})
ALL_STATUSES: Final[Statuses] = frozenset(DeadLetterStatus)


def status_value(
    status: DeadLetterStatus,
    dead_letter: Position,
    at: datetime,
    destination: Position | None = None,
    reason: str | None = None,
) -> bytes:
    """Return the value of a status record: one JSON object.

    ``destination``: where the record went; ``reason``: why the dead letter was discarded.
    """
    content = {"state": status, "at": format_time(at), "letter": dead_letter}
    optional = {"to": destination, "because": reason}
    given = {name: value for name, value in optional.items() if value is not None}
    return json_bytes(content | given)


def parse_status(value: bytes) -> DeadLetterStatus:
    """Read a value; ``UNKNOWN`` where it is not one that this version writes."""
    try:
        content = json.loads(value)
        if isinstance(content, Mapping):
            return DeadLetterStatus(content["state"])
    except (ValueError, KeyError, RecursionError):
        pass
    return DeadLetterStatus.UNKNOWN


class StatusIndex:
    """What became of dead letters in earlier runs, and which of them this run has seen.

    A billion of them need no more memory than a thousand.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        """Use an empty database, of ``scratch_database``."""
        self._database = database
        database.execute("CREATE TABLE statuses (key BLOB PRIMARY KEY, status TEXT) WITHOUT ROWID")
        database.execute("CREATE TABLE seen (key BLOB PRIMARY KEY) WITHOUT ROWID")

    def add(self, statuses: Iterable[tuple[bytes, DeadLetterStatus | None]]) -> None:
        """Add statuses; of one key the last counts. None: it has no status any more."""
        for key, status in statuses:
            if status is None:
                self._database.execute("DELETE FROM statuses WHERE key = ?", (key,))
            else:
                self._database.execute("REPLACE INTO statuses VALUES (?, ?)", (key, status.value))

    def status(self, key: bytes) -> DeadLetterStatus | None:
        """Return what became of a dead letter, None where it waits."""
        rows = self._database.execute("SELECT status FROM statuses WHERE key = ?", (key,))
        row = rows.fetchone()
        return None if row is None else DeadLetterStatus(row[0])

    def first_seen(self, key: bytes) -> bool:
        """Note that this run has seen the key; return whether it is the first time."""
        return self._database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (key,)).rowcount == 1
