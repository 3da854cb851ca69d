"""Logs: one line an event, JSON or readable, to standard error."""

from __future__ import annotations

import atexit
import logging
import math
import os
import sys

import structlog

from consumer.errors import ConsumerError, ExitCode
from consumer.observability.libraries import LibraryHandler, route_libraries
from consumer.observability.redaction import Redactor, known_secrets
from consumer.observability.rendering import processors, renderer
from consumer.observability.writer import STANDARD_ERROR, LogWriter, own_copy
from consumer.settings import LogFormat, LogLevel, LogSettings, Settings

FLUSH_DEADLINE = 2.0
"""Seconds that the end of the process waits for a reader of the log."""


def configure_logging(settings: Settings, *, descriptor: int = STANDARD_ERROR) -> LogWriter:
    """Send our own lines and the libraries' to ``descriptor``.

    Called once, by the command. Returns the writer, which counts the lines that could
    not be written; it is flushed when the process ends.
    """
    own = own_copy(descriptor)
    writer = LogWriter(own)
    terminal = os.isatty(own)
    steps = [
        *processors(Redactor(known_secrets(settings))),
        renderer(readable=_readable(settings.log, terminal=terminal), colors=terminal),
    ]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            *steps,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_number(settings.log.level)),
        logger_factory=lambda *_: _LineLogger(writer),
        cache_logger_on_first_use=False,
    )
    handler = LibraryHandler(steps, writer.write)
    writer.on_tick = handler.flush_repeats
    route_libraries(handler, _number(settings.log.level))
    atexit.register(_finish, handler, writer)
    return writer


def get_logger() -> structlog.typing.FilteringBoundLogger:
    """Return a logger of our own lines: an event's name, then its facts as keywords."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return logger


def tell_end(error: ConsumerError, settings: LogSettings) -> ExitCode:
    """Log why the process ends, and return the exit code, where the log is for machines.

    Raises ``error`` again where people read it: the command line tells it in plain words.
    """
    if _readable(settings, terminal=sys.stderr is not None and sys.stderr.isatty()):
        raise error
    get_logger().critical("ended", end="error", exit_code=int(error.exit_code), message=str(error))
    return error.exit_code


def _readable(settings: LogSettings, *, terminal: bool) -> bool:
    match settings.format:
        case LogFormat.AUTO:
            return terminal
        case LogFormat.CONSOLE:
            return True
        case LogFormat.JSON:
            return False


def _number(level: LogLevel) -> int:
    return logging.getLevelNamesMapping()[level]


def _finish(handler: LibraryHandler, writer: LogWriter) -> None:
    handler.flush_repeats(math.inf)
    writer.close(FLUSH_DEADLINE)


class _LineLogger:
    """What structlog writes its finished lines to."""

    def __init__(self, writer: LogWriter) -> None:
        self._writer = writer

    def msg(self, line: str) -> None:
        self._writer.write(line)

    debug = info = warning = error = critical = exception = msg
