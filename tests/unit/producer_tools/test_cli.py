"""What the command line answers before any broker is asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from consumer.errors import SettingsError
from producer_tools.cli import app

RUNNER = CliRunner()
GOOD = '{"type":"session.created","sessionId":"s","language":"en"}'
NOBODY = ["--bootstrap-servers", "127.0.0.1:1"]


@pytest.mark.parametrize(
    "arguments", [[], ["publish"], ["generate"], ["load"], ["load", "chitchat"]], ids=" ".join
)
def test_every_command_explains_itself(arguments: list[str]) -> None:
    result = RUNNER.invoke(app, [*arguments, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_a_file_with_wrong_lines_is_refused_as_a_whole_and_no_broker_is_asked(
    tmp_path: Path,
) -> None:
    file = tmp_path / "messages.ndjson"
    file.write_text(f"{GOOD}\nnonsense\n\n{GOOD}\n{{}}\n")
    result = RUNNER.invoke(app, ["publish", str(file), "--json", *NOBODY])
    assert result.exit_code == 1
    complaints = result.stderr.splitlines()
    assert complaints[0].startswith(f"{file}:2: undecodable: ")
    assert complaints[1] == f"{file}:5: invalid: type: missing"
    summary = json.loads(result.stdout)
    assert (summary["published"], summary["rejected"]) == (0, 2)


def test_results_are_plain_lines_where_nobody_asks_for_json(tmp_path: Path) -> None:
    file = tmp_path / "messages.ndjson"
    file.write_text("nonsense\n")
    result = RUNNER.invoke(app, ["publish", str(file), *NOBODY])
    assert result.stdout.splitlines()[:2] == ["published: 0", "rejected: 1"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["publish", "no-such-file"],
        ["publish", "/"],
        ["publish"],
        ["generate", "--malformed", "2"],
        ["generate", "--to", "nowhere"],
        ["generate", "--expect", "/no/such/directory/file"],
        ["load", "chitchat", "--limit", "0"],
        ["no-such-command"],
    ],
    ids=" ".join,
)
def test_wrong_usage_has_an_exit_code_of_its_own(arguments: list[str]) -> None:
    assert RUNNER.invoke(app, arguments).exit_code == 2


def test_generated_messages_are_lines_and_what_must_come_of_them_goes_to_a_file(
    tmp_path: Path,
) -> None:
    expect = tmp_path / "expect.json"
    result = RUNNER.invoke(app, ["generate", "--sessions", "5", "--expect", str(expect)])
    assert result.exit_code == 0
    messages = [json.loads(line) for line in result.stdout.splitlines()]
    end_state = json.loads(expect.read_text())
    assert end_state["sessions"] == 5
    assert end_state["records"] == len(messages)


def test_what_must_come_of_generated_messages_is_else_the_only_thing_on_standard_error() -> None:
    result = RUNNER.invoke(app, ["generate", "--sessions", "2"])
    assert json.loads(result.stderr)["sessions"] == 2


def test_generated_messages_can_be_published_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "generated.ndjson"
    made = RUNNER.invoke(app, ["generate", "--sessions", "20", "--malformed", "0.5"])
    file.write_bytes(made.stdout_bytes)
    result = RUNNER.invoke(app, ["publish", str(file), "--json", *NOBODY])
    assert json.loads(result.stdout)["rejected"] == json.loads(made.stderr)["malformed"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a file that is full")
def test_an_end_state_that_cannot_be_written_is_one_line() -> None:
    result = RUNNER.invoke(app, ["generate", "--sessions", "1", "--expect", "/dev/full"])
    assert isinstance(result.exception, SettingsError)
    assert str(result.exception).startswith("--expect /dev/full cannot be written (")
