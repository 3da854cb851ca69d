"""What a check of one precondition found, and what can be made where it is missing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from consumer.errors import PreconditionError


class CheckStatus(StrEnum):
    """``warning``: a run would start, but this wants looking at."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One precondition: what was looked at, what was seen, and what to do where it fails."""

    name: str
    status: CheckStatus
    detail: str
    fix: str = ""

    @classmethod
    def ok(cls, name: str, detail: str) -> CheckResult:
        """Return one that holds."""
        return cls(name, CheckStatus.OK, detail)

    @classmethod
    def warning(cls, name: str, detail: str, fix: str) -> CheckResult:
        """Return one that wants looking at."""
        return cls(name, CheckStatus.WARNING, detail, fix)

    @classmethod
    def failed(cls, name: str, detail: str, fix: str) -> CheckResult:
        """Return one that fails."""
        return cls(name, CheckStatus.FAILED, detail, fix)


def raise_if_failed(results: Iterable[CheckResult]) -> None:
    """Raise ``PreconditionError`` with a line for each result that failed."""
    failed = [result for result in results if result.status is CheckStatus.FAILED]
    if failed:
        raise PreconditionError("\n".join(f"{f.name}: {f.detail}; fix: {f.fix}" for f in failed))


@dataclass(frozen=True, slots=True)
class Provision:
    """A topic, collection, index or shard key that a run needs.

    ``there``: whether it is. ``detail``: what it is like, or what is ``wrong`` with it, so that
    somebody has to change it. ``command``: the shell's command that makes it. ``make`` does the
    same; None where it is not to be made. It raises ``PreconditionError`` where it may or can not.
    """

    name: str
    there: bool
    detail: str = ""
    wrong: bool = False
    command: str = ""
    make: Callable[[], Awaitable[object]] | None = None
