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
from consumer.demo import crash
from consumer.demo.comparison import Comparison, open_stored
from consumer.demo.crash import CrashTest
from consumer.demo.material import Material, prepare
from consumer.demo.report import Report, print_report
from consumer.demo.screen import Scene, Screen, Step, open_screen
from consumer.demo.servers import embedded_servers
from consumer.demo.surroundings import Surroundings
from consumer.errors import ExitCode, PreconditionError, TransientError
from consumer.kafka.range_reader import open_range_reader
from consumer.mongo.reading import open_session_reader
from producer_tools.brokers import create_topics
from producer_tools.outgoing import Topics

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
_COMPARE: Final = _CRASH + len(crash.STEPS)
_STEPS: Final = (*_BEFORE, *crash.STEPS, "compare every document with what was published")


def run_demo(*, all_sessions: bool, sessions: int) -> int:
    """Run the demo to its exit code: 0 only if everything agrees.

    Raises ``PreconditionError`` where a server is missing or does not answer any more, or
    where a consumer ends by itself.
    """
    # What the Kafka client logs while members come and go would tear the picture apart.
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
    print_report(report, out)
    return ExitCode.DONE if report.agrees else ExitCode.FOUND


async def _demo(out: Console, sessions: int | None, terminated: Event) -> Report:
    """Show the demo. SIGTERM sets ``terminated`` and clears everything away, as Ctrl-C does."""
    task = asyncio.current_task()

    def terminate() -> None:
        terminated.set()
        if task is not None:
            task.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminate)
    scene = Scene([Step(title) for title in _STEPS])
    with open_screen(scene, out) as screen:
        try:
            return await _on_screen(screen, sessions)
        except TransientError as error:
            raise PreconditionError(f"a server of the demo does not answer: {error}") from error


async def _on_screen(screen: Screen, sessions: int | None) -> Report:
    began = time.monotonic()
    material = _prepared(screen, sessions)
    async with AsyncExitStack() as stack:
        with screen.step(_SERVERS) as step:
            surroundings = Surroundings.of(await stack.enter_async_context(embedded_servers()))
            step.result = "Tansu and SecantusDB; nothing of it is kept"
        await _create_topics(screen, surroundings)
        stored = await stack.enter_async_context(open_stored(surroundings.mongo))
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="consumer-demo-")))
        survivor, code = await CrashTest(screen, _CRASH, surroundings, stored).run(material, logs)
        with screen.step(_COMPARE):
            comparisons = [
                *await stored.compare(material.expected),
                Comparison("dead letters", 0, await _dead_letters(surroundings)),
                Comparison(f"exit code of {survivor.name}", ExitCode.DONE, code),
            ]
        transcript = await _transcript(surroundings, material.shown)
        return Report(comparisons, transcript, time.monotonic() - began)


def _prepared(screen: Screen, sessions: int | None) -> Material:
    with screen.step(_READ) as step:
        material = prepare(sessions)
        screen.scene.total = len(material.messages)
        screen.scene.events = len(material.expected.events)
        count = material.expected.session_count
        step.result = f"{count:,} {material.source}, {screen.scene.total:,} messages"
        if screen.scene.total > _MANY:
            step.result += "; storing them takes some minutes"
    return material


async def _create_topics(screen: Screen, surroundings: Surroundings) -> None:
    with screen.step(_TOPICS) as step:
        names = [*Topics().names, surroundings.dead_letters.topic]
        await create_topics(surroundings.kafka, names, _PARTITIONS)
        step.result = f"{', '.join(names)}; {_PARTITIONS} partitions each"


async def _dead_letters(surroundings: Surroundings) -> int:
    """Return how many batches of dead letters there are: that is what this broker counts."""
    async with open_range_reader(surroundings.kafka) as reader:
        partitions = await reader.partitions_of([surroundings.dead_letters.topic])
        return sum((await reader.ends(partitions)).values())


async def _transcript(surroundings: Surroundings, session_id: str | None) -> Sequence[Text]:
    if session_id is None:
        return []
    async with open_session_reader(surroundings.mongo) as reader:
        return [event_line(event) async for event in reader.events(session_id)]
