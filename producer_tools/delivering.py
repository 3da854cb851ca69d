"""Messages handed over one after another, to brokers or as lines, at a rate."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import BinaryIO, Final

from consumer.aio import RateLimiter
from consumer.terminal import Advance
from producer_tools.outgoing_message import Outgoing

_PROGRESS_EVERY: Final = 500


class LineWriter:
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


async def deliver(
    messages: Iterable[Outgoing],
    send: Callable[[Outgoing], Awaitable[None]],
    *,
    rate: float | None = None,
    advance: Advance = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Send everything, at most ``rate`` messages a second.

    ``advance`` is told every now and then how many more have been handed over. ``clock`` tells
    seconds, and ``sleep`` waits so many.
    """
    untold, limiter = 0, RateLimiter(rate)
    for outgoing in messages:
        delay = limiter.delay(clock())
        if delay > 0 or untold >= _PROGRESS_EVERY:
            advance(untold)
            untold = 0
        if delay > 0:
            await sleep(delay)
        limiter.take(1, clock())
        await send(outgoing)
        untold += 1
    advance(untold)
