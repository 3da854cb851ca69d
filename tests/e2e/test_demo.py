"""The demo shows what it promises, and says so by its exit code."""

from __future__ import annotations

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
