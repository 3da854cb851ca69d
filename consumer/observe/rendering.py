"""From an event to a line: what is left out, what is cut, and in which order it stands."""

from __future__ import annotations

import re
import sys

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from consumer.observe.failures import describe_failure
from consumer.observe.redaction import Redactor

FIRST = ("timestamp", "level", "event")
FAILURE = "failure"

# What moves a terminal's cursor, ends a line, turns text around or cannot be written at all.
_UNPRINTABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def processors(redactor: Redactor) -> list[Processor]:
    """Return the steps that every event goes through before it is rendered."""

    def failure(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """Replace ``exc_info`` by a description that quotes no data."""
        info = event.pop("exc_info", None)
        error = sys.exc_info()[1] if info is True else info[1] if isinstance(info, tuple) else info
        if isinstance(error, BaseException):
            event[FAILURE] = redactor.text(describe_failure(error))
        return event

    def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {
            name: value if name == FAILURE else redactor.value(value, name)
            for name, value in event.items()
        }

    return [failure, redact, structlog.processors.TimeStamper(fmt="iso", utc=True), _in_order]


def renderer(*, readable: bool, colors: bool) -> Processor:
    """Return the last step: a line for people's eyes, or one of JSON."""
    if not readable:
        # ASCII only: a lone surrogate in an id could not be written otherwise.
        return structlog.processors.JSONRenderer(ensure_ascii=True)
    console = structlog.dev.ConsoleRenderer(colors=colors)

    def render(logger: WrappedLogger, method: str, event: EventDict) -> str:
        failure = event.pop(FAILURE, None)
        printable = {
            name: _printable(value) if isinstance(value, str) else value
            for name, value in event.items()
        }
        line = console(logger, method, printable)
        return line if failure is None else f"{line}\n{failure}"

    return render


def _in_order(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {name: event[name] for name in FIRST if name in event} | dict(event)


def _printable(text: str) -> str:
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
