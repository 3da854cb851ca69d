"""Logs: one line an event, JSON or readable, to standard error; the libraries' lines among them."""

from __future__ import annotations

import atexit
import logging
import math
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from consumer.errors import ConsumerError, ExitCode
from consumer.observability.incidents import RecentIncidents
from consumer.observability.log_writer import STANDARD_ERROR, LogWriter, duplicate_descriptor
from consumer.observability.redaction import Redactor, describe_failure, known_secrets
from consumer.printable import printable_line
from consumer.settings.model import LogSettings, Settings
from consumer.settings.sources import colors_allowed, log_format
from consumer.settings.values import LogFormat

_RICH_IS_UNUSED = "rich" not in sys.modules
if _RICH_IS_UNUSED:
    # structlog would load it for tracebacks, which nothing here prints: a tenth of a start.
    sys.modules["rich"] = None  # type: ignore[assignment]  # so that it seems not to be installed
import structlog  # noqa: E402 -- see above
from structlog.typing import EventDict, Processor, WrappedLogger  # noqa: E402 -- see above

if _RICH_IS_UNUSED:
    del sys.modules["rich"]

FLUSH_DEADLINE = 2.0
"""Seconds that the end of the process waits for a reader of the log."""

REPEAT_INTERVAL = 10.0
"""Seconds in which a library's repeated message is written once: a dead broker makes the
Kafka client log hundreds of errors a minute."""

MOST_KEYS = 1000

NO_INCIDENTS = frozenset({"Heartbeat failed for group %s because it is rebalancing"})
"""What libraries warn of though it is how things go: our own lines tell of each rebalance."""

FIRST = ("timestamp", "level", "event")
FAILURE = "failure"
MESSAGE = "message"
"""Our own words, with a fix at their end: they quote nothing that is long, and are not cut."""

_NUMBER = re.compile(r"\d+")

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


def configure_logging(
    settings: Settings,
    *,
    descriptor: int = STANDARD_ERROR,
    incidents: RecentIncidents | None = None,
    on_dropped: Callable[[], None] = lambda: None,
) -> LogWriter:
    """Send our own lines and the libraries' to ``descriptor``, and tell ``incidents`` of them.

    Called once, by the command. Returns the writer, which is flushed when the process ends;
    ``on_dropped`` is told of each line that could not be written, on any thread.
    """
    own = duplicate_descriptor(descriptor)
    writer = LogWriter(own, on_dropped)
    terminal = os.isatty(own)
    level = logging.getLevelNamesMapping()[settings.log.level]
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            *_processors(Redactor(known_secrets(settings)), incidents or RecentIncidents()),
            _renderer(
                readable=_readable(settings.log, terminal=terminal),
                colors=terminal and colors_allowed(),
            ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _LineLogger(writer),
        cache_logger_on_first_use=False,
    )
    handler = LibraryHandler()
    writer.on_tick = handler.flush_repeats
    _route_libraries(handler, level)

    def finish() -> None:
        handler.flush_repeats(math.inf)
        writer.close(FLUSH_DEADLINE)

    atexit.register(finish)
    return writer


def get_logger() -> structlog.typing.FilteringBoundLogger:
    """Return a logger of our own lines: an event's name, then its facts as keywords."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return logger


def log_exit(error: ConsumerError, settings: LogSettings) -> ExitCode:
    """Log why the process ends, and return the exit code, where the log is for machines.

    Raises ``error`` again where people read it: the command line prints it in plain words.
    """
    if _readable(settings, terminal=sys.stderr is not None and sys.stderr.isatty()):
        raise error
    log_ended("critical", end="error", exit_code=int(error.exit_code), message=str(error))
    return error.exit_code


def log_ended(level: str, **facts: object) -> None:
    """Log that the process ends, as the last of its lines: what is held back goes before."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LibraryHandler):
            handler.flush_repeats(math.inf)
    getattr(get_logger(), level)("ended", **facts)


def log_refused_start(error: ConsumerError, assignments: Iterable[str]) -> ExitCode:
    """As ``log_exit``, where the settings are so wrong that there is no log yet.

    ``assignments``: what the command line sets, each NAME=VALUE.
    """
    given = (assignment.partition("=") for assignment in assignments)
    settings = Settings(
        log=LogSettings(format=log_format({name.strip(): value for name, _, value in given}))
    )
    configure_logging(settings)
    return log_exit(error, settings.log)


def _readable(settings: LogSettings, *, terminal: bool) -> bool:
    return terminal if settings.format is LogFormat.AUTO else settings.format is LogFormat.CONSOLE


class _LineLogger:
    """What structlog writes its finished lines to."""

    def __init__(self, writer: LogWriter) -> None:
        self.msg = writer.write
        self.debug = self.info = self.warning = self.error = self.critical = self.msg


# --- from an event to a line ---------------------------------------------------------


def _processors(redactor: Redactor, incidents: RecentIncidents) -> list[Processor]:
    """Return the steps that every event goes through before it is rendered."""

    def failure(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """Replace ``exc_info`` by a description that quotes no data."""
        info = event.pop("exc_info", None)
        error = sys.exc_info()[1] if info is True else info[1] if isinstance(info, tuple) else info
        if isinstance(error, BaseException):
            event[FAILURE] = redactor.text(describe_failure(error))
        return event

    def redacted(name: str, value: object) -> object:
        if name == FAILURE:  # it is clean already
            return value
        if name == MESSAGE and isinstance(value, str):
            return redactor.text(value)
        return redactor.value(value, name)

    def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {name: redacted(name, value) for name, value in event.items()}

    def remember(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        incidents.add(event)
        return event

    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    return [failure, redact, stamp, remember, _in_order]


def _in_order(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {name: event[name] for name in FIRST if name in event} | dict(event)


def _renderer(*, readable: bool, colors: bool) -> Processor:
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


# --- what libraries log --------------------------------------------------------------


def _route_libraries(handler: logging.Handler, level: int) -> None:
    """Take every library's lines, from warnings on; from INFO on when ``level`` is DEBUG.

    Their DEBUG is never let through: pymongo would log whole commands there, that is,
    what people said.
    """
    logging.captureWarnings(capture=True)
    least = logging.INFO if level <= logging.DEBUG else max(logging.WARNING, level)
    handler.setLevel(least)  # whatever level somebody gives to a library's own logger
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(least)


class LibraryHandler(logging.Handler):
    """Takes the libraries' records, collapses repeats, and logs them like our own events."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` is monotonic, in seconds."""
        super().__init__()
        self._clock = clock
        self._repeats: Repeats[tuple[str, int, str], logging.LogRecord] = Repeats(REPEAT_INTERVAL)
        self._guard = threading.Lock()

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record, unless the same message was logged within the interval."""
        if record.msg in NO_INCIDENTS:
            return
        kind = (record.name, record.levelno, _NUMBER.sub("#", str(record.msg)))
        with self._guard:
            held_back = self._repeats.admit(kind, record, self._clock())
        if held_back is not None:
            _log_record(record, held_back)

    def flush_repeats(self, now: float | None = None) -> None:
        """Log the counts of what was held back and is not repeated any more."""
        with self._guard:
            due = list(self._repeats.due(self._clock() if now is None else now))
        for record, held_back in due:
            _log_record(record, held_back)


def _log_record(record: logging.LogRecord, held_back: int) -> None:
    try:
        message = record.getMessage()
    except Exception:  # noqa: BLE001 -- a library's wrong arguments must not cost its message
        message = str(record.msg)
    facts: EventDict = {"logger": record.name}
    if held_back:
        facts["repeated"] = held_back
    if record.exc_info:
        facts["exc_info"] = record.exc_info
    # A library may have levels of its own between Python's.
    level = min(record.levelno // 10 * 10, logging.CRITICAL)
    # The first line only: asyncio's further ones show exceptions, which may quote data.
    get_logger().log(level, message.partition("\n")[0], **facts)


# --- collapsing what repeats: pure but for its own memory ----------------------------


@dataclass(slots=True)
class _Seen(Generic[V]):
    since: float
    held_back: int
    last: V


class Repeats(Generic[K, V]):
    """Lets the first of each key through, then holds back the same key for ``interval`` seconds.

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
