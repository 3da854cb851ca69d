"""Signals: the first asks for a drain, the second ends the process at once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import NoReturn

from consumer.errors import ExitCode


def stop_on_signal(stop: asyncio.Event) -> None:
    """Set ``stop`` at the first SIGTERM or SIGINT."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, _first, stop)


def resume_on_signal(resume: Callable[[], None]) -> None:
    """Call ``resume`` at every SIGUSR1."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, resume)


def _first(stop: asyncio.Event) -> None:
    stop.set()
    for number in (signal.SIGTERM, signal.SIGINT):
        # Outside the loop: the second signal must work even where the loop is stuck.
        asyncio.get_running_loop().remove_signal_handler(number)
        signal.signal(number, _second)


def _second(_number: int, _frame: object) -> NoReturn:
    os._exit(ExitCode.SECOND_SIGNAL)
