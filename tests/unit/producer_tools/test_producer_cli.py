"""What the command line answers before any broker is asked."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from consumer.errors import SettingsError
from producer_tools.producer_cli import app

RUNNER = CliRunner()
GOOD = '{"type":"session.created","sessionId":"s","language":"en"}'
NOBODY = ["--bootstrap-servers", "127.0.0.1:1"]


@pytest.mark.parametrize(
    "arguments", [[], ["publish"], ["generate"], ["load"], ["load", "chitchat"]], ids=" ".join
)
def test_every_command_explains_itself(arguments: list[str]) -> None:
    for option in ("--help", "-h"):
        result = RUNNER.invoke(app, [*arguments, option])
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


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xef\xbb\xbf" + GOOD.encode(), "1: undecodable: not a JSON object"),
        (GOOD.encode("utf-16"), "1: undecodable: not UTF-8"),
        (GOOD.replace('"en"', '"Grüße"').encode("latin-1"), "1: undecodable: not UTF-8"),
        (f"{GOOD}\r{GOOD}\r".encode(), "1: undecodable: more than a JSON object"),
        (json.dumps(json.loads(GOOD), indent=2).encode(), "1: undecodable: not JSON"),
        (f"[{GOOD},{GOOD}]".encode(), "1: undecodable: not a JSON object"),
        (f"{GOOD}\n".encode() + b"\0" * 100, "2: undecodable: not a JSON object"),
        (gzip.compress(GOOD.encode()), "1: undecodable: not UTF-8"),
    ],
    ids=["BOM", "UTF-16", "Latin-1", "CR", "pretty-printed", "array", "NUL", "gzip"],
)
def test_c48_a_file_of_another_form_is_refused_by_its_line_and_none_of_it_is_sent(
    tmp_path: Path, content: bytes, said: str
) -> None:
    file = tmp_path / "messages.ndjson"
    file.write_bytes(content)
    result = RUNNER.invoke(app, ["publish", str(file), "--json", *NOBODY])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"{file}:{said}")
    assert json.loads(result.stdout)["published"] == 0


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


TOOLS = [sys.executable, "-m", "producer_tools"]
FULL = Path("/dev/full")
needs_a_full_disk = pytest.mark.skipif(
    not FULL.exists(), reason="only Linux has a file that is full"
)


def run(arguments: Sequence[str], **how: Any) -> subprocess.CompletedProcess[str]:
    how = {"stdout": subprocess.PIPE} | how
    return subprocess.run(
        [*TOOLS, *arguments], stderr=subprocess.PIPE, text=True, check=False, timeout=60, **how
    )


def wrong_lines(tmp_path: Path) -> str:
    file = tmp_path / "messages.ndjson"
    file.write_text("nonsense\n")
    return str(file)


@needs_a_full_disk
@pytest.mark.reliability("F86")
def test_a_full_disk_is_one_line_and_a_code_of_its_own(tmp_path: Path) -> None:
    said = "producer-tools: standard output cannot be written (No space left on device)"
    for arguments in (["generate", "--sessions=1"], ["publish", wrong_lines(tmp_path), *NOBODY]):
        with FULL.open("w") as full:
            ran = run(arguments, stdout=full)
        assert ran.returncode == 3
        assert ran.stderr.splitlines()[-1] == said
        assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.reliability("F86")
def test_the_exit_code_holds_where_nobody_reads_the_result(tmp_path: Path, unbuffered: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    arguments = ["publish", wrong_lines(tmp_path), "--json", *NOBODY]
    ran = run(arguments, stdout=writing, env=os.environ | {"PYTHONUNBUFFERED": unbuffered})
    os.close(writing)
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1].startswith("producer-tools: nothing was published")


@pytest.mark.reliability("F86")
def test_a_closed_standard_input_is_one_line() -> None:
    ran = run(["publish", "-", *NOBODY], preexec_fn=lambda: os.close(0))
    said = "producer-tools: standard input is closed; give a file, or something to read\n"
    assert (ran.returncode, ran.stderr) == (2, said)


@pytest.mark.reliability("F86")
def test_a_closed_standard_output_is_no_reason_to_fail() -> None:
    ran = run(["generate", "--sessions=1"], preexec_fn=lambda: os.close(1))
    assert (ran.returncode, json.loads(ran.stderr)["sessions"]) == (0, 1)


@needs_a_full_disk
@pytest.mark.reliability("F86")
def test_the_expected_end_state_stays_as_it_was_where_the_messages_were_not_all_written(
    tmp_path: Path,
) -> None:
    expect = tmp_path / "expect.json"
    expect.write_text("old")
    with FULL.open("w") as full:
        assert run(["generate", f"--expect={expect}"], stdout=full).returncode == 3
    assert expect.read_text() == "old"
    assert list(tmp_path.iterdir()) == [expect]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.reliability("F86")
def test_an_interrupted_generation_says_what_was_written_and_leaves_the_old_end_state(
    tmp_path: Path, number: signal.Signals
) -> None:
    expect = tmp_path / "expect.json"
    expect.write_text("old")
    command = [*TOOLS, "generate", "--rate=0.01", f"--expect={expect}"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts what runs in the background with SIGINT ignored, and so its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 -- no more
    ) as running:
        try:
            assert running.stdout is not None
            assert json.loads(running.stdout.readline())["type"] == "session.created"
            running.send_signal(number)
            _, said = running.communicate(timeout=60)
        finally:
            running.kill()
    assert running.returncode == 128 + number
    assert said == "producer-tools: interrupted; 1 lines were written\n"
    assert expect.read_text() == "old"
    assert list(tmp_path.iterdir()) == [expect]


@pytest.mark.reliability("F86")
def test_the_end_state_replaces_what_a_link_leads_to(tmp_path: Path) -> None:
    expect, link = tmp_path / "expect.json", tmp_path / "link"
    expect.write_text("old")
    expect.chmod(0o640)
    link.symlink_to(expect.name)
    result = RUNNER.invoke(app, ["generate", "--sessions=5", f"--expect={link}"])
    assert result.exit_code == 0
    assert link.is_symlink()
    assert json.loads(expect.read_text())["sessions"] == 5
    assert expect.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    "expect", [pytest.param("/dev/full", marks=needs_a_full_disk), "/no/such/directory/file"]
)
def test_an_end_state_that_cannot_be_written_is_one_line(expect: str) -> None:
    result = RUNNER.invoke(app, ["generate", "--sessions", "1", "--expect", expect])
    assert isinstance(result.exception, SettingsError)
    assert str(result.exception).startswith(f"--expect {expect} cannot be written (")
