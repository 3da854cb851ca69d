"""What is kept on the disk for a while is gone with the process, however it ends."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from consumer.commands.common.scratch import scratch_database
from consumer.errors import PreconditionError

KILLED_WITH_CONTENT = """
import os, signal
from consumer.commands.common import scratch
scratch.CACHE_KIB = 64
with scratch.scratch_database() as database:
    database.execute("CREATE TABLE t (content BLOB)")
    database.executemany("INSERT INTO t VALUES (?)", [(b"said" * 10_000,)] * 100)
    written = [os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd") if
               os.path.exists(f"/proc/self/fd/{n}") or os.path.islink(f"/proc/self/fd/{n}")]
    print(any("(deleted)" in name for name in written), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.reliability("F88")
def test_a_process_that_is_killed_leaves_nothing_of_what_people_said(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", KILLED_WITH_CONTENT],
        env=os.environ | {"TMPDIR": str(tmp_path), "SQLITE_TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=30,
    )
    assert ended.returncode == -signal.SIGKILL
    assert ended.stdout == "True\n", "it was on the disk"
    assert list(tmp_path.iterdir()) == []


@contextmanager
def filled(pages: int) -> Iterator[sqlite3.Connection]:
    """Give a scratch database that has no more room than so many pages."""
    with scratch_database() as database:
        database.execute("CREATE TABLE kept (bytes BLOB)")
        database.execute(f"PRAGMA max_page_count = {pages}")
        yield database


def test_a_disk_that_is_full_is_no_defect() -> None:
    full = pytest.raises(PreconditionError, match=r"database or disk is full.*TMPDIR")
    with full, filled(pages=2) as database:
        database.execute("INSERT INTO kept VALUES (zeroblob(100000))")


def test_a_statement_that_is_wrong_is_one() -> None:
    with pytest.raises(sqlite3.OperationalError), scratch_database() as database:
        database.execute("INSERT INTO nothing VALUES (1)")
