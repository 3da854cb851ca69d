"""Publishes lines of JSON, each checked by the consumer's own decoder before it is sent."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from consumer.errors import SettingsError
from consumer.kafka.producer import Warn
from consumer.terminal import Advance
from producer_tools.checking import Problem, check
from producer_tools.lines import LONGEST_LINE, Line, LineSplitter, read_chunks
from producer_tools.outgoing import Outgoing
from producer_tools.sender import Sender, open_sender
from producer_tools.target import Target

Report = Callable[[Line, Problem], None]


@dataclass(slots=True)
class Counts:
    """What became of the lines."""

    checked: int = 0
    rejected: int = 0
    acknowledged: int = 0
    """By the brokers."""
    unanswered: int = 0
    """Sent, and not acknowledged: they may be there."""
    stopped_at: int | None = None
    """The number of the bad line behind which nothing was sent any more."""


@dataclass(frozen=True, slots=True)
class Publication:
    """What to publish, where to, and what to do about a line that is wrong."""

    name: str
    """What the input is called."""
    descriptor: int
    target: Target
    skip_invalid: bool
    report: Report
    """Told about every bad line."""
    warn: Warn
    counts: Counts = field(default_factory=Counts)


def rereadable(descriptor: int) -> bool:
    """Whether the input is a file, which can be checked as a whole before any of it is sent."""
    return stat.S_ISREG(os.fstat(descriptor).st_mode)


async def check_all(publication: Publication, advance: Advance) -> bool:
    """Check the whole file, report every bad line, and return whether there was none.

    ``advance`` is told how many more bytes have been read. Raises ``SettingsError``.
    """
    counts = publication.counts
    async for line in _lines(publication, advance):
        counts.checked += 1
        if isinstance(checked := _checked(line, publication), Problem):
            counts.rejected += 1
            publication.report(line, checked)
    return counts.rejected == 0


async def publish(publication: Publication, advance: Advance) -> None:
    """Send every good line, and return when the brokers have acknowledged them.

    Goes on behind a bad line with ``skip_invalid``, stops at it otherwise; what came before
    it has been sent then. Whatever is raised, the counts are those of what was sent until then.
    Raises ``BrokersError`` and ``SettingsError``.
    """
    counts = publication.counts
    counts.checked = counts.rejected = 0
    sender: Sender | None = None
    try:
        async with open_sender(publication.target, publication.warn) as sender:
            await _send_lines(sender, publication, advance)
            await sender.drain()
    finally:
        # Only now, when the sender is closed, has everything been answered that will be.
        if sender is not None:
            counts.acknowledged, counts.unanswered = sender.acknowledged, sender.unanswered


async def _send_lines(sender: Sender, publication: Publication, advance: Advance) -> None:
    counts = publication.counts
    async for line in _lines(publication, advance):
        counts.checked += 1
        checked = _checked(line, publication)
        if isinstance(checked, Outgoing):
            await sender.send(checked)
            continue
        counts.rejected += 1
        publication.report(line, checked)
        if not publication.skip_invalid:
            counts.stopped_at = line.number
            return


def _checked(line: Line, publication: Publication) -> Outgoing | Problem:
    if line.text is None:
        return Problem("too_large", f"a line of more than {LONGEST_LINE:,} bytes")
    return check(line.text, publication.target.max_message_bytes)


async def _lines(publication: Publication, advance: Advance) -> AsyncIterator[Line]:
    splitter = LineSplitter()
    try:
        async for chunk in read_chunks(publication.descriptor):
            for line in splitter.feed(chunk):
                yield line
            advance(len(chunk))
    except OSError as error:
        raise SettingsError(f"{publication.name} cannot be read ({error.strerror})") from error
    for line in splitter.finish():
        yield line
