"""Publishing a file or a stream, as a user does it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from aiokafka.partitioner import murmur2

from tests.integration.producer_tools.conftest import PARTITIONS, Topics

SKIPPING = {"file": [], "skip-invalid": ["--skip-invalid"]}


def created(session_id: str) -> str:
    return json.dumps({"type": "session.created", "sessionId": session_id, "language": "en"})


def event(session_id: str, event_id: str) -> str:
    message = {
        "type": "event.recorded",
        "sessionId": session_id,
        "eventId": event_id,
        "eventType": "user_speech",
        "payload": {"text": "wörds  with\tspace"},
    }
    return json.dumps(message, ensure_ascii=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "messages.ndjson"


def test_each_line_becomes_a_record_of_the_same_bytes_under_its_session(
    topics: Topics, file: Path
) -> None:
    sessions = [created(f"session-{number}") for number in range(40)]
    events = [event(f"session-{number % 40}", f"event-{number}") for number in range(200)]
    file.write_text("\n".join([*sessions, "", *events]))
    ran = topics.run("publish", str(file), "--json")
    assert ran.code == 0
    assert ran.err == "" or "no idempotent producer" in ran.err
    assert (ran.result["published"], ran.result["rejected"]) == (240, 0)
    for topic, lines in ((topics.sessions, sessions), (topics.events, events)):
        records = topics.read(topic, len(lines))
        assert sorted(record.value.decode() for record in records) == sorted(lines)
        for record in records:
            assert record.key.decode() == json.loads(record.value)["sessionId"]
            assert record.partition == (murmur2(record.key) & 0x7FFFFFFF) % PARTITIONS


def test_c48_line_ends_of_windows_blank_lines_and_separators_inside_a_text_are_read(
    topics: Topics,
) -> None:
    separated = event("a", "1").replace("wörds", "a\u2028b")
    ran = topics.run("publish", "-", "--json", stdin=f"\r\n{separated}\r\n\r\n".encode())
    assert (ran.code, ran.result["published"]) == (0, 1)
    assert topics.read(topics.events, 1)[0].value.decode() == separated


def test_a_session_keeps_its_order(topics: Topics, file: Path) -> None:
    lines = [event("one-session", f"{number:04}") for number in range(3000)]
    file.write_text("\n".join(lines))
    assert topics.run("publish", str(file)).code == 0
    values = [record.value.decode() for record in topics.read(topics.events, 3000)]
    assert values == lines


def test_of_a_file_with_a_wrong_line_nothing_is_published(topics: Topics, file: Path) -> None:
    file.write_text(f"{created('a')}\n{{}}\n")
    ran = topics.run("publish", str(file))
    assert ran.code == 1
    assert ran.err.startswith(f"{file}:2: invalid: type: missing\n")
    file.write_text(created("b"))
    topics.run("publish", str(file))
    assert [record.key for record in topics.read(topics.sessions, 1)] == [b"b"]


@pytest.mark.parametrize("how", ["file", "stream", "skip-invalid"])
def test_a_line_that_its_topic_does_not_take_is_told_by_its_number(
    small_topics: Topics, file: Path, how: str
) -> None:
    lines = [created("a"), event("b", "1").replace("space", "x" * 4000), created("c")]
    file.write_text("\n".join(lines))
    if how == "stream":
        ran = small_topics.run("publish", "-", "--json", stdin=file.read_bytes())
    else:
        ran = small_topics.run("publish", str(file), "--json", *SKIPPING[how])
    assert ran.code == 1
    assert ":2: too_large: " in ran.err
    assert "bytes of at most 2,048" in ran.err
    assert ran.result["published"] == {"file": 0, "stream": 1, "skip-invalid": 2}[how]
    assert ran.result["rejected"] == 1


def test_the_good_lines_of_a_file_can_be_asked_for(topics: Topics, file: Path) -> None:
    file.write_text(f"{created('a')}\n{{}}\n{created('b')}\n")
    ran = topics.run("publish", str(file), "--skip-invalid", "--json")
    assert ran.code == 1
    assert (ran.result["published"], ran.result["rejected"]) == (2, 1)
    assert {record.key for record in topics.read(topics.sessions, 2)} == {b"a", b"b"}


def test_a_stream_is_published_up_to_its_first_wrong_line(topics: Topics) -> None:
    stream = f"{created('a')}\nnonsense\n{created('b')}\n".encode()
    ran = topics.run("publish", "-", "--json", stdin=stream)
    assert ran.code == 1
    assert "<stdin>:2: undecodable" in ran.err
    assert "stopped at line 2" in ran.err
    assert ran.result["published"] == 1


def test_a_stream_is_published_while_it_is_still_open(topics: Topics) -> None:
    command = [sys.executable, "-m", "producer_tools", "publish", "-", *topics.options]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        assert running.stdin is not None
        running.stdin.write(created("a").encode() + b"\n")
        running.stdin.flush()
        assert topics.read(topics.sessions, 1)[0].key == b"a"
        running.communicate()
    assert running.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "command",
    [["publish", "-"], ["generate", "--sessions=5000", "--rate=500", "--to=kafka"]],
    ids=["publish", "generate"],
)
@pytest.mark.reliability("F86")
def test_an_interrupt_says_exactly_how_many_messages_the_topics_have(
    topics: Topics, command: list[str], number: signal.Signals
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "producer_tools", *command, *topics.options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A shell starts what runs in the background with SIGINT ignored, and so its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 -- no more
    ) as running:
        assert running.stdin is not None
        running.stdin.write(b"\n".join(created(f"{n}").encode() for n in range(500)) + b"\n")
        running.stdin.flush()
        topics.read(topics.sessions, 1)
        running.send_signal(number)
        running.stdin.close()
        assert running.wait(30) == 128 + number
        assert running.stderr is not None
        said = running.stderr.read().decode().splitlines()[-1]
    found = re.fullmatch(r".*interrupted; ([\d,]+) messages were acknowledged by the brokers", said)
    assert found, said
    count = int(found[1].replace(",", ""))
    assert count > 0
    assert topics.count(count) == count


def test_records_are_stamped_by_the_clock_and_not_by_what_they_say(
    topics: Topics, file: Path
) -> None:
    old = {**json.loads(created("a")), "startedAt": "2018-01-01T00:00:00Z"}
    file.write_text(json.dumps(old))
    before = time.time() * 1000
    topics.run("publish", str(file))
    stamped = topics.read(topics.sessions, 1)[0].timestamp_ms
    assert before - 1000 < stamped < time.time() * 1000 + 1000


def test_a_missing_topic_is_named_and_not_made(
    no_topics: Topics, topic_names: Callable[[], set[str]], file: Path
) -> None:
    file.write_text(created("a"))
    ran = no_topics.run("publish", str(file))
    assert ran.code == 3
    assert f"--create --topic {no_topics.sessions} --partitions 6" in ran.err
    assert not topic_names() & {no_topics.sessions, no_topics.events}


def test_brokers_that_do_not_answer_are_named_in_one_line(file: Path) -> None:
    file.write_text(created("a"))
    ran = Topics("127.0.0.1:1", "any").run("publish", str(file))
    assert ran.code == 3
    assert ran.out == ""
    assert ran.err.startswith("producer-tools: Kafka at 127.0.0.1:1: ")
    assert ran.err.count("\n") == 1


def test_a_message_at_the_limit_arrives(topics: Topics, file: Path) -> None:
    """What the check lets pass the brokers take: with framing, and where nothing compresses."""
    message = json.loads(event("s", "e"))
    limit = 1024 * 1024
    frame = len(json.dumps({**message, "payload": {"text": ""}})) + 256 + len("s")
    message["payload"] = {"text": "x" * (limit - frame)}
    file.write_text(json.dumps(message))
    assert topics.run("publish", str(file)).code == 0
    message["payload"] = {"text": "x" * (limit - frame + 1)}
    file.write_text(json.dumps(message))
    ran = topics.run("publish", str(file))
    assert ran.code == 1
    assert "too_large" in ran.err


@pytest.mark.real_kafka
def test_kafka_is_written_to_by_an_idempotent_producer(topics: Topics, file: Path) -> None:
    file.write_text(created("a"))
    assert topics.run("publish", str(file)).err == ""
