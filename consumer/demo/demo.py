"""``consumer demo``: everything at once, on servers of its own, with a crash in the middle.

One of two consumers is killed at work, and in the end every document must be there once,
exactly as it was published.
"""

from __future__ import annotations

import logging
import signal
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from consumer.commands.common.output import console
from consumer.commands.show import event_line
from consumer.demo.consumers import demo_settings
from consumer.demo.dataset import Comparison, Dataset, load_dataset, open_stored
from consumer.demo.scenario import CrashScenario
from consumer.demo.screen import Screen, open_screen, print_result
from consumer.demo.servers import embedded_servers
from consumer.errors import ExitCode, PreconditionError, TransientError
from consumer.kafka.admin import create_topic
from consumer.kafka.range_reader import open_range_reader
from consumer.mongo.session_reader import open_session_reader
from consumer.settings.model import KafkaSettings
from consumer.settings.sources import load_settings
from consumer.signals import BY_SIGNAL, run_interruptible
from producer_tools.outgoing_message import PublishTarget, Topics

_PARTITIONS: Final = 6
_MANY: Final = 100_000

DemoOutcome = tuple[list[Comparison], list[Text], float]
"""What was compared, one conversation as it is stored, and how many seconds it all took."""


def run_demo(*, all_sessions: bool, sessions: int) -> int:
    """Run the demo to its exit code: 0 only if everything agrees.

    Raises ``PreconditionError`` where a server is missing or does not answer any more, or
    where a consumer ends by itself.
    """
    # What the Kafka client logs while consumers come and go would tear the picture apart.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL + 1)
    out = console()
    try:
        comparisons, transcript, seconds = run_interruptible(
            _demo(out, None if all_sessions else sessions)
        )
    except SystemExit:
        sys.stderr.write("consumer: the demo was terminated\n")
        return BY_SIGNAL + signal.SIGTERM
    agrees = print_result(out, comparisons, transcript, seconds)
    return ExitCode.DONE if agrees else ExitCode.FOUND


async def _demo(out: Console, sessions: int | None) -> DemoOutcome:
    with open_screen(out) as screen:
        try:
            return await _on_screen(screen, sessions)
        except TransientError as error:
            raise PreconditionError(f"a server of the demo does not answer: {error}") from error


async def _on_screen(screen: Screen, sessions: int | None) -> DemoOutcome:
    began = time.monotonic()
    dataset = _load(screen, sessions)
    async with AsyncExitStack() as stack:
        screen.begin("start a Kafka and a MongoDB for the demo")
        overrides = demo_settings(await stack.enter_async_context(embedded_servers()))
        screen.done("Tansu and SecantusDB; nothing of it is kept")
        settings = load_settings(overrides, variables={})
        kafka, mongo, dead_letters = settings.kafka, settings.mongo, settings.dead_letters.topic
        screen.begin("create the topics")
        names = [*Topics().names, dead_letters]
        for name in names:
            await create_topic(kafka, name, _PARTITIONS)
        screen.done(f"{', '.join(names)}; {_PARTITIONS} partitions each")
        stored = await stack.enter_async_context(open_stored(mongo))
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="consumer-demo-")))
        scenario = CrashScenario(screen, PublishTarget(kafka, idempotent=False), stored, dataset)
        survivor, code = await scenario.run(overrides, logs)
        screen.begin("compare every document with what was published")
        comparisons = [
            *await stored.compare(dataset.expected),
            Comparison("dead letters", 0, await _count_batches(kafka, dead_letters)),
            Comparison(f"exit code of {survivor}", ExitCode.DONE, code),
        ]
        screen.done()
        transcript = []
        if dataset.shown is not None:
            async with open_session_reader(mongo) as reader:
                transcript = [event_line(event) async for event in reader.events(dataset.shown)]
        return comparisons, transcript, time.monotonic() - began


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
