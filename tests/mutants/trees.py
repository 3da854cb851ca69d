"""Copies of the project, in which mistakes are planted and tests are run."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.known_tests import ROOT
from tests.mutants.mutant import Mutant

COPIED = (
    "consumer",
    "producer_tools",
    "tests",
    "docs",
    "pyproject.toml",
    "Dockerfile",
    "README.md",
)

TEST_SECONDS = 30
"""A test that takes longer counts as red: some mistakes let it wait for ever."""

HUNG_SECONDS = 30
"""A process that takes so much longer than its tests may is killed, and they count as red."""

FIRST_RED = "tests.mutants.first_red"

TESTS_FAILED = 1
"""The exit code of pytest when tests ran and some failed."""

NOT_COMPILED = {"PYTHONDONTWRITEBYTECODE": "1"}
"""Leaves no compiled code of what is about to be undone."""

COMPILED = {"PYTHONDONTWRITEBYTECODE": ""}
"""Keeps compiled code, whatever this machine prefers: each mutant starts a process of its own."""

_RED = re.compile(r"^(?:FAILED|ERROR) (\S+::.*)$", re.MULTILINE)


class Ran(NamedTuple):
    """What pytest said: its exit code, the tests that turned red, and its last words."""

    code: int
    red: Sequence[str]
    output: str


@dataclass(frozen=True, slots=True)
class Tree:
    """One copy of the project."""

    root: Path

    def _python(self, *command: str, seconds: float | None, **variables: str) -> tuple[int, str]:
        """Run a module here; return its exit code, negative where it took longer, and its words."""
        own = {name: text for name, text in os.environ.items() if not name.startswith("PYTEST")}
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=self.root,
            env={**own, "PYTHONPATH": str(self.root), **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        with process:
            try:
                output, _ = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # and what it has started
                output, _ = process.communicate()
        return process.returncode, output

    def run(self, tests: Sequence[str], *plugins: str, **variables: str) -> Ran:
        """Run tests here, with these plugins of pytest and variables of the environment."""
        options = ["-q", "--no-header", "--tb=line", "-rfE", "-p", "no:cacheprovider"]
        options += ["--hypothesis-seed=0"]  # no chance decides what is noticed
        limit = ["--timeout", str(TEST_SECONDS)]
        options += [option for plugin in plugins for option in ("-p", plugin)]
        variables = COMPILED | variables | {"TEST_SEED": "1", "TEST_SHUFFLE": ""}
        # pytest's own limit is for a test alone: what hangs after it is taken down hangs for ever.
        seconds = HUNG_SECONDS + TEST_SECONDS * len(tests)
        code, output = self._python(
            "pytest", *options, *limit, *tests, seconds=seconds, **variables
        )
        if code == -signal.SIGKILL:
            return Ran(TESTS_FAILED, tests, f"{output[-3000:]}\nkilled after {seconds} s")
        return Ran(code, _RED.findall(output), output[-3000:])

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

    def unmoved(self, mutant: Mutant) -> tuple[list[str], str]:
        """Plant the mutant; return the named tests that do not turn red, and pytest's last words.

        Raises ``StaleMutantError``.
        """
        with self._planted(mutant):
            ran = self.run(mutant.tests, FIRST_RED, **NOT_COMPILED)
        red = ran.red if ran.code == TESTS_FAILED else ()
        named = mutant.tests
        return [test for test in named if not any(one.startswith(test) for one in red)], ran.output

    def first_schedule(self, mutant: Mutant, seeds: int) -> int | None:
        """Return the seed of the first simulated schedule of ``seeds`` that shows the mutant."""
        with self._planted(mutant):
            command = ("tests.simulation", "--seeds", str(seeds))
            _, output = self._python(*command, seconds=None, **NOT_COMPILED)
        found = re.search(r"^seed (\d+) breaks a rule", output, re.MULTILINE)
        return None if found is None else int(found[1])


def new_tree(root: Path) -> Tree:
    """Copy the project to a folder that is not there yet."""
    root.mkdir()
    for source in (ROOT / name for name in COPIED):
        copy = shutil.copytree if source.is_dir() else shutil.copy2
        copy(source, root / source.name)
    return Tree(root)
