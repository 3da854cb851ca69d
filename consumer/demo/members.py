"""The consumers of the demo: real processes, watched by what they say of themselves."""

from __future__ import annotations

import asyncio
import re
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

from consumer.demo.processes import child_process, last_line, stop, with_settings
from consumer.demo.servers import HOST, free_port

_SCRAPE_SECONDS: Final = 2.0
_SAMPLE: Final = re.compile(
    r"^(?P<name>[a-z_]+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$", re.MULTILINE
)
_OUTCOME: Final = re.compile(r'outcome="(\w+)"')


class MemberState(StrEnum):
    """How a consumer is doing, in the words that are shown."""

    JOINING = "joining the group"
    CONSUMING = "consuming"
    KILLED = "killed by SIGKILL"
    ENDED = "ended by itself"
    STOPPED = "drained and stopped"


@dataclass(slots=True)
class Member:
    """One ``consumer run``, and its metrics as they were last read."""

    name: str
    port: int
    process: Process
    log: Path
    state: MemberState = MemberState.JOINING
    partitions: int = 0
    lag: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)

    async def look(self) -> None:
        """Read the metrics again; a member that does not answer keeps those it had."""
        if self.state in {MemberState.KILLED, MemberState.STOPPED}:
            return
        if self.process.returncode is not None:
            self.state = MemberState.ENDED
            return
        with suppress(OSError, TimeoutError, ValueError):
            self.read(await _scrape(self.port))
        if self.partitions:
            self.state = MemberState.CONSUMING

    def read(self, exposition: str) -> None:
        """Take the metrics from their text format."""
        self.partitions = self.lag = 0
        self.outcomes.clear()
        for sample in _SAMPLE.finditer(exposition):
            value = int(float(sample["value"]))
            match sample["name"]:
                case "consumer_partitions_assigned":
                    self.partitions = value
                case "consumer_lag_records":
                    self.lag += value
                case "consumer_records_total":
                    outcome = _OUTCOME.search(sample["labels"] or "")
                    self.outcomes[outcome[1] if outcome else "?"] += value

    async def kill(self) -> None:
        """End it as a crash does: nothing is drained and nothing committed."""
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()
        self.state, self.partitions, self.lag = MemberState.KILLED, 0, 0

    async def stop(self, patience: float) -> int:
        """Ask it to drain and end, and return its exit code."""
        code = await stop(self.process, patience)
        self.state, self.partitions = MemberState.STOPPED, 0
        return code

    def last_words(self) -> str:
        """Return what it logged last."""
        return last_line(self.log)


@asynccontextmanager
async def run_member(
    name: str, settings: Mapping[str, object], directory: Path
) -> AsyncIterator[Member]:
    """Run ``consumer run`` with these settings, and none from outside, until the body ends."""
    port, log = free_port(), directory / f"{name}.log"
    http = {"http.host": HOST, "http.port": port}
    command = with_settings({**settings, **http}, [sys.executable, "-m", "consumer", "run"])
    async with child_process(command, log=log) as process:
        yield Member(name, port, process, log)


async def _scrape(port: int) -> str:
    async with asyncio.timeout(_SCRAPE_SECONDS):
        reader, writer = await asyncio.open_connection(HOST, port)
        try:
            writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
            return (await reader.read()).decode()
        finally:
            writer.close()
