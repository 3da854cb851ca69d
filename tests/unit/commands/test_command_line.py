"""What all commands of both programs have in common, and answer without any server."""

from __future__ import annotations

import asyncio
import gc
import io
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from consumer import __version__, cli, cli_options, signals
from consumer.__main__ import LOADING_THRESHOLD
from consumer.cli_options import GC_THRESHOLD
from consumer.commands import check
from consumer.commands.dead_letters import list_and_show
from consumer.contract.record import Position
from consumer.errors import ExitCode
from producer_tools import producer_cli

PROGRAMS = {"consumer": cli.app, "producer-tools": producer_cli.app}
NO_SETTING = {"CONSUMER_NO_SUCH_SETTING": "refuses whatever would begin"}


async def nothing_found(_: Any) -> tuple[()]:
    return ()


def commands_of(command: Any, *names: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield names, command
        return
    for name, one in inner.items():
        yield from commands_of(one, *names, name)


COMMANDS = {
    " ".join(names): command
    for program, app in PROGRAMS.items()
    for names, command in commands_of(typer.main.get_command(app), program)
}


@pytest.mark.parametrize("run", [asyncio.run, signals.run_interruptible])
def test_a_command_ends_although_a_thread_still_looks_up_a_name(
    run: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    found, ended = threading.Event(), threading.Event()

    def look_up() -> None:
        found.wait(10)
        ended.set()

    async def command() -> int:
        asyncio.get_running_loop().run_in_executor(None, look_up)
        return 3

    monkeypatch.setattr(cli_options, "freeze_loaded_objects", lambda: None)
    try:
        with pytest.raises(typer.Exit) as raised:
            cli_options.finish(command(), run)
        assert raised.value.exit_code == 3
        assert not ended.is_set()
    finally:
        found.set()


def options_of(name: str) -> set[str]:
    return {option for parameter in COMMANDS[name].params for option in parameter.opts}


def run(program: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", program.replace("-", "_"), *arguments],
        env=os.environ | NO_SETTING | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_all_commands_are_looked_at() -> None:
    assert {"consumer run", "consumer dead-letters redrive", "producer-tools load chitchat"} < set(
        COMMANDS
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_with_an_example(name: str) -> None:
    example = (COMMANDS[name].help or "").partition(f"Example: `{name}")[2]
    assert example, "no example of this command"
    options = {word for word in example.partition("`")[0].split() if word.startswith("--")}
    assert options <= options_of(name)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_that_reads_settings_takes_any_of_them(name: str) -> None:
    reads = {"--bootstrap-servers", "--mongo-uri", "--group-id"} & options_of(name)
    assert "--set" in options_of(name) or not reads


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_setting_that_is_not_name_equals_value_is_not_repeated(program: str) -> None:
    command = {"consumer": "check", "producer-tools": "verify"}[program]
    refused = run(program, command, "--set", "hunter2")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == f"{program}: --set: one of them is not NAME=VALUE\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("rnu", "No such command 'rnu'. Did you mean 'run'? (consumer -h)"),
        ("show", "Missing argument 'SESSION_ID'. (consumer show -h)"),
        ("status --json --jsn", "No such option: --jsn ("),
        ("init --partitions 0", "Invalid value for '--partitions': "),
        ("check --set", "Option '--set' requires an argument."),
        (
            "dead-letters list --letter x",
            "Invalid value for '--letter': 'x' is not PARTITION, ",
        ),
    ],
)
def test_a_wrong_command_line_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, arguments: str, expected: str
) -> None:
    monkeypatch.setattr("sys.argv", ["consumer", *arguments.split()])
    code, words = signals.run_app(cli.app, "consumer")
    assert code == ExitCode.USAGE
    (line,) = words.splitlines()
    assert line.startswith(f"consumer: {expected}")


def test_a_uri_that_the_driver_does_not_take_is_a_wrong_setting_for_check_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(check, "_check_kafka", nothing_found)
    monkeypatch.setattr("sys.argv", ["consumer", "check", "--mongo-uri", "mongodb://h:port/"])
    code, words = signals.run_app(cli.app, "consumer")
    assert code == ExitCode.USAGE
    (line,) = words.splitlines()
    assert line.startswith("consumer: mongo.uri: ")


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_setting_of_the_command_line_wins_over_the_environment(program: str) -> None:
    command = {"consumer": "check", "producer-tools": "verify"}[program]
    refused = run(
        program, command, "--set", "kafka.request_timeout=soon", CONSUMER_NO_SUCH_SETTING="",
        CONSUMER_KAFKA__REQUEST_TIMEOUT="5",
    )  # fmt: skip
    assert refused.returncode == 2
    assert "kafka.request_timeout: 'soon' is not allowed" in refused.stderr


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_tells_its_version_whatever_the_settings_are(program: str) -> None:
    told = run(program, "--version")
    assert (told.returncode, told.stdout, told.stderr) == (0, f"{__version__}\n", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_prints_what_completes_its_commands_in_a_shell(program: str, shell: str) -> None:
    variable = f"_{program.replace('-', '_').upper()}_COMPLETE"
    printed = run(program, **{variable: f"source_{shell}"})
    assert (printed.returncode, printed.stderr) == (0, "")
    assert variable in printed.stdout
    if found := shutil.which(shell):
        checked = [found, "-n"] if shell != "fish" else [found, "--no-execute"]
        assert subprocess.run(checked, input=printed.stdout, text=True, check=False).returncode == 0


def test_commands_and_options_are_completed() -> None:
    def completed(*words: str) -> list[str]:
        printed = run(
            "consumer", _CONSUMER_COMPLETE="complete_bash",
            COMP_WORDS=" ".join(words), COMP_CWORD=str(len(words) - 1),
        )  # fmt: skip
        assert printed.stderr == ""
        return printed.stdout.split()

    assert completed("consumer", "sta") == ["status"]
    assert completed("consumer", "dead-letters", "re") == ["redrive"]
    assert completed("consumer", "status", "--wa") == ["--watch"]


@pytest.mark.parametrize("width", [80, 60])
@pytest.mark.reliability("F97")
def test_where_a_dead_letter_lies_is_never_cut(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr(
        list_and_show, "console", lambda: Console(file=written, force_terminal=True, width=width)
    )
    groups = list_and_show.DeadLetterGroups()
    for number in range(3):
        place = Position("dlq", 11, 1234567 + number)
        groups[str(number),] = list_and_show.DeadLetterGroup(
            "waiting", "unsupported_version", "conversation.a-topic-with-a-long-name",
            "2026-03-04T10:00:00.000Z", 12345, 1234, 0, 3, place,
        )  # fmt: skip
    list_and_show.print_groups(groups, with_state=True, as_json=False)
    shown = written.getvalue().split()
    assert [f"11:{1234567 + n}" in shown for n in range(3)] == [True] * 3


@pytest.fixture
def loading() -> Iterator[None]:
    """Let the collector of garbage be as while modules are loaded."""
    before = gc.get_threshold()
    gc.set_threshold(LOADING_THRESHOLD)
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


@pytest.mark.usefixtures("loading")
@pytest.mark.parametrize(
    ("arguments", "work"),
    [
        ("check", "consumer.commands.check.check_everything"),
        ("dead-letters list", "consumer.commands.dead_letters.list_and_show.list_dead_letters"),
        ("demo", "consumer.demo.demo.run_demo"),
        ("demo --serve", "consumer.demo.demo.run_servers"),
    ],
)
def test_garbage_is_looked_for_while_a_command_works(
    monkeypatch: pytest.MonkeyPatch, arguments: str, work: str
) -> None:
    thresholds = []

    def look(*_: object, **__: object) -> int:
        thresholds.append(gc.get_threshold()[0])
        return 0

    async def look_in_a_loop(*_: object, **__: object) -> int:
        return look()

    monkeypatch.setattr(work, look if "demo" in arguments else look_in_a_loop)
    CliRunner().invoke(cli.app, arguments, catch_exceptions=False)
    assert thresholds == [GC_THRESHOLD]
