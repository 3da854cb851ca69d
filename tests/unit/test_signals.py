"""Two signals: the first asks for a drain, the second does not wait for it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

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


@contextmanager
def started(then: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", STUCK.format(then=then)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert said(process) == "ready"
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_asks_for_a_drain_and_is_told(number: signal.Signals) -> None:
    with started("pass") as process:
        process.send_signal(number)
        assert said(process) == number.name
        assert said(process) == "drained"
        assert process.wait(timeout=10) == ExitCode.DONE


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("then", ["await asyncio.Event().wait()", "while True: time.sleep(0.1)"])
def test_the_second_ends_the_process_at_once_even_where_it_is_stuck(
    second: signal.Signals, then: str
) -> None:
    with started(then) as process:
        process.send_signal(signal.SIGTERM)
        assert said(process) == "SIGTERM"
        process.send_signal(second)
        assert process.wait(timeout=5) == ExitCode.SECOND_SIGNAL


RESUMABLE = """
import asyncio, os, signal
from consumer.signals import resume_on_signal

async def main():
    resumed = asyncio.Event()
    resume_on_signal(resumed.set)
    os.kill(os.getpid(), signal.SIGUSR1)
    await resumed.wait()

asyncio.run(main())
os.kill(os.getpid(), signal.SIGUSR1)
print("alive", flush=True)
"""


@pytest.mark.reliability("F57")
def test_sigusr1_resumes_while_the_loop_runs_and_kills_nobody_once_it_has_ended() -> None:
    done = subprocess.run(
        [sys.executable, "-c", RESUMABLE], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr


@pytest.mark.reliability("F57")
def test_sigusr1_while_the_consumer_waits_for_its_servers_is_told_and_ends_nothing() -> None:
    unanswered = ("kafka.bootstrap_servers=127.0.0.1:9", "engine.startup_timeout=60")
    command = [sys.executable, "-m", "consumer", "run", "--set", "log.format=json"]
    for assignment in unanswered:
        command += ["--set", assignment]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            assert any("waiting_for_server" in line for line in process.stderr)
            process.send_signal(signal.SIGUSR1)
            assert any("nothing_to_resume" in line for line in process.stderr)
            process.send_signal(signal.SIGTERM)
            last = json.loads(list(process.stderr)[-1])
            assert (last["event"], last["end"]) == ("ended", "stopped")
            assert process.wait(timeout=20) == ExitCode.DONE
        finally:
            process.kill()
