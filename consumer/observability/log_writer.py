"""Writing log lines so that no reader of the log can stop the consumer.

The standard QueueHandler and QueueListener do not do: where nobody reads, a traceback is printed
for each lost line by the thread that logs, to the same pipe, and their end waits for ever.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from queue import Empty, Full, Queue

MOST_WAITING = 10_000
"""Lines kept for a reader that does not read; more are dropped and counted."""

TICK = 1.0
"""Seconds between two looks at what is due."""

STANDARD_ERROR = 2


def duplicate_descriptor(descriptor: int) -> int:
    """Copy the descriptor, so that no later socket can get its number when others close it.

    One that was closed before we started may be a socket already: nothing is written then.
    """
    if descriptor != STANDARD_ERROR or sys.stderr is not None:
        with contextlib.suppress(OSError):
            return os.dup(descriptor)
    return os.open(os.devnull, os.O_WRONLY)


class LogWriter:
    """Hands lines to a thread of its own, which writes them to a file descriptor.

    A pipe that is full blocks that thread and nothing else; a descriptor that is
    closed, or a disk that is full, loses lines: ``on_dropped`` is told of each, on either thread.
    """

    def __init__(self, descriptor: int, on_dropped: Callable[[], None] = lambda: None) -> None:
        """Start the thread. It owns ``descriptor``, and calls ``on_tick`` about every second."""
        self._descriptor = descriptor
        self.on_tick: Callable[[], None] | None = None
        self._lines: Queue[bytes] = Queue(MOST_WAITING)
        self._closed = threading.Event()
        self._on_dropped = on_dropped
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """Take one line, without its line break. Never blocks, never raises."""
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        with contextlib.suppress(Full):
            if not self._closed.is_set():
                self._lines.put_nowait(data)
                return
        self._on_dropped()

    def flush(self, timeout: float) -> bool:
        """Wait until every line taken so far is written; False when ``timeout`` seconds pass."""
        with self._lines.all_tasks_done:
            return self._lines.all_tasks_done.wait_for(
                lambda: not self._lines.unfinished_tasks, timeout
            )

    def close(self, timeout: float) -> None:
        """Flush for at most ``timeout`` seconds and end the thread; a second call does nothing."""
        if self._closed.is_set():
            return
        flushed = self.flush(timeout)
        self._closed.set()
        with contextlib.suppress(Full):
            self._lines.put_nowait(b"")  # so that the thread sees it now
        self._thread.join(timeout if flushed else 0)
        if not self._thread.is_alive():  # else it still waits for a reader, on this descriptor
            os.close(self._descriptor)

    def _run(self) -> None:
        ticked = time.monotonic()
        while not self._closed.is_set():
            with contextlib.suppress(Empty):
                if not self._write_out(self._lines.get(timeout=TICK)):
                    self._on_dropped()
                self._lines.task_done()
            if self.on_tick is not None and time.monotonic() - ticked >= TICK:
                ticked = time.monotonic()
                self.on_tick()

    def _write_out(self, data: bytes) -> bool:
        """Write all of ``data``; False when the descriptor does not take it."""
        with contextlib.suppress(OSError):
            while data:
                try:
                    data = data[os.write(self._descriptor, data) :]
                except BlockingIOError:
                    # Whoever shares the descriptor made it non-blocking. Try again soon.
                    if self._closed.wait(0.05):
                        return False
            return True
        return False
