"""One exchange with the brokers, bounded in time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from consumer.errors import TransientError

T = TypeVar("T")


async def answered(request: Awaitable[T], action: str, timeout: float) -> T:
    """Await the answer to a request, at most ``timeout`` seconds.

    The request itself is not cancelled: the client would count it as in flight for ever.
    Left without an answer it goes on, and nobody minds how it ends.
    Raises ``TransientError`` when the time is over, or when the request was given up.
    """
    task = asyncio.ensure_future(request)
    task.add_done_callback(ignore_result)
    await asyncio.wait([task], timeout=timeout)
    if not task.done():
        raise TransientError("timeout", f"{action} had no answer")
    if task.cancelled():
        raise TransientError("outdated", f"{action} was given up with its assignment")
    return task.result()


def ignore_result(task: asyncio.Future[Any]) -> None:
    """Take a late exception, so that it is not reported as never retrieved."""
    if not task.cancelled():
        task.exception()
