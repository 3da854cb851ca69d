"""From an event to a line: what is left out, what is cut, and in which order it stands."""

from __future__ import annotations

import sys

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from consumer.observability.failures import describe_failure
from consumer.observability.redaction import Redactor
from consumer.printable import printable_line

FIRST = ("timestamp", "level", "event")
FAILURE = "failure"
MESSAGE = "message"
"""Our own words, with a fix at their end: they quote nothing that is long, and are not cut."""


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
        return {name: _redacted(redactor, name, value) for name, value in event.items()}

    return [failure, redact, structlog.processors.TimeStamper(fmt="iso", utc=True), _in_order]


def _redacted(redactor: Redactor, name: str, value: object) -> object:
    if name == FAILURE:  # it is clean already
        return value
    if name == MESSAGE and isinstance(value, str):
        return redactor.text(value)
    return redactor.value(value, name)


def renderer(*, readable: bool, colors: bool) -> Processor:
    """Return the last step: a line for people's eyes, or one of JSON."""
    if not readable:
        # ASCII only: a lone surrogate in an id could not be written otherwise.
        return structlog.processors.JSONRenderer(ensure_ascii=True)
    console = structlog.dev.ConsoleRenderer(colors=colors)

    def render(logger: WrappedLogger, method: str, event: EventDict) -> str:
        failure = event.pop(FAILURE, None)
        escaped = {
            name: printable_line(value) if isinstance(value, str) else value
            for name, value in event.items()
        }
        line = console(logger, method, escaped)
        if failure is None:
            return line
        return "\n".join([line, *map(printable_line, failure.split("\n"))])

    return render


def _in_order(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {name: event[name] for name in FIRST if name in event} | dict(event)
