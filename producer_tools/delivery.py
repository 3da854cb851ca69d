"""Hands made-up or recorded messages to where they go, at a given rate."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import BinaryIO, Final, Protocol

from consumer.kafka.rate_limit import RateLimiter
from producer_tools.outgoing import Outgoing

Advance = Callable[[int], None]

_PROGRESS_EVERY: Final = 500


class Sink(Protocol):
    """Takes messages one by one, in order."""

    async def send(self, outgoing: Outgoing) -> None:
        """Take one message, waiting while there is no room for it."""
        ...


class LineSink:
    """Writes one value a line."""

    def __init__(self, stream: BinaryIO, *, flush_each: bool) -> None:
        """``flush_each``: whoever reads the stream sees each line at once."""
        self._stream = stream
        self._flush_each = flush_each
        self.written = 0

    async def send(self, outgoing: Outgoing) -> None:
        """Write the line. Raises ``BrokenPipeError`` when nobody reads any more."""
        self._stream.write(outgoing.value + b"\n")
        self.written += 1
        if self._flush_each:
            self._stream.flush()


def _untold(_: int) -> None:
    return None


async def deliver(
    messages: Iterable[Outgoing],
    sink: Sink,
    *,
    rate: float | None = None,
    advance: Advance = _untold,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> int:
    """Send everything, at most ``rate`` messages a second; return how many that were.

    ``advance`` is told every now and then how many more have been handed over. ``clock`` tells
    seconds, and ``sleep`` waits so many.
    """
    sent, told, limiter = 0, 0, RateLimiter(rate)
    for outgoing in messages:
        if (delay := limiter.delay(clock())) > 0:
            advance(sent - told)
            told = sent
            await sleep(delay)
        limiter.take(1, clock())
        await sink.send(outgoing)
        sent += 1
        if sent - told >= _PROGRESS_EVERY:
            advance(sent - told)
            told = sent
    advance(sent - told)
    return sent
