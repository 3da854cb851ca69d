"""The list of problems that an audit emits, as ``consumer replay --file`` takes it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from consumer.commands.audit.problems import AuditProblem
from consumer.errors import SettingsError


class EmittedList:
    """A file that can be written, as far as that is known before anything is written."""

    def __init__(self, name: str, file: TextIO) -> None:
        """Take the open file; what is in it stays until there is a list."""
        self._name = name
        self._file = file

    def write(self, problems: Iterable[AuditProblem]) -> None:
        """Put the problems in place of what the file held. Raises ``SettingsError``."""
        try:
            if Path(self._name).is_file():
                self._file.truncate(0)
            for problem in problems:
                self._file.write(_line(problem))
            self._file.flush()
        except OSError as error:
            raise _refusal(self._name, error) from error


@contextmanager
def open_list(name: str) -> Iterator[EmittedList]:
    """Open the file for a list. Raises ``SettingsError`` where it cannot be written."""
    try:
        file = Path(name).open("a", encoding="ascii")  # noqa: SIM115 -- closing it may fail
    except OSError as error:
        raise _refusal(name, error) from error
    try:
        yield EmittedList(name, file)
    finally:
        # What a failed write has left over fails once more.
        with suppress(OSError):
            file.close()


def _line(problem: AuditProblem) -> str:
    return json.dumps(problem.facts()) + "\n"


def _refusal(name: str, error: OSError) -> SettingsError:
    return SettingsError(f"--emit {name} cannot be written ({error.strerror})")
