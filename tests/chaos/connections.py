"""What a proxy can do to connections, for as long as a context is open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from random import Random

from tests.faults.proxy import Proxy, Way


@asynccontextmanager
async def harmed(
    proxies: Sequence[Proxy], harm: Callable[[Proxy], None], name: str = ""
) -> AsyncIterator[str]:
    """Do it to all of them, and heal them in the end."""
    for proxy in proxies:
        harm(proxy)
    try:
        yield name
    finally:
        for proxy in proxies:
            proxy.heal()


@asynccontextmanager
async def cutting(proxies: Sequence[Proxy], way: Way, random: Random) -> AsyncIterator[str]:
    """Cut one connection after the other, each in the middle of something."""
    task = asyncio.create_task(_keep_cutting(proxies, way, random))
    try:
        yield way.value
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        for proxy in proxies:
            proxy.heal()


async def _keep_cutting(proxies: Sequence[Proxy], way: Way, random: Random) -> None:
    while True:
        random.choice(proxies).cut_after(way, random.randint(0, 4000))
        await asyncio.sleep(random.uniform(0.05, 0.6))


def delayed(seconds: float) -> Callable[[Proxy], None]:
    """Let every piece wait."""

    def delay(proxy: Proxy) -> None:
        proxy.delay = seconds

    return delay


def throttled(rate: float) -> Callable[[Proxy], None]:
    """Let so many bytes a second pass."""

    def throttle(proxy: Proxy) -> None:
        proxy.rate = rate

    return throttle
