"""Keeping to a rate."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

SHORTEST_PAUSE: Final = 0.005
"""Seconds. A shorter sleep costs more than it paces."""

MADE_UP_FOR: Final = 0.1
"""Seconds. What was missed within them is made up for: sleeping and sending are not exact.

After a stall there is no more to make up for, or all of it would come in a rush.
"""


class Pacer:
    """Gives turns, at most ``rate`` a second; None: at once."""

    def __init__(
        self,
        rate: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """``clock`` tells seconds and ``sleep`` waits so many."""
        self._interval = None if rate is None else 1 / rate
        self._clock = clock
        self._sleep = sleep
        self._next = clock()

    def pause(self) -> float:
        """Return for how many seconds the next turn would have to wait; 0 where it need not."""
        if self._interval is None:
            return 0.0
        ahead = self._next - self._clock()
        return ahead if ahead > SHORTEST_PAUSE else 0.0

    async def turn(self) -> None:
        """Return when it is time for the next one."""
        if self._interval is None:
            return
        if (seconds := self.pause()) > 0:
            await self._sleep(seconds)
        self._next = max(self._next, self._clock() - MADE_UP_FOR) + self._interval
