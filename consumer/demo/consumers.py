"""The consumers of the demo: real processes, watched by what they say of themselves."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
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
from consumer.errors import PreconditionError

EMBEDDED_BROKER: Final[Mapping[str, object]] = {
    "kafka.session_timeout": 6.0,
    "kafka.request_timeout": 5.0,
    "kafka.rebalance_timeout": 4.0,
    "kafka.heartbeat_interval": 1.0,
    "dead_letters.idempotent": False,
}
"""Settings that suit the embedded broker: quick takeovers, in seconds, and no idempotent producer,
which it does not have."""

_ANSWER_SECONDS: Final = 2.0


class ConsumerEndedError(PreconditionError):
    """A consumer ended by itself: the rest of the demo would show nothing."""


def demo_settings(servers: EmbeddedServers) -> dict[str, object]:
    """Return what suits the embedded servers, by dotted name; nothing comes from outside."""
    return {
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


@dataclass(slots=True)
class ConsumerProcess:
    """One ``consumer run``, and its status as it was last read."""

    name: str
    port: int
    process: Process
    log: Path
    partitions: int = 0
    lag: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)

    async def look(self) -> None:
        """Read its status again; a consumer that does not answer keeps those it had.

        Raises ``ConsumerEndedError``.
        """
        if self.process.returncode is not None:
            raise ConsumerEndedError(f"{self.name} ended by itself: {self.last_words()}")
        with suppress(OSError, TimeoutError, ValueError):
            self.read(await _status_of(self.port))

    def read(self, document: str) -> None:
        """Take what ``/status.json`` says."""
        status = json.loads(document)
        self.partitions = len(status["partitions"])
        self.lag = sum(part["lag"] or 0 for part in status["partitions"])
        self.outcomes = Counter({one["name"]: one["records"] for one in status["outcomes"]})

    async def kill(self) -> None:
        """End it as a crash does: nothing is drained and nothing committed."""
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    async def stop(self, patience: float) -> int:
        """Ask it to drain and end, and return its exit code."""
        return await stop(self.process, patience)

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


async def _status_of(port: int) -> str:
    async with asyncio.timeout(_ANSWER_SECONDS):
        reader, writer = await asyncio.open_connection(HOST, port)
        try:
            writer.write(b"GET /status.json HTTP/1.0\r\n\r\n")
            return (await reader.read()).partition(b"\r\n\r\n")[2].decode()
        finally:
            writer.close()
