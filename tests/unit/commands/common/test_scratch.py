"""What is kept on the disk for a while is gone with the process, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

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
