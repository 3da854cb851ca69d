"""The compose file, for real: three consumers share what the tools publish, and stop in time.

Builds the image, so it runs only where ``TEST_COMPOSE`` is set.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.control import wait_until

ROOT = Path(__file__).parents[2]
SESSIONS = 300
CONSUMERS = 3

METRICS = (
    'import urllib.request as r; print(r.urlopen("http://127.0.0.1:8080/metrics").read().decode())'
)

pytestmark = [
    pytest.mark.container,
    pytest.mark.slow,
    pytest.mark.timeout(900, func_only=False),
    pytest.mark.skipif(not os.environ.get("TEST_COMPOSE"), reason="TEST_COMPOSE is not set"),
]


class Project:
    """One run of the compose file under a name of its own."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, *arguments: str, check: bool = True) -> str:
        ran = subprocess.run(
            ["docker", "compose", "--project-name", self._name, *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=None if check else subprocess.DEVNULL,
            text=True,
            check=check,
        )
        return ran.stdout

    def counts(self, consumer: int) -> Counter[str]:
        """The records that one consumer has settled, by outcome."""
        text = self("exec", "-T", f"--index={consumer}", "consumer", "python3", "-c", METRICS)
        counts = Counter[str]()
        for line in text.splitlines():
            if line.startswith("consumer_records_total{"):
                outcome = line.partition('outcome="')[2].partition('"')[0]
                counts[outcome] += int(float(line.rpartition(" ")[2]))
        return counts


@pytest.fixture
def project(unique_name: str) -> Iterator[Project]:
    project = Project(unique_name)
    try:
        project("up", "--build", "--detach", "--wait", f"--scale=consumer={CONSUMERS}")
        yield project
    finally:
        project("down", "--volumes", "--remove-orphans", check=False)


def test_consumers_in_containers_share_the_work_and_stop_with_exit_code_0(project: Project) -> None:
    said = project(
        "run", "--rm", "-T", "tools", "generate", f"--sessions={SESSIONS}", "--to=kafka", "--json"
    )
    published = json.loads(said.splitlines()[-1])["records"]

    def settled() -> list[Counter[str]]:
        return [project.counts(index) for index in range(1, CONSUMERS + 1)]

    wait_until(
        lambda: sum(counts.total() for counts in settled()) >= published,
        f"not all of {published} records were settled: {settled()}",
    )
    assert sum(settled(), Counter()) == {"applied": published}
    assert all(counts["applied"] > 0 for counts in settled())

    project("stop", "consumer")
    ended = [
        json.loads(line)
        for line in project("ps", "--all", "--format=json", "consumer").splitlines()
    ]
    assert [state["ExitCode"] for state in ended] == [0] * CONSUMERS
