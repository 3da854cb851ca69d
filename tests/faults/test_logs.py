"""Nobody reads the log, or nobody can: records are consumed all the same."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumer.errors import ExitCode
from tests.builders import event
from tests.e2e.environment import Environment
from tests.e2e.processes import Fleet
from tests.model import problems

pytestmark = pytest.mark.real_kafka

RECORDS = 2000


@pytest.fixture
def full_pipe() -> Iterator[int]:
    """The end for writing of a pipe that is full, and that nobody reads."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, b"x" * 65536)
    except BlockingIOError:
        os.set_blocking(writing, True)
    yield writing
    os.close(writing)
    os.close(reading)


@pytest.fixture
def full_disk() -> Iterator[int]:
    """A file on a disk without any room."""
    descriptor = os.open("/dev/full", os.O_WRONLY)
    yield descriptor
    os.close(descriptor)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("target", ["full_pipe", "full_disk"])
@pytest.mark.reliability("F43")
async def test_a_log_that_cannot_be_written_stops_nothing(
    environment: Environment, fleet: Fleet, request: pytest.FixtureRequest, target: str
) -> None:
    descriptor: int = request.getfixturevalue(target)
    sent = await environment.publish([event(f"s-{n % 7}", f"e-{n}") for n in range(RECORDS)])
    command = ("-m", "consumer", "run", "--exit-when-caught-up")
    service = await fleet.launch(*command, output=descriptor)
    assert await fleet.ended(service, seconds=60) == ExitCode.DONE
    assert problems(sent, *await environment.documents(), []) == []


@pytest.mark.reliability("F43")
async def test_a_closed_log_stops_nothing(environment: Environment, fleet: Fleet) -> None:
    sent = await environment.publish([event(f"s-{n % 7}", f"e-{n}") for n in range(RECORDS)])
    command = (
        "import os, sys; os.close(1); os.close(2); "
        "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    run = ("-m", "consumer", "run", "--exit-when-caught-up")
    service = await fleet.launch("-c", command, *run)
    assert await fleet.ended(service, seconds=60) == ExitCode.DONE
    assert problems(sent, *await environment.documents(), []) == []
