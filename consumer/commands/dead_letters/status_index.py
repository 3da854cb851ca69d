"""The fates of letters, indexed on disk: a billion of them need no more memory than a thousand."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from consumer.commands.dead_letters.dead_letter_status import DeadLetterStatus

CACHE_KIBIBYTES: Final = 16 * 1024
"""What the index keeps in memory; beyond it pages go to a file that vanishes with the process."""


class StatusIndex:
    """What became of letters in earlier runs, and which of them this run has met."""

    def __init__(self, database: sqlite3.Connection) -> None:
        """Use an empty database; see ``open_status_index``."""
        self._database = database
        for statement in (
            f"PRAGMA cache_size = -{CACHE_KIBIBYTES}",
            # Nothing in it outlives the process, so there is nothing to recover.
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            "CREATE TABLE fates (key BLOB PRIMARY KEY, fate TEXT NOT NULL) WITHOUT ROWID",
            "CREATE TABLE met (key BLOB PRIMARY KEY) WITHOUT ROWID",
            # One transaction that is never committed spares each statement its own.
            "BEGIN",
        ):
            database.execute(statement)

    def remember(self, fates: Iterable[tuple[bytes, DeadLetterStatus | None]]) -> None:
        """Note fates; of one key the last counts. None: it has no fate any more."""
        for key, fate in fates:
            if fate is None:
                self._database.execute("DELETE FROM fates WHERE key = ?", (key,))
            else:
                self._database.execute("REPLACE INTO fates VALUES (?, ?)", (key, fate.value))

    def fate(self, key: bytes) -> DeadLetterStatus | None:
        """Return what became of a letter, None where it waits."""
        row = self._database.execute("SELECT fate FROM fates WHERE key = ?", (key,)).fetchone()
        return None if row is None else DeadLetterStatus(row[0])

    def first_seen(self, key: bytes) -> bool:
        """Note that this run has met the key; return whether it is the first time."""
        cursor = self._database.execute("INSERT OR IGNORE INTO met VALUES (?)", (key,))
        return cursor.rowcount == 1


@contextmanager
def open_status_index() -> Iterator[StatusIndex]:
    """Open an empty index in a temporary file of SQLite's own, deleted at the end."""
    # The empty name means a temporary database on disk, which is removed even after a crash.
    database = sqlite3.connect("", isolation_level=None)
    try:
        yield StatusIndex(database)
    finally:
        database.close()
