"""What libraries log, rendered like our own lines, without their repetitions."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Sequence

from structlog.typing import EventDict, Processor

from consumer.observability.repeats import Repeats

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
