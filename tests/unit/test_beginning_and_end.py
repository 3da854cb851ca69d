"""Whole processes at their first and last moments: signals while they load, last words."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from consumer.app import open_resources
from consumer.errors import ExitCode, PreconditionError, SettingsError
from consumer.mongo.store import open_store
from consumer.observability.health import Health
from consumer.observability.metrics import Metrics
from consumer.observability.observer import EngineObserver
from consumer.settings.sources import load_settings
from consumer.wiring import preflight_kafka, retry_until, startup_policy

ROOT = Path(__file__).parents[2]
MODULE = (sys.executable, "-m", "consumer")
IN_THE_IMAGE = (sys.executable, str(ROOT / "deploy/bin/consumer"))
TOOLS = (sys.executable, "-m", "producer_tools")

SLOW = """
import sys, time

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name in ("consumer.cli", "producer_tools.producer_cli"):
            print("loading", flush=True)
            time.sleep(600)

sys.meta_path.insert(0, Slow())
"""
"""Python runs this before anything else: the command line takes ten minutes to load."""

AT_ONCE = 60
"""Seconds; long before the command line is loaded, however busy the machine is."""

SMALL_PIPE = 4096


@contextmanager
def loading(tmp_path: Path, command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """Give the process while it imports what it needs."""
    (tmp_path / "sitecustomize.py").write_text(SLOW)
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=ROOT,
        # A shell starts what runs in the background with SIGINT ignored, and so its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 -- no more
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "loading\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("command", [MODULE, IN_THE_IMAGE], ids=["module", "image"])
@pytest.mark.reliability("F62")
def test_a_run_that_is_asked_to_stop_while_it_loads_ends_with_0_at_once(
    tmp_path: Path, command: Sequence[str], number: signal.Signals
) -> None:
    with loading(tmp_path, [*command, "run"]) as process:
        process.send_signal(signal.SIGUSR1)  # there is nothing to resume yet
        process.send_signal(number)
        assert process.wait(timeout=AT_ONCE) == ExitCode.DONE


@pytest.mark.parametrize("command", [(*MODULE, "audit"), (*TOOLS, "generate")])
@pytest.mark.reliability("F62")
def test_another_command_ends_then_as_one_that_a_signal_ended(
    tmp_path: Path, command: Sequence[str]
) -> None:
    with loading(tmp_path, command) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=AT_ONCE) == 128 + signal.SIGTERM


@pytest.mark.reliability("F62")
def test_the_first_process_of_a_container_hears_a_signal_too(tmp_path: Path) -> None:
    first = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")
    if subprocess.run([*first, "true"], check=False, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("this machine lets nobody make a namespace of processes")
    with loading(tmp_path, [*first, *MODULE, "run"]) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        os.kill(int(children), signal.SIGTERM)
        assert process.wait(timeout=AT_ONCE) == ExitCode.DONE


@contextmanager
def nobody_reads() -> Iterator[int]:
    """Give the writing end of a pipe that is full, and whose reader never reads."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, SMALL_PIPE)
    os.write(writing, b"x" * SMALL_PIPE)
    try:
        yield writing
    finally:
        os.close(reading)
        os.close(writing)


@contextmanager
def reader_is_gone() -> Iterator[int]:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        yield writing
    finally:
        os.close(writing)


def ended(
    command: Sequence[str],
    stderr: int,
    stdout: int = subprocess.DEVNULL,
    environment: Mapping[str, str] | None = None,
) -> int:
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("CONSUMER")}
    return subprocess.run(
        command,
        check=False,
        stdout=stdout,
        stderr=stderr,
        env={**inherited, **(environment or {})},
        cwd=ROOT,
        timeout=30,
    ).returncode


WRONG = (
    (*MODULE, "check", "--set", "nope=1"),
    (*MODULE, "check", "--no-such-option"),
    (*TOOLS, "publish", "no-such-file"),
)


@pytest.mark.parametrize("command", WRONG, ids=lambda command: " ".join(command[2:]))
@pytest.mark.parametrize("stderr", [nobody_reads, reader_is_gone])
@pytest.mark.reliability("F82")
def test_nobody_who_does_not_read_its_last_words_changes_how_a_process_ends(
    command: Sequence[str], stderr: type
) -> None:
    with stderr() as descriptor:
        assert ended(command, descriptor) == ExitCode.USAGE


@pytest.mark.reliability("F82")
def test_the_tools_do_not_die_of_a_warning_that_nobody_takes(tmp_path: Path) -> None:
    file = tmp_path / "wrong.ndjson"
    file.write_text("nonsense\n")
    with reader_is_gone() as descriptor:
        command = (*TOOLS, "publish", str(file), "--bootstrap-servers", "127.0.0.1:1")
        assert ended(command, descriptor) == ExitCode.FOUND


@pytest.mark.reliability("F82")
def test_a_result_that_cannot_be_written_is_no_success() -> None:
    with Path("/dev/full").open("wb") as full:
        code = ended((*MODULE, "--version"), subprocess.DEVNULL, full.fileno())
    assert code == ExitCode.PRECONDITION


def closing(numbers: str, *command: str) -> tuple[str, ...]:
    """The command, started without some of standard input, output and error."""
    return ("sh", "-c", f'exec "$@" {" ".join(f"{n}>&-" for n in numbers)}', "sh", *command)


@pytest.mark.parametrize("numbers", ["1", "2", "12", "012"])
@pytest.mark.parametrize(
    ("command", "code"),
    [
        ((*MODULE, "contract", "--json-schema", "event.recorded"), ExitCode.DONE),
        ((*MODULE, "contract", "--json-schema", "nothing"), ExitCode.USAGE),
        ((*MODULE, "replay", "--file", "-", "--set", "nope=1"), ExitCode.USAGE),
    ],
)
@pytest.mark.reliability("F82")
def test_a_process_that_was_started_without_streams_ends_as_any_other(
    numbers: str, command: Sequence[str], code: ExitCode
) -> None:
    assert subprocess.run(closing(numbers, *command), check=False, cwd=ROOT).returncode == code


OPENS = """
import os
from consumer import signals
signals.run_command(lambda **_: os.open("/dev/null", os.O_RDONLY), "consumer")
"""


@pytest.mark.reliability("F82")
def test_no_file_and_no_socket_gets_the_number_of_a_stream_that_was_closed() -> None:
    """What is printed there, by whatever library, would be sent to Kafka or MongoDB."""
    command = closing("012", sys.executable, "-c", OPENS)
    assert subprocess.run(command, check=False, cwd=ROOT).returncode > 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.reliability("F62")
def test_an_audit_that_is_interrupted_leaves_no_empty_list_behind(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Which says that nothing is wrong."""
    emitted = tmp_path / "problems.ndjson"
    command = (*MODULE, "audit", "--emit", str(emitted), "--bootstrap-servers")
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        subprocess.Popen(
            (*command, f"127.0.0.1:{silent.getsockname()[1]}"),
            cwd=ROOT,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 -- as above
        ) as process,
    ):
        silent.settimeout(AT_ONCE)
        connection, _ = silent.accept()  # it has begun
        assert emitted.exists()
        process.send_signal(number)
        assert process.wait(timeout=AT_ONCE) == 128 + number
        connection.close()
    assert not emitted.exists()


DEFECT = """
import sys
from consumer import cli, cli_options

def broken(*_, **__):
    raise ZeroDivisionError("sess-secret")

cli_options.load_settings = broken
sys.argv = ["consumer", "check"]
cli.main()
"""


@pytest.mark.reliability("F82")
def test_a_defect_is_told_without_quoting_data_and_is_no_finding() -> None:
    done = subprocess.run(
        (sys.executable, "-c", DEFECT), check=False, capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == ExitCode.TASK_DIED
    assert "ZeroDivisionError" in done.stderr
    assert "in broken" in done.stderr
    assert "sess-secret" not in done.stderr


@pytest.mark.reliability("F97")
def test_the_line_that_says_why_a_run_ends_is_json_where_the_log_is() -> None:
    command = (*MODULE, "run", "--set", "log.format=json", "--set", "engine.startup_timeout=0.5")
    done = subprocess.run(
        (*command, "--bootstrap-servers", "127.0.0.1:1"),
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == ExitCode.PRECONDITION
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    *before, ended = lines
    assert ended["event"] == "ended"
    assert ended["exit_code"] == ExitCode.PRECONDITION
    assert ended["message"].startswith("Kafka did not answer within 0.5 s")
    assert any("repeated" in line for line in before)  # told before, not after


@pytest.mark.reliability("F97")
@pytest.mark.parametrize("log_format", ["json", "auto", "neither"])
def test_settings_that_are_refused_are_told_in_the_logs_format_too(log_format: str) -> None:
    done = subprocess.run(
        (*MODULE, "run", "--set", "engine.batches_in_flight=0"),
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "CONSUMER_LOG__FORMAT": log_format},
    )
    assert done.returncode == ExitCode.USAGE
    (line,) = done.stderr.splitlines()
    ended = json.loads(line)
    assert (ended["event"], ended["exit_code"]) == ("ended", ExitCode.USAGE)
    assert "engine.batches_in_flight: '0' is not allowed" in ended["message"]


@pytest.mark.reliability("F97")
def test_settings_that_are_refused_are_plain_words_where_people_read_the_log() -> None:
    command = (*MODULE, "run", "--set", "log.format=console", "--set", "engine.batches_in_flight=0")
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == ExitCode.USAGE
    assert done.stderr.startswith("consumer: engine.batches_in_flight: '0' is not allowed")


@pytest.mark.reliability("F97")
def test_where_people_read_the_log_why_a_run_ends_is_its_last_line() -> None:
    command = (*MODULE, "run", "--set", "log.format=console", "--set", "engine.startup_timeout=0.5")
    done = subprocess.run(
        (*command, "--bootstrap-servers", "127.0.0.1:1"),
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == ExitCode.PRECONDITION
    assert done.stderr.splitlines()[-1].startswith("consumer: Kafka did not answer within 0.5 s")


@pytest.mark.reliability("F62")
async def test_a_server_that_says_nothing_is_waited_for_no_longer_than_a_start_may_take() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        settings = load_settings(
            {
                "kafka.bootstrap_servers": f"127.0.0.1:{port}",
                "mongo.uri": f"mongodb://127.0.0.1:{port}",
                "engine.startup_timeout": 0.3,
            }
        )
        async with asyncio.timeout(5):
            with pytest.raises(PreconditionError, match=r"Kafka did not answer within 0\.3 s"):
                await retry_until(
                    "Kafka", lambda: preflight_kafka(settings), startup_policy(settings)
                )
            async with open_store(settings.mongo) as store:
                with pytest.raises(PreconditionError, match=r"MongoDB did not answer within 0\.3"):
                    await retry_until("MongoDB", store.answer, startup_policy(settings))


@pytest.mark.reliability("F93")
async def test_a_uri_that_cannot_be_used_is_told_before_any_server_is_asked() -> None:
    nobody = {"kafka.bootstrap_servers": "127.0.0.1:1", "mongo.uri": "mongodb://h:99999/"}
    settings = load_settings(nobody)
    observer = EngineObserver(Metrics(), Health(), settings.kafka)
    with pytest.raises(SettingsError, match=r"^mongo\.uri: "):
        async with open_resources(settings, observer):
            pytest.fail("it must not open")


def test_a_run_loads_nothing_that_only_other_commands_or_settings_need() -> None:
    # The CPU of its start is a good part of a short run's.
    source = "import sys, consumer.cli, consumer.app; print(*sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, check=True, text=True, cwd=ROOT
    )
    assert {"attr", "motor", "pygments", "rich"}.isdisjoint(ran.stdout.split())


FREED_AT_THE_END_OF_THE_HEAP = """
import os
from consumer.__main__ import give_back_freed_memory

statm = os.open("/proc/self/statm", os.O_RDONLY)

def resident() -> int:  # without a buffer, which would lie behind the blocks and keep them
    return int(os.pread(statm, 100, 0).split()[1]) * 4096

give_back_freed_memory()
bytearray(16 << 20)  # freed at once: from here on glibc would keep as much again and again
before = resident()
blocks = [bytearray(1 << 20) for _ in range(24)]
assert resident() - before > 20 << 20
blocks.clear()
print(resident() - before)
"""


@pytest.mark.reliability("F110")
def test_memory_that_is_freed_at_the_end_of_the_heap_is_given_back() -> None:
    command = (sys.executable, "-c", FREED_AT_THE_END_OF_THE_HEAP)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 2 << 20
