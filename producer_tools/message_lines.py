"""Newline-delimited messages, read in chunks: as fast from a file as from a pipe that trickles.

Each line is read as the consumer will read the record, before it is sent.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from consumer.errors import SettingsError
from consumer.terminal import Advance, print_error
from producer_tools.outgoing_message import InvalidMessageError, Outgoing, Stream, check_line

LONGEST_LINE: Final = 64 * 1024 * 1024
"""In bytes. No message is larger, and input without newlines must not fill the memory."""

_CHUNK_BYTES: Final = 256 * 1024


class Line(NamedTuple):
    """One line without its newline; ``text`` is None where the line was too long to keep."""

    number: int
    text: bytes | None


class LineSplitter:
    """Cuts chunks into numbered lines. Blank lines are counted and left out."""

    def __init__(self, longest: int = LONGEST_LINE) -> None:
        """Drop the text of lines of more than ``longest`` bytes."""
        self._longest = longest
        self._number = 0
        self._rest = bytearray()
        self._too_long = False

    def feed(self, chunk: bytes) -> list[Line]:
        """Return the lines that ``chunk`` completes."""
        *ended, rest = chunk.split(b"\n")
        lines = []
        for part in ended:
            self._keep(part)
            lines.append(self._line())
        self._keep(rest)
        return [line for line in lines if line.text is None or line.text]

    def finish(self) -> list[Line]:
        """Return the last line, where no newline ends it."""
        line = self._line()
        return [] if line.text == b"" else [line]

    def _keep(self, part: bytes) -> None:
        if len(self._rest) + len(part) > self._longest:
            self._too_long = True
            self._rest.clear()
        if not self._too_long:
            self._rest += part

    def _line(self) -> Line:
        self._number += 1
        text = None if self._too_long else bytes(self._rest).strip(b" \t\r")
        self._rest.clear()
        self._too_long = False
        return Line(self._number, text)


async def read_chunks(descriptor: int) -> AsyncIterator[bytes]:
    """Yield what can be read from a file, pipe or terminal until it ends."""
    while chunk := await _in_daemon_thread(descriptor):
        yield chunk


async def read_lines(name: str, descriptor: int, advance: Advance) -> AsyncIterator[Line]:
    """Yield the lines of a file or pipe that is called ``name``; ``advance`` as ``messages``.

    Raises ``SettingsError`` where it cannot be read.
    """
    splitter = LineSplitter()
    try:
        async for chunk in read_chunks(descriptor):
            for line in splitter.feed(chunk):
                yield line
            advance(len(chunk))
    except OSError as error:
        raise SettingsError(f"{name} cannot be read ({error.strerror})") from error
    for line in splitter.finish():
        yield line


async def _in_daemon_thread(descriptor: int) -> bytes:
    """Read once without holding up the event loop.

    Not in the loop's own executor, whose threads are waited for at exit: a read from a
    silent pipe would keep an interrupted program alive. And not through a buffered
    reader, whose lock such a thread would still hold.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[bytes] = loop.create_future()

    def read() -> None:
        try:
            settle = partial(future.set_result, os.read(descriptor, _CHUNK_BYTES))
        except OSError as error:
            settle = partial(future.set_exception, error)
        if not loop.is_closed():
            loop.call_soon_threadsafe(lambda: None if future.done() else settle())

    threading.Thread(target=read, name="reading input", daemon=True).start()
    return await future


@contextmanager
def open_input(file: Path) -> Iterator[tuple[str, int]]:
    """Open a file, or standard input for ``-``; return what it is called and its descriptor.

    Raises ``SettingsError`` where there is no standard input.
    """
    if str(file) != "-":
        with file.open("rb", buffering=0) as opened:
            yield str(file), opened.fileno()
    elif sys.stdin is None:
        raise SettingsError("standard input is closed; give a file, or something to read")
    else:
        yield "<stdin>", 0


@dataclass(slots=True)
class MessageLines:
    """The lines of a file or pipe, as messages. The counts are those of the last reading."""

    name: str
    """What the input is called."""
    descriptor: int
    limit: Callable[[Stream], int]
    """The bytes of the largest message."""
    read: int = 0
    rejected: int = 0

    async def messages(self, advance: Advance) -> AsyncIterator[tuple[int, Outgoing | None]]:
        """Yield each line's number and message, None where it is wrong, which is said.

        ``advance`` is told how many more bytes have been read. Raises ``SettingsError``.
        """
        self.read = self.rejected = 0
        async for line in read_lines(self.name, self.descriptor, advance):
            self.read += 1
            message: Outgoing | None = None
            try:
                message = self._check(line)
            except InvalidMessageError as error:
                self.rejected += 1
                print_error(f"{self.name}:{line.number}: {error}")
            yield line.number, message

    def _check(self, line: Line) -> Outgoing:
        if line.text is None:
            detail = f"a line of more than {LONGEST_LINE:,} bytes"
            raise InvalidMessageError("too_large", detail)
        return check_line(line.text, self.limit)
