"""Three brokers and a database of one's own, which may be harmed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tests.servers.control import Script
from tests.servers.provision import KAFKA_CONTROL, MONGODB_CONTROL

BROKERS = 3
UP_SECONDS = 180.0

BROKER_PROPERTIES = (
    "broker.session.timeout.ms=3000",
    "unclean.leader.election.enable=false",
)


class Database(StrEnum):
    """Which of the script's two servers; both must keep what they acknowledged when killed."""

    PYTHON = "python"
    RUST = "rust"


_OPTIONS = {
    Database.PYTHON: ("--python",),
    Database.RUST: ("--", "--sync-on-commit"),
}


class NoServersError(LookupError):
    """No script is named that could run servers."""


@dataclass(frozen=True, slots=True)
class Servers:
    """Where they are, and the scripts that harm them. Harm is done on another thread."""

    bootstrap_servers: str
    mongodb_uri: str
    kafka: Script
    mongodb: Script

    async def restore(self) -> None:
        """Let every server run again."""
        await asyncio.to_thread(self.kafka.restore)
        await asyncio.to_thread(self.mongodb.restore)


@asynccontextmanager
async def running_servers(database: Database) -> AsyncIterator[Servers]:
    """Run the servers, empty, until the context ends. Raises ``NoServersError``."""
    kafka_script, mongodb_script = _script(KAFKA_CONTROL), _script(MONGODB_CONTROL)
    properties = [word for one in BROKER_PROPERTIES for word in ("--set", one)]
    options = ("--brokers", str(BROKERS), *properties)
    with (
        tempfile.TemporaryDirectory(prefix="chaos-") as made,
        _up(kafka_script, Path(made) / "kafka", *options) as bootstrap_servers,
        _up(mongodb_script, Path(made) / "mongodb", *_OPTIONS[database]) as uri,
    ):
        yield Servers(
            bootstrap_servers,
            uri,
            Script(kafka_script, str(Path(made) / "kafka"), numbered=True),
            Script(mongodb_script, str(Path(made) / "mongodb"), numbered=False),
        )


def _script(variable: str) -> Path:
    named = os.environ.get(variable)
    if not named:
        raise NoServersError(f"{variable} names no script that starts and harms servers")
    return Path(named)


@contextmanager
def _up(script: Path, directory: Path, *options: str) -> Iterator[str]:
    where = ("--dir", str(directory))
    try:
        said = subprocess.run(
            [script, "up", "--port", "0", *where, *options],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            timeout=UP_SECONDS,
        ).stdout
        yield said.splitlines()[-1]
    finally:
        subprocess.run([script, "down", "--purge", *where], check=False, timeout=UP_SECONDS)
