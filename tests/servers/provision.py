"""Find or start a Kafka and a MongoDB for the tests, in this order.

1. The one that ``TEST_KAFKA_BOOTSTRAP_SERVERS`` or ``TEST_MONGODB_URI`` names.
2. A container, where ``docker version`` answers and the image can be had.
3. An embedded one: a process of the wheels of the extra ``demo``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

from tests.servers.control import Control, NoControl, Script

KAFKA_VARIABLE = "TEST_KAFKA_BOOTSTRAP_SERVERS"
MONGODB_VARIABLE = "TEST_MONGODB_URI"
KAFKA_CONTROL = "TEST_KAFKA_CONTROL"
MONGODB_CONTROL = "TEST_MONGODB_CONTROL"


class ContainerWarning(UserWarning):
    """Docker answers and yet a container does not start; the tests go on without it."""


class Kind(StrEnum):
    """Where a server comes from."""

    GIVEN = "given"
    CONTAINER = "container"
    EMBEDDED = "embedded"


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs, and how to reach it."""

    kind: Kind
    what: str
    address: str
    control: Control

    def __str__(self) -> str:
        return f"{self.what} ({self.kind}) at {self.address}"


@cache
def docker_answers() -> bool:
    """Whether a Docker engine can be used here."""
    if shutil.which("docker") is None:
        return False
    asked = subprocess.run(["docker", "version"], capture_output=True, check=False, timeout=20)
    return asked.returncode == 0


@contextmanager
def kafka(directory: Path) -> Iterator[Server]:
    """Run a Kafka, or a likeness, for as long as the context is open."""
    with ExitStack() as stack:
        given = os.environ.get(KAFKA_VARIABLE)
        if given:
            yield Server(Kind.GIVEN, "Kafka", given, _script(KAFKA_CONTROL))
        elif address := _contained(stack, "kafka"):
            yield Server(Kind.CONTAINER, "Kafka", address, NoControl())
        else:
            from tests.servers import embedded  # noqa: PLC0415 -- its wheels are not everywhere

            address = stack.enter_context(embedded.tansu(directory))
            yield Server(Kind.EMBEDDED, "Tansu", address, NoControl())


@contextmanager
def mongodb(directory: Path) -> Iterator[Server]:
    """Run a MongoDB, or a likeness, for as long as the context is open."""
    with ExitStack() as stack:
        given = os.environ.get(MONGODB_VARIABLE)
        if given:
            yield Server(Kind.GIVEN, "MongoDB", given, _script(MONGODB_CONTROL))
        elif uri := _contained(stack, "mongodb"):
            yield Server(Kind.CONTAINER, "MongoDB", uri, NoControl())
        else:
            from tests.servers import embedded  # noqa: PLC0415 -- its wheels are not everywhere

            uri, control = stack.enter_context(embedded.secantus(directory))
            yield Server(Kind.EMBEDDED, "SecantusDB", uri, control)


def _contained(stack: ExitStack, server: str) -> str | None:
    """Start a container and return its address; None where there is no Docker, or no image."""
    if not docker_answers():
        return None
    from tests.servers import containers  # noqa: PLC0415 -- needed only where Docker is

    start = {"kafka": containers.kafka, "mongodb": containers.mongodb}[server]
    try:
        return stack.enter_context(start())
    except Exception as error:  # noqa: BLE001 -- no image, no network, no room: all the same here
        warnings.warn(f"no container of {server}: {error!r}", ContainerWarning, stacklevel=2)
        return None


def _script(variable: str) -> Control:
    """Control a given server by the script that ``variable`` names, with its ``_DIR``."""
    script = os.environ.get(variable)
    if not script:
        return NoControl()
    return Script(Path(script), os.environ[f"{variable}_DIR"], numbered=variable == KAFKA_CONTROL)
