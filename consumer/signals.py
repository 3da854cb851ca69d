"""Signals: the first asks for a drain, the second ends the process at once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import NoReturn

from consumer.errors import ExitCode


def stop_on_signal(
    stop: asyncio.Event, announce: Callable[[signal.Signals], None] | None = None
) -> None:
    """Set ``stop`` at the first SIGTERM or SIGINT, and ``announce`` it; the second ends it all."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, _first, number, stop, announce)


def resume_on_signal(resume: Callable[[], None]) -> None:
    """Call ``resume`` in the running loop at every SIGUSR1; ignore the signal once that has ended.

    A handler of the loop's own would end with the loop, and what is left then is the signal's
    default: it would kill a process that has just been asked to stop.
    """
    loop = asyncio.get_running_loop()

    def received(_number: int, _frame: object) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(resume)

    signal.signal(signal.SIGUSR1, received)


def _first(
    number: signal.Signals,
    stop: asyncio.Event,
    announce: Callable[[signal.Signals], None] | None,
) -> None:
    stop.set()
    for other in (signal.SIGTERM, signal.SIGINT):
        # Outside the loop: the second signal must work even where the loop is stuck.
        asyncio.get_running_loop().remove_signal_handler(other)
        signal.signal(other, _second)
    if announce is not None:
        announce(number)


def _second(_number: int, _frame: object) -> NoReturn:
    os._exit(ExitCode.SECOND_SIGNAL)
