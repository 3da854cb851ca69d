"""The log as its reader gets it."""

from __future__ import annotations

import json
import logging
import math
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from structlog.testing import capture_logs

from consumer.errors import TransientError
from consumer.observability.log_writer import MOST_WAITING
from consumer.observability.logs import (
    MOST_KEYS,
    REPEAT_INTERVAL,
    LibraryHandler,
    Repeats,
    configure_logging,
    get_logger,
)
from consumer.settings.model import LogSettings, MongoSettings, Settings
from consumer.settings.values import LogFormat, LogLevel

CANARY = "hunter2-canary"
ROOT = Path(__file__).parents[3]

Lines = Callable[[], list[str]]
Start = Callable[..., Lines]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Configure the log into a file."""
    path = tmp_path / "log"

    def configure(log_format: LogFormat = LogFormat.JSON, level: LogLevel = LogLevel.INFO) -> Lines:
        settings = Settings(
            log=LogSettings(format=log_format, level=level),
            mongo=MongoSettings(uri=SecretStr(f"mongodb://user:{CANARY}@db")),
        )
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
        writer = configure_logging(settings, descriptor=descriptor)
        os.close(descriptor)  # whatever others do to theirs, the log has its own

        def lines() -> list[str]:
            assert writer.flush(10)
            return path.read_text().splitlines()

        return lines

    return configure


@pytest.mark.parametrize(("no_color", "colored"), [(None, True), ("", True), ("1", False)])
def test_a_terminal_gets_colors_unless_no_color_is_set(
    start: Start, monkeypatch: pytest.MonkeyPatch, no_color: str | None, *, colored: bool
) -> None:
    monkeypatch.setattr(os, "isatty", lambda _: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color is not None:
        monkeypatch.setenv("NO_COLOR", no_color)
    lines = start(LogFormat.AUTO)
    get_logger().info("starting")
    (line,) = lines()
    assert "starting" in line
    assert ("\x1b[" in line) is colored


def test_a_line_is_one_json_object_that_begins_with_when_how_bad_and_what(start: Start) -> None:
    lines = start()
    get_logger().warning("retrying", stage="apply", attempt=3)
    (line,) = lines()
    entry = json.loads(line)
    assert list(entry) == ["timestamp", "level", "event", "stage", "attempt"]
    assert entry["timestamp"].endswith("Z")
    assert (entry["level"], entry["event"], entry["attempt"]) == ("warning", "retrying", 3)


def test_lines_below_the_level_are_not_written(start: Start) -> None:
    lines = start(level=LogLevel.WARNING)
    get_logger().info("quiet")
    logging.getLogger("aiokafka").info("quiet")
    get_logger().error("loud")
    assert [json.loads(line)["event"] for line in lines()] == ["loud"]


def test_libraries_lines_look_like_our_own(start: Start) -> None:
    lines = start()
    logging.getLogger("aiokafka.conn").warning("cannot reach %s:%s", "broker", 9092)
    (entry,) = map(json.loads, lines())
    assert entry["event"] == "cannot reach broker:9092"
    assert (entry["level"], entry["logger"]) == ("warning", "aiokafka.conn")


def test_a_rebalance_is_no_warning(start: Start) -> None:
    lines = start()
    coordinator = logging.getLogger("aiokafka.consumer.group_coordinator")
    coordinator.warning("Heartbeat failed for group %s because it is rebalancing", "g")
    coordinator.warning("Heartbeat failed: local member_id was not recognized")
    assert [json.loads(line)["event"] for line in lines()] == [
        "Heartbeat failed: local member_id was not recognized"
    ]


def test_a_secret_is_in_no_line_whatever_says_it(start: Start) -> None:
    lines = start()
    uri = f"mongodb://user:{CANARY}@db"
    get_logger().info("opening", uri=uri, detail=f"to {uri}", password=CANARY)
    get_logger().info(f"opened with {CANARY}", nested={"a": [CANARY]})
    logging.getLogger("pymongo").warning("lost %s", uri)
    try:
        raise OSError(f"cannot connect to {uri}")
    except OSError:
        get_logger().exception("failed")
        logging.getLogger("aiokafka").exception("failed")
    assert len(lines()) == 5
    assert CANARY not in "\n".join(lines())


def test_an_exceptions_text_is_shown_only_where_it_can_quote_no_data(start: Start) -> None:
    lines = start()
    try:
        try:
            raise ValueError(CANARY)
        except ValueError as error:
            raise TransientError("NetworkTimeout", "after 10 s") from error
    except TransientError:
        get_logger().exception("failed")
    (entry,) = map(json.loads, lines())
    assert "ValueError: (message withheld: it may quote data)" in entry["failure"]
    assert "consumer.errors.TransientError: NetworkTimeout: after 10 s" in entry["failure"]
    assert f"{__file__}:" in entry["failure"]
    assert CANARY not in entry["failure"]


def test_asyncios_report_of_a_forgotten_exception_does_not_quote_it(start: Start) -> None:
    lines = start()
    logging.getLogger("asyncio").error(
        "Task exception was never retrieved\nfuture: <Task exception=ValueError(%r)>", CANARY
    )
    (entry,) = map(json.loads, lines())
    assert entry["event"] == "Task exception was never retrieved"


def test_commands_that_pymongo_would_log_at_debug_are_never_written(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = start(level=LogLevel.DEBUG)
    commands = logging.getLogger("pymongo.command")
    monkeypatch.setattr(commands, "level", logging.DEBUG)  # as whoever looks for a defect has it
    commands.debug("insert %s", {"text": "what was said"})
    logging.getLogger("aiokafka").debug("request")
    logging.getLogger("aiokafka").info("joined")
    get_logger().debug("ours")
    assert [json.loads(line)["event"] for line in lines()] == ["joined", "ours"]


def test_warnings_of_python_are_lines_of_the_log(start: Start) -> None:
    lines = start()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn("old way", DeprecationWarning, stacklevel=1)
    (entry,) = map(json.loads, lines())
    assert "DeprecationWarning: old way" in entry["event"]


def test_ids_cannot_forge_lines_or_move_the_cursor(start: Start) -> None:
    lines = start(LogFormat.CONSOLE)
    evil = "a\nb\x1b[2J\u202ec\ud800\r"
    get_logger().info("record_rejected", session_id=evil)
    get_logger().info(evil)
    logging.getLogger("aiokafka").warning(evil.replace("\n", ""))
    written = lines()
    assert len(written) == 3
    assert not set("\x1b\r\u202e") & set("".join(written))


def test_any_text_survives_as_json(start: Start) -> None:
    lines = start()
    text = "a\nb\x1b[2J\u202ec\ud800\r"
    get_logger().info("x", session_id=text)
    (line,) = lines()
    assert line.isascii()
    assert json.loads(line)["session_id"] == text


def test_an_id_is_cut_where_it_is_longer_than_ids_can_be(start: Start) -> None:
    lines = start()
    get_logger().info("x", session_id="y" * 100_000)
    (line,) = lines()
    assert len(line) < 500


def test_what_a_library_repeats_is_one_line_an_interval_with_a_count() -> None:
    now = 0.0
    handler = LibraryHandler(lambda: now)

    def log(text: str, *args: object) -> None:
        record = logging.LogRecord("aiokafka", logging.ERROR, "", 0, text, args, None)
        handler.emit(record)

    with capture_logs() as lines:
        for port in range(500):
            log("Unable to connect to node at %s", port)
        log("something else 1")
        log("something else 2")
        assert len(lines) == 2

        now = REPEAT_INTERVAL
        log("Unable to connect to node at %s", 9092)
        assert lines[-1]["repeated"] == 499
        handler.flush_repeats()
        assert lines[-1]["repeated"] == 1
        assert lines[-1]["event"] == "something else 2"
        assert len(lines) == 4


@pytest.mark.parametrize("level", [25, 60])
def test_a_library_may_have_levels_of_its_own(start: Start, level: int) -> None:
    lines = start(level=LogLevel.DEBUG)
    logging.getLogger("aiokafka").log(level, "joined")
    assert json.loads(lines()[0])["event"] == "joined"


def test_a_libraries_wrong_arguments_do_not_cost_its_message(start: Start) -> None:
    lines = start()
    logging.getLogger("aiokafka").warning("%d brokers", "three")
    assert json.loads(lines()[0])["event"] == "%d brokers"


# --- a log that cannot be written, as a process meets it --------------------------------

PROGRAM = """
import logging, sys
from consumer.observability.logs import configure_logging, get_logger
from consumer.settings.model import Settings
dropped = []
configure_logging(Settings(), on_dropped=lambda: dropped.append(1))
for number in range(int(sys.argv[2])):
    get_logger().info("line", number=number)
    logging.getLogger("aiokafka").error("line")
open(sys.argv[1], "w").write(str(len(dropped)))
"""


def run(done: Path, lines: int, redirection: str = "", stderr: int | None = None) -> int:
    command = f'exec "$0" -c "$1" "$2" {lines} {redirection}'
    ended = subprocess.run(
        ["sh", "-c", command, sys.executable, PROGRAM, done],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
        check=False,
        timeout=60,
        stderr=stderr,
    )
    return ended.returncode


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_process_whose_log_is_closed_or_full_goes_on_to_its_end(
    redirection: str, tmp_path: Path
) -> None:
    assert run(tmp_path / "done", 1_000, redirection) == 0
    assert (tmp_path / "done").exists()


def test_a_process_whose_log_nobody_reads_goes_on_to_its_end(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    try:
        assert run(tmp_path / "done", MOST_WAITING + 2_000, stderr=writing) == 0
    finally:
        os.close(reading)
        os.close(writing)
    assert int((tmp_path / "done").read_text()) > 0


def test_the_first_passes_and_its_like_is_held_back_for_the_interval() -> None:
    repeats = Repeats[str, int](10.0)
    assert repeats.admit("a", 1, now=0.0) == 0
    assert repeats.admit("a", 2, now=9.9) is None
    assert repeats.admit("b", 3, now=9.9) == 0
    assert repeats.admit("a", 4, now=10.0) == 1
    assert repeats.admit("a", 5, now=10.1) is None


def test_what_is_held_back_and_not_repeated_falls_due_with_the_last_of_its_kind() -> None:
    repeats = Repeats[str, int](10.0)
    for value in range(5):
        repeats.admit("a", value, now=0.0)
    repeats.admit("b", 9, now=0.0)
    assert list(repeats.due(9.9)) == []
    assert list(repeats.due(10.0)) == [(4, 4)]
    assert list(repeats.due(math.inf)) == []


def test_the_memory_for_kinds_is_bounded() -> None:
    repeats = Repeats[int, None](10.0)
    for key in range(MOST_KEYS + 1):
        repeats.admit(key, None, now=0.0)
    assert repeats.admit(0, None, now=1.0) == 0
    assert repeats.admit(MOST_KEYS, None, now=1.0) is None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 30)), max_size=50))
def test_every_one_is_either_shown_or_counted_once(steps: list[tuple[str, float]]) -> None:
    repeats = Repeats[str, None](10.0)
    shown = counted = 0
    now = 0.0
    for key, pause in steps:
        now += pause
        counted += sum(count for _, count in repeats.due(now))
        held_back = repeats.admit(key, None, now)
        if held_back is not None:
            shown += 1
            counted += held_back
    counted += sum(count for _, count in repeats.due(math.inf))
    assert shown + counted == len(steps)
