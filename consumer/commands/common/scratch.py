"""Scratch tables on the disk: what a command remembers grows with the log, memory must not."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from consumer.errors import PreconditionError

CACHE_KIB = 64 * 1024
"""How much of a table SQLite may hold in memory."""

_OF_THE_DISK = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_READONLY")


@contextmanager
def scratch_database() -> Iterator[sqlite3.Connection]:
    """Open an empty database in a temporary file that no other process sees.

    It is in a transaction that is never committed, so that no statement pays for one of its own:
    ``BEGIN`` and ``COMMIT`` nothing. Used from one thread at a time, but not always the same one.
    Raises ``PreconditionError`` where the body needs more of the disk than there is.
    """
    # The empty name means a file that has no name from the moment it is there: it holds what
    # people said, and must not outlive a process that is killed.
    database = sqlite3.connect("", check_same_thread=False, isolation_level=None)
    try:
        # Nothing in it is worth anything after a crash.
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("PRAGMA synchronous = OFF")
        database.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        database.execute("BEGIN")
        yield database
    except sqlite3.OperationalError as error:
        if not error.sqlite_errorname.startswith(_OF_THE_DISK):
            raise
        raise PreconditionError(
            f"a temporary file cannot be written ({error}); make room, or let TMPDIR name a "
            "directory that has some"
        ) from error
    finally:
        database.close()
