"""What can be done to servers, and to connections by a proxy, while a context is open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from random import Random

from tests.faults.proxy import Proxy, Way
from tests.servers.control import Control


@asynccontextmanager
async def harmed_server(
    control: Control, number: int, harm: str, cure: str, name: str = ""
) -> AsyncIterator[str]:
    """Do to a server what its control calls ``harm``, and in the end ``cure``."""
    await asyncio.to_thread(getattr(control, harm), number)
    try:
        yield name
    finally:
        await asyncio.to_thread(getattr(control, cure), number)


@asynccontextmanager
async def harmed(
    proxies: Sequence[Proxy],
    name: str = "",
    *,
    harm: Callable[[Proxy], None] | None = None,
    **values: float,
) -> AsyncIterator[str]:
    """Do it to all of them, or give their fields these values, and heal them in the end."""
    for proxy in proxies:
        if harm is not None:
            harm(proxy)
        for field, value in values.items():
            setattr(proxy, field, value)
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
