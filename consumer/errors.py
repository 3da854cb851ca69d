"""What can go wrong, each with its policy.

ConsumerError
├── TransientError       retried for ever with backoff: nothing counts as done
│   ├── TimedOutError    ... and commands are halved, and grow again slowly
│   └── UndecodableError ... one batch of a partition; a reader of ranges goes on behind it
├── SettingsError        exit 2: a wrong setting, one line says what to change
├── PreconditionError    exit 3: servers, topics, indexes or grants are not as needed
├── IncidentError        exit 4: an incident that the settings say to stop for
└── TaskDiedError        exit 6: a defect: what should have run as long as the process has ended
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """How the process ends. Documented in docs/operations.md; scripts rely on it."""

    DONE = 0
    FOUND = 1
    USAGE = 2
    PRECONDITION = 3
    INCIDENT = 4
    DEADLINE = 5
    TASK_DIED = 6
    SECOND_SIGNAL = 130


class ConsumerError(Exception):
    """The root. Every class carries whether a retry can help."""

    retriable: ClassVar[bool] = False
    exit_code: ClassVar[ExitCode] = ExitCode.TASK_DIED


class TransientError(ConsumerError):
    """Trouble that passes: the same work is done again, however long it takes.

    ``cause`` is a short stable word for logs and metrics (a driver's class
    name, a server's code name); it never holds payload or credentials.
    ``index`` is the place of the record in the batch, where one record alone is meant.
    """

    retriable = True

    def __init__(self, cause: str, detail: str = "", *, index: int | None = None) -> None:
        """Name the trouble."""
        super().__init__(f"{cause}: {detail}" if detail else cause)
        self.cause = cause
        self.detail = detail
        self.index = index


class TimedOutError(TransientError):
    """A command did not fit its deadline; it may or may not have been carried out."""


class UndecodableError(TransientError):
    """A batch of a partition cannot be decoded: not now, and hardly ever.

    It has the offsets ``first`` to ``end`` (exclusive); None where its end cannot be told.
    """

    def __init__(self, cause: str, first: int, end: int | None) -> None:
        """Name what is wrong, by the decoder's error, and where."""
        where = f"offset {first} and on" if end is None else f"offsets {first} to {end - 1}"
        super().__init__(cause, f"{where} cannot be read")
        self.first = first
        self.end = end


class SettingsError(ConsumerError):
    """A setting is wrong: one line with its name, value (not for secrets), what is allowed."""

    exit_code = ExitCode.USAGE


class PreconditionError(ConsumerError):
    """What the service needs is not there; the message names the fix."""

    exit_code = ExitCode.PRECONDITION


class IncidentError(ConsumerError):
    """Something happened that the settings say to stop for."""

    exit_code = ExitCode.INCIDENT


class TaskDiedError(ConsumerError):
    """A background task ended that should have run as long as the process."""

    exit_code = ExitCode.TASK_DIED
