"""``consumer demo``: everything at once, on servers of its own, with a crash in the middle.

One of two consumers is killed at work, and in the end every document must be there once,
exactly as it was published.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from consumer.commands.common.output import console
from consumer.commands.show import event_line
from consumer.demo.consumers import ConsumerProcess, demo_settings, run_consumer
from consumer.demo.dataset import Comparison, Dataset, StoredDocuments, load_dataset, open_stored
from consumer.demo.screen import Screen, print_result
from consumer.demo.servers import embedded_servers
from consumer.errors import ExitCode, must_answer
from consumer.kafka.admin import create_topic
from consumer.kafka.range_reader import open_range_reader
from consumer.mongo.session_reader import open_session_reader
from consumer.settings.model import KafkaSettings, Settings
from consumer.settings.sources import load_settings
from consumer.signals import BY_SIGNAL, run_interruptible
from producer_tools.outgoing_message import Outgoing, Topics
from producer_tools.publisher import Publisher

_PARTITIONS: Final = 6
_MANY: Final = 100_000

_KILLED_AT: Final = 0.6
"""The share of the events that is stored then."""

_LOOK_EVERY: Final = 0.3
_JOIN_SECONDS: Final = 40.0
_STALLED_SECONDS: Final = 150.0
_STOP_SECONDS: Final = 25.0
_SHOW_EVERY: Final = 500


def run_demo(*, all_sessions: bool, sessions: int) -> int:
    """Run the demo to its exit code: 0 only if everything agrees.

    Raises ``PreconditionError`` where a server is missing or does not answer any more, or
    where a consumer ends by itself.
    """
    # What the Kafka client logs while consumers come and go would tear the picture apart.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL + 1)
    try:
        return run_interruptible(_demo(console(), None if all_sessions else sessions))
    except SystemExit:
        sys.stderr.write("consumer: the demo was terminated\n")
        return BY_SIGNAL + signal.SIGTERM


def run_servers(*, kafka_port: int, mongodb_port: int) -> int:
    """Run both servers and one consumer until Ctrl-C or a signal ends them.

    Raises ``PreconditionError`` as ``run_demo`` does, and where a port is taken.
    """
    return run_interruptible(_serve(kafka_port, mongodb_port))


async def _serve(kafka_port: int, mongodb_port: int) -> int:
    out = console()
    async with AsyncExitStack() as stack:
        out.print("starting a Kafka and a MongoDB; nothing of theirs is kept")
        servers = await stack.enter_async_context(embedded_servers(kafka_port, mongodb_port))
        settings = demo_settings(servers)
        await _create_topics(load_settings(settings, variables={}))
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="consumer-demo-")))
        consumer = await stack.enter_async_context(run_consumer("consumer", settings, logs))
        while not consumer.partitions:
            await consumer.look()
            await asyncio.sleep(_LOOK_EVERY)
        out.print(f"Kafka: {servers.bootstrap_servers}")
        out.print(f"MongoDB: {servers.mongodb_uri}")
        out.print(f"a consumer reads {', '.join(Topics().names)}; Ctrl-C ends all of it")
        while True:
            await consumer.look()
            await asyncio.sleep(_LOOK_EVERY)


async def _create_topics(settings: Settings) -> Sequence[str]:
    names = [*Topics().names, settings.dead_letters.topic]
    for name in names:
        await create_topic(settings.kafka, name, _PARTITIONS)
    return names


async def _demo(out: Console, sessions: int | None) -> ExitCode:
    began, screen = time.monotonic(), Screen(out)
    async with AsyncExitStack() as stack:
        stack.enter_context(screen.bars)
        stack.enter_context(must_answer("a server of the demo"))
        dataset = _load(screen, sessions)
        screen.begin("start a Kafka and a MongoDB for the demo")
        overrides = demo_settings(await stack.enter_async_context(embedded_servers()))
        screen.done("Tansu and SecantusDB; nothing of it is kept")
        settings = load_settings(overrides, variables={})
        kafka, mongo, dead_letters = settings.kafka, settings.mongo, settings.dead_letters.topic
        screen.begin("create the topics")
        names = await _create_topics(settings)
        screen.done(f"{', '.join(names)}; {_PARTITIONS} partitions each")
        stored = await stack.enter_async_context(open_stored(mongo))
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="consumer-demo-")))
        scenario = CrashScenario(screen, kafka, stored, dataset)
        survivor, code = await scenario.run(overrides, logs)
        screen.begin("compare every document with what was published")
        comparisons = [
            *await stored.compare(dataset.expected),
            Comparison("dead letters", 0, await _count_batches(kafka, dead_letters)),
            Comparison(f"exit code of {survivor}", ExitCode.DONE, code),
        ]
        screen.done()
        transcript: list[Text] = []
        if dataset.shown is not None:
            async with open_session_reader(mongo) as reader:
                transcript = [event_line(event) async for event in reader.events(dataset.shown)]
    agrees = print_result(out, comparisons, transcript, time.monotonic() - began)
    return ExitCode.DONE if agrees else ExitCode.FOUND


def _load(screen: Screen, sessions: int | None) -> Dataset:
    screen.begin("read the conversations")
    dataset = load_dataset(sessions)
    count = dataset.expected.session_count
    screen.total, screen.events = len(dataset.messages), len(dataset.expected.events)
    result = f"{count:,} {dataset.source}, {screen.total:,} messages"
    screen.done(result + ("; storing them takes some minutes" if screen.total > _MANY else ""))
    return dataset


async def _count_batches(kafka: KafkaSettings, topic: str) -> int:
    """Return how many batches of records the topic has: that is what this broker counts."""
    async with open_range_reader(kafka) as reader:
        partitions = await reader.partitions_of([topic])
        return sum((await reader.end_offsets(partitions)).values())


@dataclass(slots=True)
class CrashScenario:
    """Publishes everything, and kills one of the two consumers in the middle of it.

    It shows on ``screen`` what is done, and looks into ``stored`` for what came of it.
    """

    screen: Screen
    kafka: KafkaSettings
    stored: StoredDocuments
    dataset: Dataset
    consumers: list[ConsumerProcess] = field(default_factory=list)

    async def run(self, settings: Mapping[str, object], directory: Path) -> tuple[str, int]:
        """Go through all steps; return the surviving consumer's name and exit code.

        ``settings`` are the consumers'; ``directory`` gets their logs.
        Raises ``ConsumerEndedError``.
        """
        async with AsyncExitStack() as stack:
            self.screen.begin("start two consumers of one group")
            for name in ("consumer-1", "consumer-2"):
                consumer = run_consumer(name, settings, directory)
                self.consumers.append(await stack.enter_async_context(consumer))
            self.screen.done()
            victim, survivor = self.consumers
            async with Publisher(self.kafka, idempotent=False) as publisher:
                await self._publish_all(publisher)
            await self._kill(victim)
            await self._finish(survivor)
            return survivor.name, await survivor.stop(_STOP_SECONDS)

    async def _publish_all(self, publisher: Publisher) -> None:
        messages, screen = self.dataset.messages, self.screen
        half = len(messages) // 2
        screen.begin("publish the first half")
        await self._publish(publisher, messages[:half])
        screen.done()
        screen.begin("wait until both are consuming")
        joined = await self._until(
            lambda: all(consumer.partitions for consumer in self.consumers), _JOIN_SECONDS
        )
        screen.done("both" if joined else "only one has partitions yet")
        screen.begin("publish the rest")
        await self._publish(publisher, messages[half:])
        screen.done()

    async def _publish(self, publisher: Publisher, messages: Iterable[Outgoing]) -> None:
        for message in messages:
            await publisher.send_unchecked(message)
            self.screen.published += 1
            if self.screen.published % _SHOW_EVERY == 0:
                self.screen.changed()
                # The client waits only when it is full; here others get a turn.
                await asyncio.sleep(0)
        await publisher.flush()

    async def _kill(self, victim: ConsumerProcess) -> None:
        screen = self.screen
        screen.begin("kill one of them while it is at work")
        await self._until(lambda: screen.stored >= screen.events * _KILLED_AT, _STALLED_SECONDS)
        self.consumers.remove(victim)
        await victim.kill()
        screen.done(
            f"{victim.name}, with {screen.stored:,} of {screen.events:,} events stored "
            f"and {victim.lag:,} messages still to read"
        )

    async def _finish(self, survivor: ConsumerProcess) -> None:
        self.screen.begin("let the other one finish")
        done = await self._until(lambda: self._complete(survivor), _STALLED_SECONDS)
        again = survivor.outcomes["redelivered"]
        self.screen.done(
            f"everything is stored; {again:,} messages came twice and changed nothing"
            if done
            else f"nothing more is being stored; {survivor.name}: {survivor.last_words()}"
        )

    async def _complete(self, survivor: ConsumerProcess) -> bool:
        """Whether all is read and stored. The exact counts cost a scan: they are asked for last."""
        expected = self.dataset.expected
        if self.screen.stored < len(expected.events) or survivor.lag:
            return False
        counts = await self.stored.session_counts()
        return counts == (expected.session_count, expected.completed)

    async def _until(self, reached: Callable[[], bool | Awaitable[bool]], patience: float) -> bool:
        """Look until ``reached``; give up after ``patience`` seconds without another event."""
        screen = self.screen
        stored, since = screen.stored, time.monotonic()
        while True:
            await asyncio.gather(*(consumer.look() for consumer in self.consumers))
            screen.stored = await self.stored.event_count()
            screen.changed()
            answer = reached()
            if answer if isinstance(answer, bool) else await answer:
                return True
            if screen.stored != stored:
                stored, since = screen.stored, time.monotonic()
            if time.monotonic() - since > patience:
                return False
            await asyncio.sleep(_LOOK_EVERY)
