"""Keeping the tasks of the process honest: one that dies takes the process down, by name."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import TypeVar

from consumer.errors import ConsumerError

T = TypeVar("T")


class TaskDiedError(ConsumerError):
    """A background task ended that should have run as long as the process."""


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
        for other in (leading, *tasks):
            other.cancel()
        await asyncio.gather(leading, *tasks, return_exceptions=True)
