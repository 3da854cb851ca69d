"""Real ``consumer run`` processes: started, signalled, and watched by what they log.

Nothing here sleeps. Whoever waits says for what, and looks again at every line that any of
the processes writes.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from consumer.contract.record import OffsetRange, TopicPartition
from consumer.demo import die_with_parent
from consumer.settings.sources import environment_name
from consumer.state.outcomes import Outcome

ROOT = Path(__file__).parents[2]
LOOPBACK = "127.0.0.1"
LONGEST_LINE = 4 * 1024 * 1024
LAST_WORDS = 12
END_SECONDS = 30.0

NONE: Mapping[str, object] = {}

SAID: Mapping[str, object] = {"log.format": "json", "log.level": "DEBUG"}
"""Each batch has a line of its own from DEBUG on."""

Facts = dict[str, Any]


class Span(NamedTuple):
    """Records of one partition that one batch settled: ``first`` to ``end``, exclusive."""

    partition: TopicPartition
    first: int
    end: int


@dataclass(slots=True)
class Service:
    """One process. ``lines``: what it logged; ``words``: what it wrote besides.

    It is ``running`` until it has ended and everything it wrote has been read.
    """

    name: str
    process: Process
    port: int | None
    lines: list[Facts] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    settled: int = 0
    running: bool = True

    @property
    def code(self) -> int | None:
        """How it ended; below zero: by that signal."""
        return self.process.returncode

    def said(self, event: str, **facts: object) -> list[Facts]:
        """The lines of that event on which these facts stand."""
        wanted = facts.items()
        return [one for one in self.lines if one["event"] == event and wanted <= one.items()]

    @property
    def why(self) -> str:
        """Its last words: why it ended, in its log or besides."""
        return "\n".join(
            [*self.words, *(line["message"] for line in self.said("ended", end="error"))]
        )

    @property
    def partitions(self) -> frozenset[str]:
        """What it holds: the last assignment, nothing if it was revoked since."""
        for line in reversed(self.lines):
            if line["event"] == "partitions_assigned":
                return frozenset(line["partitions"])
            if line["event"] == "partitions_revoked":
                break
        return frozenset()

    def spans(self) -> Iterator[Span]:
        """Everything it settled, in the order of its lines."""
        for line in self.said("batch_settled"):
            for name, (first, end) in line["offsets"].items():
                yield Span(_partition(name), first, end)

    def gaps(self) -> Iterator[OffsetRange]:
        """What it said was deleted unread, in the order of its lines."""
        for line in self.said("records_deleted_unread"):
            yield OffsetRange(_partition(line["partition"]), line["first"], line["end"])

    def outcomes(self) -> Counter[str]:
        """How the records ended that it settled, by its log."""
        counts: Counter[str] = Counter()
        for line in self.said("batch_settled"):
            counts.update({one.value: line[one] for one in Outcome if one in line})
        return counts

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def resident_bytes(self) -> int:
        """Its memory now."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    async def counted(self) -> dict[TopicPartition, Counter[str]]:
        """How the records ended, by partition, by its metrics. It must be serving them."""
        by_partition: dict[TopicPartition, Counter[str]] = {}
        for family in text_string_to_metric_families(await self.get("/metrics")):
            for sample in family.samples:
                if sample.name == "consumer_records_total":
                    labels = sample.labels
                    partition = TopicPartition(labels["topic"], int(labels["partition"]))
                    counter = by_partition.setdefault(partition, Counter())
                    counter[labels["outcome"]] += int(sample.value)
        return by_partition

    async def get(self, path: str) -> str:
        """The body of an answer over HTTP, whatever its status."""
        assert self.port is not None
        reader, writer = await asyncio.open_connection(LOOPBACK, self.port)
        try:
            writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            answer = await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()
        return answer.partition(b"\r\n\r\n")[2].decode()

    def last_words(self) -> str:
        shown = [json.dumps(line) for line in self.lines[-LAST_WORDS:]] + self.words[-LAST_WORDS:]
        return f"{self.name} (exit code {self.code}):\n  " + "\n  ".join(shown)


class Fleet:
    """The processes of a test. Ended by ``running_fleet``, whatever happens."""

    def __init__(self, settings: Mapping[str, object], directory: Path) -> None:
        """``settings`` by dotted name, for all of them; ``directory`` gets their logs."""
        self._settings = dict(settings)
        self._directory = directory
        self._news = asyncio.Condition()
        self._readers: set[asyncio.Task[None]] = set()
        self.services: list[Service] = []

    async def start(
        self, *options: str, settings: Mapping[str, object] = NONE, serves: bool = False
    ) -> Service:
        """Start ``consumer run``, with these settings besides the fleet's.

        ``serves``: on a port of its own it answers for its health and metrics.
        """
        own = dict(settings)
        port = free_port() if serves else None
        if port is not None:
            own |= {"http.host": LOOPBACK, "http.port": port}
        return await self.launch("-m", "consumer", "run", *options, port=port, settings=own)

    async def launch(
        self,
        *command: str,
        settings: Mapping[str, object] = NONE,
        port: int | None = None,
        output: int = PIPE,
    ) -> Service:
        """Start Python with this command line, with the fleet's settings and these besides.

        ``output``: the descriptor that it writes to instead of being read.
        """
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", die_with_parent.__file__, str(os.getpid())),
            *(sys.executable, *command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            env=_environment({**SAID, **self._settings, **settings}),
            limit=LONGEST_LINE,
            cwd=ROOT,
        )
        service = Service(f"process-{len(self.services) + 1}", process, port)
        self.services.append(service)
        reading = asyncio.create_task(self._read(service))
        self._readers.add(reading)
        reading.add_done_callback(self._readers.discard)
        return service

    async def _read(self, service: Service) -> None:
        if service.process.stdout is not None:
            with (self._directory / f"{service.name}.log").open("wb") as log:
                async for line in service.process.stdout:
                    log.write(line)
                    log.flush()
                    await self._take(service, line.decode(errors="replace").rstrip("\n"))
        await service.process.wait()
        async with self._news:
            service.running = False
            self._news.notify_all()

    async def _take(self, service: Service, line: str) -> None:
        async with self._news:
            if line.startswith('{"'):
                facts = json.loads(line)
                service.lines.append(facts)
                service.settled += facts["records"] if facts["event"] == "batch_settled" else 0
            elif line:
                service.words.append(line)
            self._news.notify_all()

    async def comes_true(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait until the condition holds; False when it does not, in so many seconds.

        It is looked at again at every line and every end of a process.
        """
        try:
            async with asyncio.timeout(seconds), self._news:
                return await self._news.wait_for(condition)
        except TimeoutError:
            return False

    async def until(
        self, condition: Callable[[], bool], complaint: str, *, seconds: float = 60.0
    ) -> None:
        """Return when the condition holds."""
        if not await self.comes_true(condition, seconds):
            raise AssertionError(f"not within {seconds:g} s: {complaint}\n{self}")

    async def said(
        self, service: Service, event: str, *, seconds: float = 60.0, **facts: object
    ) -> Facts:
        """Return the first such line of the service, when it is there."""
        await self.until(
            lambda: bool(service.said(event, **facts)) or not service.running,
            f"{service.name} does not say {event} {facts}",
            seconds=seconds,
        )
        found = service.said(event, **facts)
        assert found, f"{service.name} ended without saying {event} {facts}\n{self}"
        return found[0]

    async def ended(self, service: Service, *, seconds: float = END_SECONDS) -> int:
        """Return its exit code once it has ended and all it wrote is read."""
        await self.until(
            lambda: not service.running, f"{service.name} does not end", seconds=seconds
        )
        assert service.code is not None
        return service.code

    async def stopped(self, service: Service, *, seconds: float = END_SECONDS) -> int:
        """Ask it to stop, and return its exit code."""
        service.signal(signal.SIGTERM)
        return await self.ended(service, seconds=seconds)

    async def ended_or_stopped(self, service: Service, *, seconds: float) -> int:
        """Return its exit code; after so many seconds it is asked to stop."""
        over = await self.comes_true(lambda: not service.running, seconds)
        return await self.ended(service) if over else await self.stopped(service)

    async def close(self) -> None:
        """End what still runs."""
        for service in self.services:
            if service.running:
                with suppress(ProcessLookupError):
                    service.signal(signal.SIGKILL)
        await asyncio.gather(*self._readers)

    @property
    def settled(self) -> int:
        """Records settled by all of them, those of ended ones included."""
        return sum(service.settled for service in self.services)

    def __str__(self) -> str:
        return "\n".join(service.last_words() for service in self.services)


@asynccontextmanager
async def running_fleet(settings: Mapping[str, object], directory: Path) -> AsyncIterator[Fleet]:
    """Give a fleet without any process yet; those that were started end with the context."""
    fleet = Fleet(settings, directory)
    try:
        yield fleet
    finally:
        await fleet.close()


def _partition(name: str) -> TopicPartition:
    topic, _, number = name.rpartition("-")
    return TopicPartition(topic, int(number))


def free_port() -> int:
    """Return a port that is free now; whoever takes it first has it."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        port: int = listener.getsockname()[1]
        return port


def _environment(settings: Mapping[str, object]) -> dict[str, str]:
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("CONSUMER")}
    return inherited | {environment_name(name): str(value) for name, value in settings.items()}
