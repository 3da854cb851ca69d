"""The demo shows what it promises, and says so by its exit code."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_demo_kills_a_consumer_and_everything_agrees() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "consumer", "demo", "--sessions", "150"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=220,
    )
    assert ran.returncode == 0, ran.stdout
    assert "consumer-1, with" in ran.stdout
    assert "sessions: expected 150, found 150: ok" in ran.stdout
    assert "dead letters: expected 0, found 0: ok" in ran.stdout
    assert "Everything agrees." in ran.stdout


def test_a_demo_that_is_terminated_takes_everything_with_it() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "consumer", "demo", "--sessions", "50"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if line.startswith("publish the first half"):
                break
        running.terminate()
        said = running.stdout.read()
        assert running.wait(60) == 128 + signal.SIGTERM, said
    assert "terminated" in said
