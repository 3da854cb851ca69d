"""The programs of docs/contract.md in other languages, as they stand there, on Apache Kafka."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import zlib
from collections.abc import Sequence
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Message

from consumer.contract.decode import Decoded, decode
from consumer.contract.record import Record
from consumer.contract.rejection import KeyPolicy
from consumer.kafka.producer import partition_for
from consumer.mongo.store import MongoStore
from consumer.state.outcomes import Outcome
from consumer.state.writes import EventWrite, plan
from tests.adapters.mongo.applying import apply
from tests.fakes.collections import MemoryCollections
from tests.servers.topics import create_topics

DOCUMENT = Path(__file__).parents[3] / "docs" / "contract.md"
PARTITIONS = 6
FETCHED = pytest.mark.skipif(
    "TEST_LANGUAGES" not in os.environ,
    reason="TEST_LANGUAGES is not set: the clients are not fetched",
)
LANGUAGES = ["java", pytest.param("go", marks=FETCHED), pytest.param("ts", marks=FETCHED)]

SETTINGS = {
    "java": ('"acks", "all"', '"enable.idempotence", "true"'),
    "go": (
        '"acks":               "all"',
        '"enable.idempotence": true',
        '"partitioner":        "murmur2_random"',
    ),
    "ts": ("acks: -1", "idempotent: true", "createPartitioner: Partitioners.DefaultPartitioner"),
}

SESSION = next(
    session
    for number in range(1000)
    if partition_for((session := f"sitzung-ü-{number}").encode(), PARTITIONS)
    != zlib.crc32(session.encode()) % PARTITIONS
)
"""An id that librdkafka's own default puts elsewhere."""


def program(language: str) -> str:
    """Return the program of a language: the only one in the document."""
    text = DOCUMENT.read_text("utf-8")
    source: str
    (source,) = re.findall(rf"```{language}\n(package main.*?|import .*?)```", text, re.DOTALL)
    return source


def run(*command: str | Path, folder: Path) -> str:
    ran = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=600
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def control(command: str, *arguments: str) -> str:
    """Ask the script that controls the brokers."""
    script, directory = os.environ["TEST_KAFKA_CONTROL"], os.environ["TEST_KAFKA_CONTROL_DIR"]
    return run(script, command, *arguments, "--dir", directory, folder=Path(directory))


def java(source: str, folder: Path) -> Sequence[str | Path]:
    (folder / "Publish.java").write_text(source, "utf-8")
    jars = control("jars").split()[-1]
    run("javac", "-Werror", "-cp", f"{jars}/*", "Publish.java", folder=folder)
    return ("java", "-cp", f"{folder}:{jars}/*", "Publish")


def go(source: str, folder: Path) -> Sequence[str | Path]:
    (folder / "publish.go").write_text(source, "utf-8")
    run("go", "mod", "init", "publish", folder=folder)
    run("go", "mod", "tidy", folder=folder)
    run("go", "vet", ".", folder=folder)
    run("go", "build", "-o", "publish", ".", folder=folder)
    return (folder / "publish",)


def typescript(source: str, folder: Path) -> Sequence[str | Path]:
    (folder / "publish.mts").write_text(source, "utf-8")
    (folder / "package.json").write_text('{"type": "module"}')
    run("npm", "install", "kafkajs@2", "typescript@5", "@types/node@20", folder=folder)
    options = ("--target", "es2022", "--module", "nodenext", "--strict", "publish.mts")
    run("npx", "tsc", *options, folder=folder)
    return ("node", "publish.mjs")


BUILD = {"java": java, "go": go, "ts": typescript}


@pytest.fixture
async def topic(kafka_bootstrap_servers: str, unique_name: str) -> str:
    await create_topics(kafka_bootstrap_servers, unique_name, partitions=PARTITIONS)
    return unique_name


def published(bootstrap_servers: str, topic: str, count: int) -> list[Message]:
    client = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": f"{topic}-languages",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    try:
        client.subscribe([topic])
        found: list[Message] = []
        while len(found) < count:
            found += [one for one in client.consume(count, 1.0) if one.error() is None]
        return found
    finally:
        client.close()


def producer_ids(topic: str, partition: int) -> list[int]:
    """Return the producer's id of each batch in the log; -1 is that of one not idempotent."""
    data = Path(os.environ["TEST_KAFKA_CONTROL_DIR"])
    (log, *_) = data.glob(f"*/data/{topic}-{partition}/*.log")
    dumped = control("cli", "kafka-dump-log", "--files", str(log))
    return [int(found) for found in re.findall(r"producerId: (-?\d+)", dumped)]


@pytest.mark.kafka_control
@pytest.mark.reliability("F102")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_program_publishes_idempotently_where_its_key_leads_what_is_applied_once(
    kafka_bootstrap_servers: str, topic: str, tmp_path: Path, language: str
) -> None:
    source = program(language)
    here = {
        "localhost:9092": kafka_bootstrap_servers,
        "conversation.events": topic,
        "s-1": SESSION,
    }
    for written, meant in here.items():
        assert written in source
        source = source.replace(written, meant)
    command = BUILD[language](source, tmp_path)
    partition = partition_for(SESSION.encode(), PARTITIONS)
    for offset in range(2):
        assert run(*command, folder=tmp_path).split()[-2:] == [str(partition), str(offset)]
    assert all(number >= 0 for number in producer_ids(topic, partition))
    writes: list[EventWrite] = []
    for one in published(kafka_bootstrap_servers, topic, 2):
        lies = (one.partition() or 0, one.offset() or 0)
        record = Record(topic, *lies, one.timestamp()[1], one.key(), one.value())
        decoded = decode(record, KeyPolicy.DEAD_LETTER)
        assert isinstance(decoded, Decoded)
        write = plan(decoded.message, record)
        assert isinstance(write, EventWrite)
        writes.append(write)
    store = MongoStore(MemoryCollections())
    outcomes = [(await apply(store, [write]))[0].outcome for write in writes]
    assert outcomes == [Outcome.APPLIED, Outcome.DUPLICATE]


@pytest.mark.reliability("F102")
@pytest.mark.parametrize(
    ("language", "name", "command"),
    [
        ("java", "Publish.java", ("javac", "-proc:none", "-Xdiags:compact", "-d", "out")),
        ("go", "publish.go", ("gofmt", "-l", "-e")),
        ("ts", "publish.mjs", ("node", "--check")),
    ],
)
def test_a_program_is_well_formed(
    language: str, name: str, command: tuple[str, ...], tmp_path: Path
) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not found")
    (tmp_path / name).write_text(program(language), "utf-8")
    ran = subprocess.run(
        (*command, name), cwd=tmp_path, capture_output=True, text=True, check=False, timeout=100
    )
    if language == "java":  # without Kafka's client only its names may be unknown
        wrong = [line for line in ran.stderr.splitlines() if ": error: " in line]
        assert all("does not exist" in line or "cannot find symbol" in line for line in wrong)
    else:
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


@pytest.mark.reliability("F102")
@pytest.mark.parametrize("language", SETTINGS)
def test_a_program_asks_for_what_must_hold(language: str) -> None:
    source = program(language)
    assert all(source.count(setting) == 1 for setting in SETTINGS[language])
    assert source.count("localhost:9092") == source.count("conversation.events") == 1
    if language != "ts":  # there it is an object
        event, _ = json.JSONDecoder().raw_decode(source[source.index('{"type"') :])
        encoded = json.dumps(event).encode()
        assert isinstance(decode(Record("", 0, 0, 0, b"s-1", encoded), KeyPolicy.WARN), Decoded)
