"""The consumers of the demo: real processes, watched by what they say of themselves."""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from consumer.demo.servers import (
    HOST,
    EmbeddedServers,
    child_process,
    free_port,
    last_line,
    stop,
    with_settings,
)
from consumer.observability.metrics import parse_exposition
from consumer.settings.model import Settings
from consumer.settings.sources import load_settings

EMBEDDED_BROKER: Final[Mapping[str, object]] = {
    "kafka.session_timeout": 6.0,
    "kafka.request_timeout": 5.0,
    "kafka.rebalance_timeout": 4.0,
    "kafka.heartbeat_interval": 1.0,
    "dead_letters.idempotent": False,
}
"""Settings that suit the embedded broker: quick takeovers, in seconds, and no idempotent producer,
which it does not have."""

_SCRAPE_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class DemoConfig:
    """What suits the embedded servers, and nothing from outside.

    ``settings`` are for this process, ``overrides`` of the defaults for the consumers.
    """

    overrides: Mapping[str, object]
    settings: Settings

    @classmethod
    def of(cls, servers: EmbeddedServers) -> DemoConfig:
        """Return the settings for these servers."""
        overrides = {
            **EMBEDDED_BROKER,
            "kafka.bootstrap_servers": servers.bootstrap_servers,
            "kafka.group_id": "demo",
            "mongo.uri": servers.mongodb_uri,
            # The embedded database has one core's worth of Python: on a busy machine a large
            # batch would miss its deadline, and be applied again, over and over.
            "mongo.timeout": 60.0,
            "engine.max_poll_records": 500,
            "log.format": "json",
        }
        return cls(overrides, load_settings(overrides, variables={}))


class ConsumerState(StrEnum):
    """How a consumer is doing, in the words that are shown."""

    JOINING = "joining the group"
    CONSUMING = "consuming"
    KILLED = "killed by SIGKILL"
    ENDED = "ended by itself"
    STOPPED = "drained and stopped"


@dataclass(slots=True)
class ConsumerProcess:
    """One ``consumer run``, and its metrics as they were last read."""

    name: str
    port: int
    process: Process
    log: Path
    state: ConsumerState = ConsumerState.JOINING
    partitions: int = 0
    lag: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)

    async def look(self) -> None:
        """Read the metrics again; a consumer that does not answer keeps those it had."""
        if self.state in {ConsumerState.KILLED, ConsumerState.STOPPED}:
            return
        if self.process.returncode is not None:
            self.state = ConsumerState.ENDED
            return
        with suppress(OSError, TimeoutError, ValueError):
            self.read(await _scrape(self.port))
        if self.partitions:
            self.state = ConsumerState.CONSUMING

    def read(self, exposition: str) -> None:
        """Take the metrics from their text format."""
        self.partitions = self.lag = 0
        self.outcomes.clear()
        for name, labels, value in parse_exposition(exposition):
            match name:
                case "consumer_partitions_assigned":
                    self.partitions = int(value)
                case "consumer_lag_records":
                    self.lag += int(value)
                case "consumer_records_total":
                    self.outcomes[labels["outcome"]] += int(value)

    async def kill(self) -> None:
        """End it as a crash does: nothing is drained and nothing committed."""
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()
        self.state, self.partitions, self.lag = ConsumerState.KILLED, 0, 0

    async def stop(self, patience: float) -> int:
        """Ask it to drain and end, and return its exit code."""
        code = await stop(self.process, patience)
        self.state, self.partitions = ConsumerState.STOPPED, 0
        return code

    def last_words(self) -> str:
        """Return what it logged last."""
        return last_line(self.log)


@asynccontextmanager
async def run_consumer(
    name: str, settings: Mapping[str, object], directory: Path
) -> AsyncIterator[ConsumerProcess]:
    """Run ``consumer run`` with these settings, and none from outside, until the body ends."""
    port, log = free_port(), directory / f"{name}.log"
    http = {"http.host": HOST, "http.port": port}
    command = with_settings({**settings, **http}, [sys.executable, "-m", "consumer", "run"])
    async with child_process(command, log=log) as process:
        yield ConsumerProcess(name, port, process, log)


async def _scrape(port: int) -> str:
    async with asyncio.timeout(_SCRAPE_SECONDS):
        reader, writer = await asyncio.open_connection(HOST, port)
        try:
            writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
            return (await reader.read()).partition(b"\r\n\r\n")[2].decode()
        finally:
            writer.close()
