"""Find or start a Kafka and a MongoDB for the tests, in this order.

1. The one that ``TEST_KAFKA_BOOTSTRAP_SERVERS`` or ``TEST_MONGODB_URI`` names.
2. A container, where ``docker version`` answers.
3. An embedded one: a process of the wheels of the extra ``demo``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

from tests.servers.control import Control, NoControl, Script

KAFKA_VARIABLE = "TEST_KAFKA_BOOTSTRAP_SERVERS"
MONGODB_VARIABLE = "TEST_MONGODB_URI"
KAFKA_CONTROL = "TEST_KAFKA_CONTROL"
MONGODB_CONTROL = "TEST_MONGODB_CONTROL"


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


def kind_of(variable: str) -> Kind:
    """Say where the server comes from that ``variable`` may name, without starting any."""
    if os.environ.get(variable):
        return Kind.GIVEN
    return Kind.CONTAINER if docker_answers() else Kind.EMBEDDED


@contextmanager
def kafka(directory: Path) -> Iterator[Server]:
    """Run a Kafka, or a likeness, for as long as the context is open."""
    kind = kind_of(KAFKA_VARIABLE)
    match kind:
        case Kind.GIVEN:
            yield Server(kind, "Kafka", os.environ[KAFKA_VARIABLE], _script(KAFKA_CONTROL))
        case Kind.CONTAINER:
            from tests.servers import containers  # noqa: PLC0415 -- needed only where Docker is

            with containers.kafka() as address:
                yield Server(kind, containers.KAFKA_IMAGE, address, NoControl())
        case Kind.EMBEDDED:
            from tests.servers import embedded  # noqa: PLC0415 -- its wheels are not everywhere

            with embedded.tansu(directory) as address:
                yield Server(kind, "Tansu", address, NoControl())


@contextmanager
def mongodb(directory: Path) -> Iterator[Server]:
    """Run a MongoDB, or a likeness, for as long as the context is open."""
    kind = kind_of(MONGODB_VARIABLE)
    match kind:
        case Kind.GIVEN:
            uri = os.environ[MONGODB_VARIABLE]
            yield Server(kind, "MongoDB", uri, _script(MONGODB_CONTROL))
        case Kind.CONTAINER:
            from tests.servers import containers  # noqa: PLC0415 -- needed only where Docker is

            with containers.mongodb() as uri:
                yield Server(kind, containers.MONGODB_IMAGE, uri, NoControl())
        case Kind.EMBEDDED:
            from tests.servers import embedded  # noqa: PLC0415 -- its wheels are not everywhere

            with embedded.secantus(directory) as (uri, control):
                yield Server(kind, "SecantusDB", uri, control)


def _script(variable: str) -> Control:
    """Control a given server by the script that ``variable`` names, with its ``_DIR``."""
    script = os.environ.get(variable)
    if not script:
        return NoControl()
    return Script(Path(script), os.environ[f"{variable}_DIR"], numbered=variable == KAFKA_CONTROL)
