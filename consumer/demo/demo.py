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
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from threading import Event
from typing import Final

from rich.console import Console
from rich.text import Text

from consumer.commands.common.output import console
from consumer.commands.show import event_line
from consumer.demo import scenario
from consumer.demo.consumers import DemoConfig
from consumer.demo.dataset import Comparison, Dataset, load_dataset, open_stored
from consumer.demo.scenario import CrashScenario
from consumer.demo.screen import DemoProgress, DemoResult, Screen, Step, open_screen, print_result
from consumer.demo.servers import embedded_servers
from consumer.errors import ExitCode, PreconditionError, TransientError
from consumer.kafka.admin import create_topic
from consumer.kafka.range_reader import open_range_reader
from consumer.mongo.session_reader import open_session_reader
from producer_tools.outgoing_message import Topics

_PARTITIONS: Final = 6
_MANY: Final = 100_000
_TERMINATED: Final = 128 + signal.SIGTERM

_BEFORE: Final = (
    "read the conversations",
    "start a Kafka and a MongoDB for the demo",
    "create the topics",
)
_READ, _SERVERS, _TOPICS = range(len(_BEFORE))
_CRASH: Final = len(_BEFORE)
_COMPARE: Final = _CRASH + len(scenario.STEPS)
_STEPS: Final = (*_BEFORE, *scenario.STEPS, "compare every document with what was published")


def run_demo(*, all_sessions: bool, sessions: int) -> int:
    """Run the demo to its exit code: 0 only if everything agrees.

    Raises ``PreconditionError`` where a server is missing or does not answer any more, or
    where a consumer ends by itself.
    """
    # What the Kafka client logs while consumers come and go would tear the picture apart.
    logger = logging.getLogger("aiokafka")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    out, terminated = console(), Event()
    try:
        report = asyncio.run(_demo(out, None if all_sessions else sessions, terminated))
    except asyncio.CancelledError:
        if not terminated.is_set():
            raise
        sys.stderr.write("consumer: the demo was terminated\n")
        return _TERMINATED
    print_result(report, out)
    return ExitCode.DONE if report.agrees else ExitCode.FOUND


async def _demo(out: Console, sessions: int | None, terminated: Event) -> DemoResult:
    """Show the demo. SIGTERM sets ``terminated`` and clears everything away, as Ctrl-C does."""
    task = asyncio.current_task()

    def terminate() -> None:
        terminated.set()
        if task is not None:
            task.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminate)
    progress = DemoProgress([Step(title) for title in _STEPS])
    with open_screen(progress, out) as screen:
        try:
            return await _on_screen(screen, sessions)
        except TransientError as error:
            raise PreconditionError(f"a server of the demo does not answer: {error}") from error


async def _on_screen(screen: Screen, sessions: int | None) -> DemoResult:
    began = time.monotonic()
    dataset = _prepared(screen, sessions)
    async with AsyncExitStack() as stack:
        with screen.step(_SERVERS) as step:
            config = DemoConfig.of(await stack.enter_async_context(embedded_servers()))
            step.result = "Tansu and SecantusDB; nothing of it is kept"
        await _create_topics(screen, config)
        stored = await stack.enter_async_context(open_stored(config.mongo))
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="consumer-demo-")))
        survivor, code = await CrashScenario(screen, _CRASH, config, stored).run(dataset, logs)
        with screen.step(_COMPARE):
            comparisons = [
                *await stored.compare(dataset.expected),
                Comparison("dead letters", 0, await _dead_letters(config)),
                Comparison(f"exit code of {survivor.name}", ExitCode.DONE, code),
            ]
        transcript = await _transcript(config, dataset.shown)
        return DemoResult(comparisons, transcript, time.monotonic() - began)


def _prepared(screen: Screen, sessions: int | None) -> Dataset:
    with screen.step(_READ) as step:
        dataset = load_dataset(sessions)
        screen.progress.total = len(dataset.messages)
        screen.progress.events = len(dataset.expected.events)
        count = dataset.expected.session_count
        step.result = f"{count:,} {dataset.source}, {screen.progress.total:,} messages"
        if screen.progress.total > _MANY:
            step.result += "; storing them takes some minutes"
    return dataset


async def _create_topics(screen: Screen, config: DemoConfig) -> None:
    with screen.step(_TOPICS) as step:
        names = [*Topics().names, config.dead_letters.topic]
        for name in names:
            await create_topic(config.kafka, name, _PARTITIONS)
        step.result = f"{', '.join(names)}; {_PARTITIONS} partitions each"


async def _dead_letters(config: DemoConfig) -> int:
    """Return how many batches of dead letters there are: that is what this broker counts."""
    async with open_range_reader(config.kafka) as reader:
        partitions = await reader.partitions_of([config.dead_letters.topic])
        return sum((await reader.ends(partitions)).values())


async def _transcript(config: DemoConfig, session_id: str | None) -> Sequence[Text]:
    if session_id is None:
        return []
    async with open_session_reader(config.mongo) as reader:
        return [event_line(event) async for event in reader.events(session_id)]
