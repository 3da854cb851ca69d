"""Two consumers of one group, of which one is killed while both are at work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from consumer.demo.consumers import ConsumerProcess, ConsumerState, DemoConfig, run_consumer
from consumer.demo.dataset import Dataset, StoredDocuments
from consumer.demo.screen import Screen, Step
from consumer.errors import PreconditionError
from producer_tools.outgoing_message import Outgoing, PublishTarget
from producer_tools.publisher import Publisher

_NAMES: Final = ("consumer-1", "consumer-2")

_KILLED_AT: Final = 0.6
"""The share of the events that is stored then."""

_LOOK_EVERY: Final = 0.3
_JOIN_SECONDS: Final = 40.0
_STALLED_SECONDS: Final = 150.0
_STOP_SECONDS: Final = 25.0
_SHOW_EVERY: Final = 500


class ConsumerEndedError(PreconditionError):
    """A consumer ended by itself: the rest of the demo would show nothing."""


class CrashScenario:
    """Publishes everything, and kills one of the two consumers in the middle of it."""

    def __init__(self, screen: Screen, config: DemoConfig, stored: StoredDocuments) -> None:
        """Show on ``screen`` what is done, and look into ``stored`` for what came of it."""
        self._screen = screen
        self._config = config
        self._stored = stored

    async def run(self, dataset: Dataset, directory: Path) -> tuple[ConsumerProcess, int]:
        """Go through all steps; return the surviving consumer and its exit code.

        ``directory`` gets the consumers' logs. Raises ``ConsumerEndedError``.
        """
        async with AsyncExitStack() as stack:
            with self._screen.step(Step.CONSUMERS):
                for name in _NAMES:
                    consumer = run_consumer(name, self._config.overrides, directory)
                    self._screen.consumers.append(await stack.enter_async_context(consumer))
            await self._publish_all(dataset.messages)
            victim, survivor = self._screen.consumers
            await self._kill(victim, len(dataset.expected.events))
            await self._finish(survivor, dataset)
            return survivor, await survivor.stop(_STOP_SECONDS)

    async def _publish_all(self, messages: Sequence[Outgoing]) -> None:
        half = len(messages) // 2
        target = PublishTarget(self._config.settings.kafka, idempotent=False)
        async with Publisher(target, _ignore) as publisher:
            with self._screen.step(Step.FIRST_HALF):
                await self._publish(publisher, messages[:half])
            with self._screen.step(Step.JOIN) as step:
                joined = await self._until(self._both_consume, _JOIN_SECONDS)
                step.result = "both" if joined else "only one has partitions yet"
            with self._screen.step(Step.REST):
                await self._publish(publisher, messages[half:])

    async def _publish(self, publisher: Publisher, messages: Iterable[Outgoing]) -> None:
        for message in messages:
            await publisher.send(message)
            self._screen.published += 1
            if self._screen.published % _SHOW_EVERY == 0:
                # The client waits only when it is full; here others get a turn.
                await asyncio.sleep(0)
        await publisher.drain()

    def _both_consume(self) -> bool:
        states = {consumer.state for consumer in self._screen.consumers}
        return states == {ConsumerState.CONSUMING}

    async def _kill(self, victim: ConsumerProcess, events: int) -> None:
        screen, enough = self._screen, events * _KILLED_AT
        with screen.step(Step.KILL) as step:
            await self._until(lambda: screen.stored >= enough, _STALLED_SECONDS)
            lag = victim.lag
            await victim.kill()
            self._screen.changed()
            step.result = (
                f"{victim.name}, with {screen.stored:,} of {events:,} events stored "
                f"and {lag:,} messages still to read"
            )

    async def _finish(self, survivor: ConsumerProcess, dataset: Dataset) -> None:
        with self._screen.step(Step.FINISH) as step:
            done = await self._until(lambda: self._complete(survivor, dataset), _STALLED_SECONDS)
            again = survivor.outcomes["redelivered"]
            step.result = (
                f"everything is stored; {again:,} messages came twice and changed nothing"
                if done
                else f"nothing more is being stored; {survivor.name}: {survivor.last_words()}"
            )

    async def _complete(self, survivor: ConsumerProcess, dataset: Dataset) -> bool:
        """Whether all is read and stored. The exact counts cost a scan: they are asked for last."""
        expected = dataset.expected
        if self._screen.stored < len(expected.events) or survivor.lag:
            return False
        counts = await self._stored.session_counts()
        return counts == (expected.session_count, expected.completed)

    async def _until(self, reached: Callable[[], bool | Awaitable[bool]], patience: float) -> bool:
        """Look until ``reached``; give up after ``patience`` seconds without another event."""
        stored, since = self._screen.stored, time.monotonic()
        while True:
            await self._look()
            answer = reached()
            if answer if isinstance(answer, bool) else await answer:
                return True
            if self._screen.stored != stored:
                stored, since = self._screen.stored, time.monotonic()
            if time.monotonic() - since > patience:
                return False
            await asyncio.sleep(_LOOK_EVERY)

    async def _look(self) -> None:
        consumers = self._screen.consumers
        await asyncio.gather(*(consumer.look() for consumer in consumers))
        self._screen.stored = await self._stored.event_count()
        self._screen.changed()
        for consumer in consumers:
            if consumer.state is ConsumerState.ENDED:
                words = consumer.last_words()
                raise ConsumerEndedError(f"{consumer.name} ended by itself: {words}")


def _ignore(_: str) -> None:
    """The embedded broker is known to serve no idempotent producer."""
