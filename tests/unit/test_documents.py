"""The tables in the documents are what the code says, and every module says what is in it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_tables_in_the_documents_are_in_step_with_the_code() -> None:
    check = subprocess.run(
        [sys.executable, "scripts/tables.py", "--check"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (check.returncode, check.stdout) == (0, "")
