"""The walls of the house: who may import what, and who may look at the world outside."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path.relative_to(ROOT)
    for package in ("consumer", "producer_tools")
    for path in (ROOT / package).rglob("*.py")
)
ENVIRONMENT_READER = Path("consumer/settings/sources.py")
PURE = (
    "consumer/contract/",
    "consumer/state/",
    "consumer/engine/ledger.py",
    "consumer/engine/breaker.py",
)

ENVIRONMENT = {"environ", "environb", "getenv", "getenvb", "putenv"}
WORLD = {"open", "print", "input", "now", "utcnow", "today"}


def names(path: Path) -> Iterator[tuple[int, str]]:
    """Every name, attribute and imported name that a file mentions, with its line."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name):
                yield node.lineno, name
            case ast.ImportFrom(names=aliases):
                yield from ((node.lineno, alias.name) for alias in aliases)


def calls(path: Path) -> Iterator[tuple[int, str]]:
    """Every function or method that a file calls, with its line."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        match node:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
                yield node.lineno, name


def test_every_import_goes_through_a_door() -> None:
    linted = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"],
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert linted.returncode == 0, linted.stdout + linted.stderr


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_the_environment_is_read_in_the_settings_only(path: Path) -> None:
    found = [(line, name) for line, name in names(path) if name in ENVIRONMENT]
    assert bool(found) == (path == ENVIRONMENT_READER), found


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if path.as_posix().startswith(PURE)], ids=str
)
def test_a_pure_room_neither_asks_the_clock_nor_reads_or_writes_anything(path: Path) -> None:
    assert [(line, name) for line, name in calls(path) if name in WORLD] == []
