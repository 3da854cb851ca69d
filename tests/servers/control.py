"""Doing harm to a server on purpose: kill it, freeze it, bring it back."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

READY_DEADLINE = 60.0


class Control(Protocol):
    """What can be done to a server. ``broker`` counts from 1 where there are several."""

    possible: bool

    def kill(self, broker: int = 1) -> None:
        """SIGKILL: no goodbye, no flush."""

    def freeze(self, broker: int = 1) -> None:
        """SIGSTOP: connections stay open and nothing answers."""

    def thaw(self, broker: int = 1) -> None:
        """SIGCONT: go on as if nothing had been."""

    def start(self, broker: int = 1) -> None:
        """Start what was killed, on the same data and port, and wait until it answers."""

    def restore(self) -> None:
        """Thaw and start everything that a test left frozen or dead."""


class NoControl:
    """A server that tests must leave alone."""

    possible = False

    def kill(self, broker: int = 1) -> None:
        raise LookupError(broker)

    freeze = thaw = start = kill

    def restore(self) -> None:
        """Nothing was harmed."""


class Script:
    """Servers run by a script with the verbs kill, stop, cont, start and status, and ``--dir``."""

    possible = True

    def __init__(self, script: Path, directory: str, *, numbered: bool) -> None:
        """``numbered``: the verbs take a broker's number."""
        self._script = script
        self._directory = directory
        self._numbered = numbered

    def kill(self, broker: int = 1) -> None:
        self._run("kill", broker)

    def freeze(self, broker: int = 1) -> None:
        self._run("stop", broker)

    def thaw(self, broker: int = 1) -> None:
        self._run("cont", broker)

    def start(self, broker: int = 1) -> None:
        self._run("start", broker)

    def restore(self) -> None:
        if not self._numbered:
            if self._status().returncode == 0:
                self.thaw()
            self.start()  # one that runs is left alone
            return
        for number, state in re.findall(r"^(\d) (\w+)", self._status().stdout, re.MULTILINE):
            if state == "stopped":
                self.thaw(int(number))
            elif state == "down":
                self.start(int(number))

    def _run(self, verb: str, broker: int) -> None:
        subprocess.run(
            [self._script, verb, "--dir", self._directory, *([str(broker)] * self._numbered)],
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=READY_DEADLINE + 30,
        )

    def _status(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self._script, "status", "--dir", self._directory],
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )


class Process:
    """A server that the tests themselves started."""

    possible = True

    def __init__(self, command: Sequence[str | Path], port: int, log: Path) -> None:
        self._command = command
        self._port = port
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, broker: int = 1) -> None:
        assert broker == 1
        if self._process is not None and self._process.poll() is None:
            return
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_until(self._answers, f"no answer on port {self._port}, see {self._log}")

    def kill(self, broker: int = 1) -> None:
        self._signal(signal.SIGKILL, broker)
        assert self._process is not None
        self._process.wait()

    def freeze(self, broker: int = 1) -> None:
        self._signal(signal.SIGSTOP, broker)

    def thaw(self, broker: int = 1) -> None:
        self._signal(signal.SIGCONT, broker)

    def restore(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.thaw()
        self.start()

    def end(self) -> None:
        """Stop it for good."""
        if self._process is None or self._process.poll() is not None:
            return
        self._signal(signal.SIGCONT, 1)
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()

    def _signal(self, number: signal.Signals, broker: int) -> None:
        assert broker == 1
        assert self._process is not None
        self._process.send_signal(number)

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(
                f"it ended at once:\n{self._log.read_text(errors='replace')[-2000:]}"
            )
        try:
            socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
        except OSError:
            return False
        return True


def wait_until(condition: Callable[[], bool], complaint: str) -> None:
    """Ask until the condition holds; servers of other processes offer no event to wait for."""
    deadline = time.monotonic() + READY_DEADLINE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(complaint)
        time.sleep(0.05)
