"""Copies of the project, in which mistakes are planted and tests are run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.known_tests import ROOT
from tests.mutants.mutant import Mutant

COPIED = ("consumer", "producer_tools", "tests", "pyproject.toml", "Dockerfile", "README.md")

TEST_SECONDS = 30
"""A test that takes longer counts as red: some mistakes let it wait for ever."""

TESTS_FAILED = 1
"""The exit code of pytest when tests ran and some failed."""

_RED = re.compile(r"^(?:FAILED|ERROR) (\S+::.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Ran:
    """What pytest said: its exit code, the tests that turned red, and its last words."""

    code: int
    red: tuple[str, ...]
    output: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one mutant. ``unmoved``: the named tests that did not turn red."""

    mutant: Mutant
    unmoved: tuple[str, ...]
    seconds: float
    output: str


@dataclass(frozen=True, slots=True)
class Tree:
    """One copy of the project."""

    root: Path

    def run(self, tests: Sequence[str], *, changed: bool) -> Ran:
        """Run tests here. ``changed``: leave no compiled code of what is about to be undone."""
        environment = {
            name: text for name, text in os.environ.items() if not name.startswith("PYTEST")
        } | {"PYTHONPATH": str(self.root), "TEST_SEED": "1", "TEST_SHUFFLE": ""}
        if changed:
            environment["PYTHONDONTWRITEBYTECODE"] = "1"
        command = [sys.executable, "-m", "pytest", "-q", "--no-header", "--tb=line", "-rfE"]
        options = ["-p", "no:cacheprovider", "--timeout", str(TEST_SECONDS)]
        done = subprocess.run(
            [*command, *options, *tests],
            cwd=self.root,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        red = tuple(_RED.findall(done.stdout))
        return Ran(done.returncode, red, (done.stdout + done.stderr)[-3000:])

    @contextmanager
    def _planted(self, mutant: Mutant) -> Iterator[None]:
        """Plant the mutant, and undo it in the end. Raises ``StaleMutantError``."""
        file, text = mutant.changed()
        path = self.root / file
        stat, before = path.stat(), path.read_text(encoding="utf-8")
        path.write_text(text, encoding="utf-8")
        try:
            # What is compiled already is known by its time: this one must differ.
            os.utime(path, (0, 0))
            yield
        finally:
            path.write_text(before, encoding="utf-8")
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    def judge(self, mutant: Mutant) -> Verdict:
        """Plant the mutant and run its tests. Raises ``StaleMutantError``."""
        begun = time.monotonic()
        with self._planted(mutant):
            ran = self.run(mutant.tests, changed=True)
        unmoved = mutant.tests
        if ran.code == TESTS_FAILED:
            unmoved = tuple(
                test for test in mutant.tests if not any(red.startswith(test) for red in ran.red)
            )
        return Verdict(mutant, unmoved, time.monotonic() - begun, ran.output)

    def first_schedule(self, mutant: Mutant, seeds: int) -> int | None:
        """Return the seed of the first simulated schedule of ``seeds`` that shows the mutant."""
        with self._planted(mutant):
            done = subprocess.run(
                [sys.executable, "-m", "tests.simulation", "--seeds", str(seeds)],
                cwd=self.root,
                env={**os.environ, "PYTHONPATH": str(self.root), "PYTHONDONTWRITEBYTECODE": "1"},
                capture_output=True,
                text=True,
                check=False,
            )
        found = re.search(r"^seed (\d+) breaks a rule", done.stdout, re.MULTILINE)
        return None if found is None else int(found[1])


@contextmanager
def trees(directory: Path, count: int) -> Iterator[list[Tree]]:
    """Give so many copies below ``directory``."""
    made: list[Tree] = []
    for number in range(count):
        root = directory / str(number)
        root.mkdir()
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, root / name)
            else:
                shutil.copy2(source, root / name)
        made.append(Tree(root))
    yield made
