"""Writing log lines so that no reader of the log can stop the consumer."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections import deque
from collections.abc import Callable

MOST_WAITING = 10_000
"""Lines kept for a reader that does not read; more are dropped and counted."""

TICK = 1.0
"""Seconds between two looks at what is due while nothing is written."""


STANDARD_ERROR = 2


def own_copy(descriptor: int) -> int:
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
    closed, or a disk that is full, loses lines, which are counted in ``dropped``.
    """

    def __init__(self, descriptor: int) -> None:
        """Start the thread. It owns ``descriptor``, and calls ``on_tick`` about every second."""
        self._descriptor = descriptor
        self.on_tick: Callable[[], None] | None = None
        self._lines: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._writing = False
        self._closed = False
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """Take one line, without its line break. Never blocks, never raises."""
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        with self._changed:
            if self._closed or len(self._lines) >= MOST_WAITING:
                self.dropped += 1
                return
            self._lines.append(data)
            self._changed.notify_all()

    def flush(self, timeout: float) -> bool:
        """Wait until every line taken so far is written; False when ``timeout`` seconds pass."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._lines and not self._writing, timeout)

    def close(self, timeout: float) -> None:
        """Flush for at most ``timeout`` seconds and end the thread; a second call does nothing."""
        if self._closed:
            return
        flushed = self.flush(timeout)
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout if flushed else 0)
        if not self._thread.is_alive():  # else it still waits for a reader, on this descriptor
            os.close(self._descriptor)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines or self._closed, TICK)
                if self._closed:
                    return
                lines = b"".join(self._lines)
                taken = len(self._lines)
                self._lines.clear()
                self._writing = bool(lines)
            lost = bool(lines) and not self._write_out(lines)
            with self._changed:
                self.dropped += taken if lost else 0
                self._writing = False
                self._changed.notify_all()
            if self.on_tick is not None:
                self.on_tick()

    def _write_out(self, data: bytes) -> bool:
        """Write all of ``data``; False when the descriptor does not take it."""
        with contextlib.suppress(OSError):
            while data:
                try:
                    data = data[os.write(self._descriptor, data) :]
                except BlockingIOError:
                    # Whoever shares the descriptor made it non-blocking. Try again soon.
                    if self._pause():
                        return False
            return True
        return False

    def _pause(self) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._closed, 0.05)
