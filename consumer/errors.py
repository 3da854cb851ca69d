"""Every error of the product, and the exit code of a process that ends by it.

ConsumerError                     6  what has no code of its own is a defect
├── TransientError                -  passes: retried for ever with backoff, nothing counts as done
│   ├── TimedOutError             -  ... and commands are halved, and grow again slowly
│   ├── UndecodableError          -  one batch of a partition; readers of ranges go on behind it
│   ├── RefusedError              -  a command, for one of its documents; it is taken apart
│   ├── ConnectionLostError       -  a command's answer was cut off: another server may be well
│   ├── GoneError                 -  a commit of partitions whose log is no more
│   ├── PartitionsError           -  some partitions cannot be read, and which ones is known
│   ├── MembershipError           -  the group refuses or fails this member
│   └── ClientLostError           -  the client is closed, and another one opened
├── SettingsError                 2  a wrong setting or option: one line says what to change
├── PreconditionError             3  servers, topics, indexes or grants are not as needed
│   ├── BrokersError              3  the brokers do not answer a command, or refuse it
│   ├── OutputError               3  standard output cannot be written
│   ├── DataSetMissingError       3  the conversations to load are not installed
│   ├── EmbeddedServerError       3  a server of the demo is not installed, or does not start
│   └── ConsumerEndedError        3  a consumer of the demo ended by itself
├── IncidentError                 4  an incident that the settings say to stop for
├── FencedError                   7  another process has this one's kafka.group_instance_id
├── TaskDiedError                 6  what should have run as long as the process has ended
└── OutputClosedError             0  whoever read standard output has seen enough

No error belongs to the other codes: 1 where a command found what it looks for, 5 where the deadline
of a drain passed with work undone, 130 at the second signal.

Raised and caught within one room, so that no process ends by them: NotAnObjectError,
TooManyPartsError, DecompressionLimitError, MalformedSnappyError, UnreadableBatchError,
TransformError, _RefusedError, NoFieldsError, CredentialsError, TokenRefusedError.
LedgerError is a failed assertion: a defect.
InvalidMessageError is for the programs that publish with ``producer_tools``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import ClassVar, Final


class ExitCode(IntEnum):
    """How the process ends. Documented in docs/process.md; scripts rely on it."""

    DONE = 0
    FOUND = 1
    USAGE = 2
    PRECONDITION = 3
    INCIDENT = 4
    DEADLINE = 5
    TASK_DIED = 6
    FENCED = 7
    SECOND_SIGNAL = 130


class ConsumerError(Exception):
    """The root. Every class carries the exit code of a process that ends by it."""

    exit_code: ClassVar[ExitCode] = ExitCode.TASK_DIED


class TransientError(ConsumerError):
    """An error that passes: the same work is done again, however long it takes.

    ``cause`` is a short stable word for logs and metrics (a driver's class
    name, a server's code name); it never holds payload or credentials.
    ``index`` is the place of the record in the batch, where one record alone is meant.
    """

    def __init__(self, cause: str, detail: str = "", *, index: int | None = None) -> None:
        """Name the cause."""
        super().__init__(f"{cause}: {detail}" if detail else cause)
        self.cause = cause
        self.detail = detail
        self.index = index


class TimedOutError(TransientError):
    """A command did not fit its deadline; it may or may not have been carried out."""


class UndecodableError(TransientError):
    """A batch of a partition cannot be decoded: not now, and hardly ever.

    It has the offsets ``first`` to ``end`` (exclusive); None where its end is not known.
    """

    def __init__(self, cause: str, first: int, end: int | None) -> None:
        """Name what is wrong, by the decoder's error, and where."""
        where = f"offset {first} and on" if end is None else f"offsets {first} to {end - 1}"
        super().__init__(cause, f"{where} cannot be read")
        self.first = first
        self.end = end


USER_CODE_ERRORS: Final = (Exception, SystemExit)
"""What to catch around code of the user's: own kinds, upcasters, transforms, token functions.

A ``sys.exit()`` there would end the process as if it had done its work.
"""


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


@contextmanager
def must_answer(server: str) -> Iterator[None]:
    """Raise ``PreconditionError`` where it does not: for what is not tried again."""
    try:
        yield
    except TransientError as error:
        raise PreconditionError(f"{server} does not answer ({error})") from error


def drop_tracebacks(error: BaseException) -> None:
    """Let go of a client's calls: they hold what was sent, and in a circle the error itself.

    Nothing would free it before the collector of garbage, which counts objects and not bytes.
    """
    found: dict[int, BaseException] = {}
    links: list[BaseException | None] = [error]
    while links:
        link = links.pop()
        if link is not None and id(link) not in found:
            found[id(link)] = link.with_traceback(None)
            links += [link.__cause__, link.__context__]
