"""An archive of the source holds the whole project, so that it can be tested from there."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
OF_THE_BUILD = {"LICENSE", "pyproject.toml", "consumer", "producer_tools"}
"""What setuptools puts in by itself."""


def kept() -> set[str]:
    """Return what stands in the project's directory; in an archive there is no repository."""
    if not (ROOT / ".git").exists():
        return {path.name for path in ROOT.iterdir()} & (named() | OF_THE_BUILD)
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return {path.partition("/")[0] for path in listed.stdout.split("\0") if path}


def named() -> set[str]:
    """Return what MANIFEST.in takes of the project's directory."""
    found: set[str] = {"MANIFEST.in"}
    for line in (ROOT / "MANIFEST.in").read_text("utf-8").splitlines():
        match line.split():
            case ["graft", folder]:
                found.add(folder)
            case ["include", *patterns]:
                found |= {path.name for one in patterns for path in ROOT.glob(one)}
    return found


def test_it_holds_everything_that_is_kept_and_names_nothing_else() -> None:
    assert named() | OF_THE_BUILD == kept()
