"""Scratch tables on the disk: what a replay must remember grows with the range, memory must not."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CACHE_KIB = 64 * 1024
"""How much of a table SQLite may hold in memory."""


@contextmanager
def scratch_database() -> Iterator[sqlite3.Connection]:
    """Open an empty database in the directory for temporary files; it is gone at the end.

    Used from one thread at a time, but not always from the same one.
    """
    with tempfile.TemporaryDirectory(prefix="consumer-replay-") as directory:
        database = sqlite3.connect(
            Path(directory) / "scratch.sqlite", check_same_thread=False, isolation_level=None
        )
        try:
            # Nothing in it is worth anything after a crash.
            database.execute("PRAGMA journal_mode = OFF")
            database.execute("PRAGMA synchronous = OFF")
            database.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            yield database
        finally:
            database.close()
