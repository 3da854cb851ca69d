"""Two signals: the first asks for a drain, the second does not wait for it."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from consumer.errors import ExitCode

STUCK = """
import asyncio, time
from consumer.signals import stop_on_signal

async def main():
    stop = asyncio.Event()
    stop_on_signal(stop, lambda number: print(number.name, flush=True))
    print("ready", flush=True)
    await stop.wait()
    {then}

asyncio.run(main())
print("drained", flush=True)
"""
"""A process that does something once it was asked to stop."""


def start(then: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", STUCK.format(then=then)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert said(process) == "ready"
    return process


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_asks_for_a_drain_and_is_told(number: signal.Signals) -> None:
    with start("pass") as process:
        process.send_signal(number)
        assert said(process) == number.name
        assert said(process) == "drained"
    assert process.returncode == ExitCode.DONE


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("then", ["await asyncio.Event().wait()", "time.sleep(60)"])
def test_the_second_ends_the_process_at_once_even_where_it_is_stuck(
    second: signal.Signals, then: str
) -> None:
    with start(then) as process:
        process.send_signal(signal.SIGTERM)
        assert said(process) == "SIGTERM"
        process.send_signal(second)
        assert process.wait(timeout=10) == ExitCode.SECOND_SIGNAL
