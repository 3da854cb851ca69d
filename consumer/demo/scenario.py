"""Two consumers of one group, of which one is killed while both are at work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from consumer.demo.consumers import ConsumerProcess, run_consumer
from consumer.demo.dataset import Dataset, StoredDocuments
from consumer.demo.screen import Screen
from producer_tools.outgoing_message import Outgoing, PublishTarget
from producer_tools.publisher import Publisher

_KILLED_AT: Final = 0.6
"""The share of the events that is stored then."""

_LOOK_EVERY: Final = 0.3
_JOIN_SECONDS: Final = 40.0
_STALLED_SECONDS: Final = 150.0
_STOP_SECONDS: Final = 25.0
_SHOW_EVERY: Final = 500


class CrashScenario:
    """Publishes everything, and kills one of the two consumers in the middle of it."""

    def __init__(
        self, screen: Screen, target: PublishTarget, stored: StoredDocuments, dataset: Dataset
    ) -> None:
        """Show on ``screen`` what is done, and look into ``stored`` for what came of it."""
        self._screen = screen
        self._target = target
        self._stored = stored
        self._dataset = dataset
        self._consumers: list[ConsumerProcess] = []

    async def run(self, settings: Mapping[str, object], directory: Path) -> tuple[str, int]:
        """Go through all steps; return the surviving consumer's name and exit code.

        ``settings`` are the consumers'; ``directory`` gets their logs.
        Raises ``ConsumerEndedError``.
        """
        async with AsyncExitStack() as stack:
            self._screen.begin("start two consumers of one group")
            for name in ("consumer-1", "consumer-2"):
                consumer = run_consumer(name, settings, directory)
                self._consumers.append(await stack.enter_async_context(consumer))
            self._screen.done()
            victim, survivor = self._consumers
            async with Publisher(self._target, _ignore) as publisher:
                await self._publish_all(publisher)
            await self._kill(victim)
            await self._finish(survivor)
            return survivor.name, await survivor.stop(_STOP_SECONDS)

    async def _publish_all(self, publisher: Publisher) -> None:
        messages, screen = self._dataset.messages, self._screen
        half = len(messages) // 2
        screen.begin("publish the first half")
        await self._publish(publisher, messages[:half])
        screen.done()
        screen.begin("wait until both are consuming")
        joined = await self._until(
            lambda: all(consumer.partitions for consumer in self._consumers), _JOIN_SECONDS
        )
        screen.done("both" if joined else "only one has partitions yet")
        screen.begin("publish the rest")
        await self._publish(publisher, messages[half:])
        screen.done()

    async def _publish(self, publisher: Publisher, messages: Iterable[Outgoing]) -> None:
        for message in messages:
            await publisher.send(message)
            self._screen.published += 1
            if self._screen.published % _SHOW_EVERY == 0:
                self._screen.changed()
                # The client waits only when it is full; here others get a turn.
                await asyncio.sleep(0)
        await publisher.drain()

    async def _kill(self, victim: ConsumerProcess) -> None:
        screen = self._screen
        screen.begin("kill one of them while it is at work")
        await self._until(lambda: screen.stored >= screen.events * _KILLED_AT, _STALLED_SECONDS)
        self._consumers.remove(victim)
        await victim.kill()
        screen.done(
            f"{victim.name}, with {screen.stored:,} of {screen.events:,} events stored "
            f"and {victim.lag:,} messages still to read"
        )

    async def _finish(self, survivor: ConsumerProcess) -> None:
        self._screen.begin("let the other one finish")
        done = await self._until(lambda: self._complete(survivor), _STALLED_SECONDS)
        again = survivor.outcomes["redelivered"]
        self._screen.done(
            f"everything is stored; {again:,} messages came twice and changed nothing"
            if done
            else f"nothing more is being stored; {survivor.name}: {survivor.last_words()}"
        )

    async def _complete(self, survivor: ConsumerProcess) -> bool:
        """Whether all is read and stored. The exact counts cost a scan: they are asked for last."""
        expected = self._dataset.expected
        if self._screen.stored < len(expected.events) or survivor.lag:
            return False
        counts = await self._stored.session_counts()
        return counts == (expected.session_count, expected.completed)

    async def _until(self, reached: Callable[[], bool | Awaitable[bool]], patience: float) -> bool:
        """Look until ``reached``; give up after ``patience`` seconds without another event."""
        screen = self._screen
        stored, since = screen.stored, time.monotonic()
        while True:
            await asyncio.gather(*(consumer.look() for consumer in self._consumers))
            screen.stored = await self._stored.event_count()
            screen.changed()
            answer = reached()
            if answer if isinstance(answer, bool) else await answer:
                return True
            if screen.stored != stored:
                stored, since = screen.stored, time.monotonic()
            if time.monotonic() - since > patience:
                return False
            await asyncio.sleep(_LOOK_EVERY)


def _ignore(_: str) -> None:
    """The embedded broker is known to serve no idempotent producer."""
