"""Logs: one line an event, JSON or readable, to standard error."""

from __future__ import annotations

import atexit
import logging
import math
import os
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from consumer.errors import ConsumerError, ExitCode
from consumer.observability.log_writer import STANDARD_ERROR, LogWriter, own_copy
from consumer.observability.redaction import Redactor, describe_failure, known_secrets
from consumer.printable import printable_line
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


REPEAT_INTERVAL = 10.0
"""Seconds in which a library's repeated message is written once: a dead broker makes the
Kafka client log hundreds of errors a minute."""

LIBRARIES = ("aiokafka", "asyncio", "motor", "py.warnings", "pymongo")

_NUMBER = re.compile(r"\d+")


def route_libraries(handler: logging.Handler, level: int) -> None:
    """Take every library's lines, from warnings on; from INFO on when ``level`` is DEBUG.

    Their DEBUG is never let through: pymongo would log whole commands there, that is,
    what people said.
    """
    logging.captureWarnings(capture=True)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO if level <= logging.DEBUG else max(logging.WARNING, level))
    for name in LIBRARIES:
        library = logging.getLogger(name)
        library.handlers.clear()
        library.setLevel(logging.NOTSET)
        library.propagate = True


class LibraryHandler(logging.Handler):
    """Takes the libraries' records, collapses repeats, and renders them like our own."""

    def __init__(
        self,
        steps: Sequence[Processor],
        write: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``steps`` turn an event into a line for ``write``. ``clock`` is monotonic, in seconds."""
        super().__init__()
        self._steps = steps
        self._write = write
        self._clock = clock
        self._repeats: Repeats[tuple[str, int, str], logging.LogRecord] = Repeats(REPEAT_INTERVAL)
        self._guard = threading.Lock()

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record unless its like was written a moment ago."""
        kind = (record.name, record.levelno, _NUMBER.sub("#", str(record.msg)))
        with self._guard:
            held_back = self._repeats.admit(kind, record, self._clock())
        if held_back is not None:
            self._render(record, held_back)

    def flush_repeats(self, now: float | None = None) -> None:
        """Write the counts of what was held back and is not repeated any more."""
        with self._guard:
            due = list(self._repeats.due(self._clock() if now is None else now))
        for record, held_back in due:
            self._render(record, held_back)

    def _render(self, record: logging.LogRecord, held_back: int) -> None:
        event: EventDict = {
            "event": _first_line(record),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        if held_back:
            event["repeated"] = held_back
        if record.exc_info:
            event["exc_info"] = record.exc_info
        line: object = event
        for step in self._steps:
            # Each step answers with the next one's event, and the last one with text.
            line = step(None, "", line)  # type: ignore[arg-type]  # see above
        self._write(str(line))


def _first_line(record: logging.LogRecord) -> str:
    """The message; asyncio's further lines show exceptions, which may quote data."""
    try:
        message = record.getMessage()
    except Exception:  # noqa: BLE001 -- a library's wrong arguments must not cost its message
        message = str(record.msg)
    return message.partition("\n")[0]


K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MOST_KEYS = 1000


class Sums:
    """Adds up counts by name, to be told once an interval."""

    def __init__(self, interval: float) -> None:
        """``interval`` in seconds."""
        self._interval = interval
        self._counts: Counter[str] = Counter()
        self._told_at: float | None = None

    def add(self, counts: Mapping[str, int]) -> None:
        """Take some."""
        self._counts.update(counts)

    def due(self, now: float, *, final: bool = False) -> Mapping[str, int]:
        """Return the sums since the last time; none where that is not ``interval`` ago.

        ``final``: return them in any case.
        """
        waits = self._told_at is not None and now - self._told_at < self._interval
        if not self._counts or (waits and not final):
            return {}
        sums, self._counts, self._told_at = self._counts, Counter(), now
        return dict(sums)


@dataclass(slots=True)
class _Seen(Generic[V]):
    since: float
    held_back: int
    last: V


class Repeats(Generic[K, V]):
    """Lets the first of each key through, then holds back its like for ``interval`` seconds.

    Every one held back is counted: in the next that passes, or in what ``due`` yields
    when none comes any more.
    """

    def __init__(self, interval: float) -> None:
        """``interval`` in seconds; the caller gives the time, from one monotonic clock."""
        self._interval = interval
        self._seen: dict[K, _Seen[V]] = {}

    def admit(self, key: K, value: V, now: float) -> int | None:
        """Return how many were held back since the last that passed; None: hold this back too."""
        seen = self._seen.get(key)
        if seen is not None and now - seen.since < self._interval:
            seen.held_back += 1
            seen.last = value
            return None
        held_back = seen.held_back if seen is not None else 0
        self._seen.pop(key, None)  # so that the oldest key is always the first
        self._seen[key] = _Seen(now, 0, value)
        if len(self._seen) > MOST_KEYS:
            del self._seen[next(iter(self._seen))]
        return held_back

    def due(self, now: float) -> Iterator[tuple[V, int]]:
        """Forget keys whose interval is over; yield the last one held back and their number."""
        over = [key for key, seen in self._seen.items() if now - seen.since >= self._interval]
        for key in over:
            seen = self._seen.pop(key)
            if seen.held_back:
                yield seen.last, seen.held_back
