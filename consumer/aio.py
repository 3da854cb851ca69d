"""What asyncio leaves to each program: bounded waits, background tasks, pauses, rates."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from consumer.errors import ConsumerError, TaskDiedError, TransientError

T = TypeVar("T")

ASKING_SECONDS: Final = 2.0
"""How long a port may take to say what it speaks."""

ATTEMPTS: Final = 20
PAUSE: Final = 0.5
"""Seconds between attempts: the first group of a fresh cluster waits for its offsets topic."""

SHORTEST_DELAY: Final = 0.005
"""Seconds. A shorter sleep costs more than it paces."""

CATCH_UP: Final = 0.1
"""Seconds. What was missed within them is made up for: sleeping and sending are not exact.

After a stall there is no more to make up for, or all of it would come in a rush.
"""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with full jitter, without an end: an outage is waited out.

    ``initial`` and ``maximum`` in seconds. Full jitter spreads the instances of
    a group, which all meet the same outage at the same moment.
    """

    initial: float
    maximum: float

    def ceiling(self, attempt: int) -> float:
        """The longest wait after the ``attempt``-th failure (counted from 1), in seconds."""
        return min(self.maximum, self.initial * 2.0 ** min(attempt - 1, 63))

    def delay(self, attempt: int, jitter: float) -> float:
        """The wait in seconds; ``jitter`` is uniform in [0, 1). A tenth of the ceiling at least.

        The floor keeps an unlucky row of small numbers from turning into a hot loop.
        """
        ceiling = self.ceiling(attempt)
        return ceiling * (0.1 + 0.9 * jitter)


class RateLimiter:
    """Lets so many records a second through, on average; without a rate, all of them.

    Before records go, wait for ``delay``; then ``take`` as many as go. It waits for nobody
    itself, and the time is handed in.
    """

    def __init__(self, rate: float | None = None) -> None:
        """``rate`` in records a second, above 0."""
        self._rate = rate
        self._free_at: float | None = None

    def batch_size(self, most: int) -> int:
        """Return how many records to let go at once: about a second's worth, one at least."""
        return most if self._rate is None else max(1, min(most, int(self._rate)))

    def delay(self, now: float) -> float:
        """Return how many seconds the next records have to wait; 0 where they need not."""
        ahead = 0.0 if self._free_at is None else self._free_at - now
        return ahead if ahead > SHORTEST_DELAY else 0.0

    def take(self, records: int, now: float) -> None:
        """Note that so many records go now."""
        if self._rate is not None:
            free_at = now if self._free_at is None else max(self._free_at, now - CATCH_UP)
            self._free_at = free_at + records / self._rate


def ignore_result(future: asyncio.Future[Any]) -> None:
    """Take the exception of work that nobody waits for, or asyncio would report it as lost."""
    if not future.cancelled():
        future.exception()


async def with_timeout(request: Awaitable[T], action: str, timeout: float) -> T:
    """Await the answer to a request, at most ``timeout`` seconds.

    The request itself is not cancelled, since Kafka's client would count it as in flight for
    ever: it goes on, and its result is ignored.
    Raises ``TransientError`` when the time is over, or when the request was cancelled.
    """
    task = asyncio.ensure_future(request)
    task.add_done_callback(ignore_result)
    await asyncio.wait([task], timeout=timeout)
    if not task.done():
        raise TransientError("timeout", f"{action} had no answer")
    if task.cancelled():
        raise TransientError("outdated", f"{action} was given up with its assignment")
    return task.result()


async def stop_quietly(stopping: Awaitable[Any], timeout: float) -> None:
    """Give something ``timeout`` seconds to close. How that ends, and whether, is ignored."""
    with suppress(Exception):
        await with_timeout(stopping, "stop", timeout)


async def wait_at_most(seconds: float, waiting: Awaitable[Any]) -> None:
    """Return when what is awaited has come, or when ``seconds`` have passed."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await waiting


async def retry_a_while(ask: Callable[[], Awaitable[T]], *passing: type[Exception]) -> T:
    """Ask until it does not raise what is ``passing``; the last of ``ATTEMPTS`` raises it."""
    for _ in range(ATTEMPTS - 1):
        with suppress(*passing):
            return await ask()
        await asyncio.sleep(PAUSE)
    return await ask()


async def cancel_and_wait(*tasks: asyncio.Future[Any]) -> None:
    """Cancel the tasks and return when all of them have ended. Their results are ignored."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def run_unless_stopped(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """Await ``work``, or cancel it and return None when ``stop`` is set first."""
    working = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        await cancel_and_wait(working, stopping)


async def supervise(main: Awaitable[T], background: Mapping[str, Awaitable[None]]) -> T:
    """Await ``main`` with the background tasks beside it, and end them with it.

    Raises what ``main`` raises, or the ``ConsumerError`` of a background task;
    ``TaskDiedError`` naming one that ended in any other way.
    """
    leading = asyncio.ensure_future(main)
    tasks = {asyncio.ensure_future(work): name for name, work in background.items()}
    try:
        await asyncio.wait([leading, *tasks], return_when=asyncio.FIRST_COMPLETED)
        if leading.done():
            return leading.result()
        task = next(task for task in tasks if task.done())
        error = None if task.cancelled() else task.exception()
        if isinstance(error, ConsumerError):
            # It says itself what it is, and which exit code that has.
            raise error
        # Its class only: an error's text may quote data.
        how = "by itself" if error is None else f"with {type(error).__name__}"
        raise TaskDiedError(f"the task {tasks[task]} ended {how}") from error
    finally:
        await cancel_and_wait(leading, *tasks)


async def first_bytes(
    host: str, port: int, question: bytes, count: int, *, tls: bool
) -> bytes | None:
    """Return with how many bytes a port answers a question first; None where it does not.

    ``tls``: over TLS, whoever is there: no certificate is looked at, so ask nothing secret.
    """
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(ASKING_SECONDS):
            connected = asyncio.open_connection(host, port, ssl=context if tls else None)
            reader, writer = await connected
            try:
                writer.write(question)
                return await reader.readexactly(count)
            finally:
                writer.transport.abort()
    except (OSError, EOFError, TimeoutError):
        return None
