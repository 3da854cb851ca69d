"""Two consumers of one group, of which one is killed while both are at work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractContextManager, AsyncExitStack
from pathlib import Path
from typing import Final

from consumer.demo.consumers import ConsumerProcess, ConsumerState, DemoConfig, run_consumer
from consumer.demo.dataset import Dataset, StoredDocuments
from consumer.demo.screen import Screen, Step
from consumer.errors import PreconditionError
from producer_tools.outgoing_message import Outgoing, PublishTarget
from producer_tools.publisher import Publisher

STEPS: Final = (
    "start two consumers of one group",
    "publish the first half",
    "wait until both are consuming",
    "publish the rest",
    "kill one of them while it is at work",
    "let the other one finish",
)
_START, _FIRST, _JOIN, _REST, _KILL, _FINISH = range(len(STEPS))
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

    def __init__(
        self, screen: Screen, first_step: int, config: DemoConfig, stored: StoredDocuments
    ) -> None:
        """``first_step``: where ``STEPS`` begin on the screen."""
        self._screen = screen
        self._progress = screen.progress
        self._first_step = first_step
        self._config = config
        self._stored = stored

    async def run(self, dataset: Dataset, directory: Path) -> tuple[ConsumerProcess, int]:
        """Go through all steps; return the surviving consumer and its exit code.

        ``directory`` gets the consumers' logs. Raises ``ConsumerEndedError``.
        """
        async with AsyncExitStack() as stack:
            with self._step(_START):
                for name in _NAMES:
                    consumer = run_consumer(name, self._config.overrides, directory)
                    self._progress.consumers.append(await stack.enter_async_context(consumer))
            await self._publish_all(dataset.messages)
            victim, survivor = self._progress.consumers
            await self._kill(victim, dataset)
            await self._finish(survivor, dataset)
            return survivor, await survivor.stop(_STOP_SECONDS)

    def _step(self, index: int) -> AbstractContextManager[Step]:
        return self._screen.step(self._first_step + index)

    async def _publish_all(self, messages: Sequence[Outgoing]) -> None:
        half = len(messages) // 2
        target = PublishTarget(self._config.kafka, idempotent=False)
        async with Publisher(target, _ignore) as publisher:
            with self._step(_FIRST):
                await self._publish(publisher, messages[:half])
            with self._step(_JOIN) as step:
                joined = await self._until(self._both_consume, _JOIN_SECONDS)
                step.result = "both" if joined else "only one has partitions yet"
            with self._step(_REST):
                await self._publish(publisher, messages[half:])

    async def _publish(self, publisher: Publisher, messages: Iterable[Outgoing]) -> None:
        for message in messages:
            await publisher.send(message)
            self._progress.published += 1
            if self._progress.published % _SHOW_EVERY == 0:
                # The client waits only when it is full; here others get a turn.
                await asyncio.sleep(0)
        await publisher.drain()

    def _both_consume(self) -> bool:
        return all(
            consumer.state is ConsumerState.CONSUMING for consumer in self._progress.consumers
        )

    async def _kill(self, victim: ConsumerProcess, dataset: Dataset) -> None:
        events = len(dataset.expected.events)
        with self._step(_KILL) as step:
            await self._until(
                lambda: self._progress.stored >= events * _KILLED_AT, _STALLED_SECONDS
            )
            lag = victim.lag
            await victim.kill()
            self._screen.changed()
            step.result = (
                f"{victim.name}, with {self._progress.stored:,} of {events:,} events stored "
                f"and {lag:,} messages still to read"
            )

    async def _finish(self, survivor: ConsumerProcess, dataset: Dataset) -> None:
        with self._step(_FINISH) as step:
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
        if self._progress.stored < len(expected.events) or survivor.lag:
            return False
        counts = await self._stored.session_counts()
        return counts == (expected.session_count, expected.completed)

    async def _until(self, reached: Callable[[], bool | Awaitable[bool]], patience: float) -> bool:
        """Look until ``reached``; give up after ``patience`` seconds without another event."""
        clock = time.monotonic
        before, since = self._progress.stored, clock()
        while True:
            await self._look()
            answer = reached()
            if answer if isinstance(answer, bool) else await answer:
                return True
            if self._progress.stored != before:
                before, since = self._progress.stored, clock()
            if clock() - since > patience:
                return False
            await asyncio.sleep(_LOOK_EVERY)

    async def _look(self) -> None:
        consumers = self._progress.consumers
        await asyncio.gather(*(consumer.look() for consumer in consumers))
        self._progress.stored = await self._stored.event_count()
        self._screen.changed()
        for consumer in consumers:
            if consumer.state is ConsumerState.ENDED:
                raise ConsumerEndedError(
                    f"{consumer.name} ended by itself: {consumer.last_words()}"
                )


def _ignore(_: str) -> None:
    """The embedded broker is known to serve no idempotent producer."""
