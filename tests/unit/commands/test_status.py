"""What ``status`` finds, over brokers that answer by heart."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

import pytest

from consumer.commands import status
from consumer.contract.record import Record, TopicPartition
from consumer.errors import ExitCode
from consumer.kafka.admin import GroupDescription, TopicDescription
from consumer.kafka.committed import Committed, CommittedHold, OffsetMetadata
from consumer.kafka.ranges import LogExtent, UnreadRange
from consumer.settings.sources import load_settings

TOPIC = "t"
BEGINNINGS = {0: 100, 1: 100, 2: 100}
COMMITTED = {0: 40, 1: 100}


class Brokers:
    """Three partitions that begin at 100 and end there, too: deleted to their end."""

    def __init__(self) -> None:
        self.unread: list[UnreadRange] = []
        self.unreadable: list[UnreadRange] = []

    async def describe(self, *_: object) -> Mapping[str, TopicDescription]:
        return {TOPIC: TopicDescription(TOPIC, len(BEGINNINGS), 1)}

    async def high_watermarks(self, _: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        return {TopicPartition(TOPIC, number): offset for number, offset in BEGINNINGS.items()}

    async def extents(
        self, partitions: Collection[TopicPartition]
    ) -> Mapping[TopicPartition, LogExtent]:
        ends = await self.high_watermarks(partitions)
        return {partition: LogExtent(end, end) for partition, end in ends.items()}

    async def read(self, *_: object, **__: object) -> AsyncIterator[tuple[Any, Sequence[Record]]]:
        nothing: tuple[tuple[Any, Sequence[Record]], ...] = ()
        for batch in nothing:
            yield batch


@asynccontextmanager
async def opened(_: object) -> AsyncIterator[Brokers]:
    yield Brokers()


def let_group_have(monkeypatch: pytest.MonkeyPatch, committed: Mapping[int, Committed]) -> None:
    async def describe_group(*_: object) -> GroupDescription:
        kept = {TopicPartition(TOPIC, number): one for number, one in committed.items()}
        return GroupDescription("Stable", "range", [], kept)

    monkeypatch.setattr(status, "open_admin", opened)
    monkeypatch.setattr(status, "open_range_reader", opened)
    monkeypatch.setattr(Brokers, "describe_group", describe_group, raising=False)


@pytest.mark.parametrize(
    ("committed", "lost", "code"),
    [
        (COMMITTED, [60, 0, 0], ExitCode.FOUND),
        ({0: 100, 1: 100, 2: 100}, [0, 0, 0], ExitCode.DONE),
        ({}, [0, 0, 0], ExitCode.DONE),
    ],
)
@pytest.mark.reliability("F90")
async def test_what_was_deleted_before_the_group_had_read_it_is_told_and_found(
    committed: Mapping[int, int],
    lost: list[int],
    code: ExitCode,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    let_group_have(monkeypatch, {number: Committed(at) for number, at in committed.items()})
    settings = load_settings({"kafka.topics": TOPIC})
    assert await status.show_status(settings, watch=False, as_json=True) is code
    found = json.loads(capsys.readouterr().out)
    assert [part["lost"] for part in found["partitions"]] == lost


async def test_a_log_that_ends_before_what_is_committed_is_all_lag(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def extents(*_: object) -> Mapping[TopicPartition, LogExtent]:
        return {TopicPartition(TOPIC, number): LogExtent(40, 100) for number in BEGINNINGS}

    monkeypatch.setattr(Brokers, "extents", extents)
    let_group_have(monkeypatch, {0: Committed(101), 1: Committed(100), 2: Committed(99)})
    settings = load_settings({"kafka.topics": TOPIC})
    await status.show_status(settings, watch=False, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert [part["lag"] for part in found["partitions"]] == [60, 0, 1]


@pytest.mark.reliability("F57")
async def test_a_held_partition_is_told_and_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    held = CommittedHold("2026-03-04T10:00:00.000Z", 100, {"invalid": 3})
    kept = {0: Committed(100), 1: Committed(100, OffsetMetadata(held=held).encode())}
    let_group_have(monkeypatch, kept)
    settings = load_settings({"kafka.topics": TOPIC})
    assert await status.show_status(settings, watch=False, as_json=True) is ExitCode.FOUND
    told = [part["held"] for part in json.loads(capsys.readouterr().out)["partitions"]]
    assert told == [None, asdict(held), None]


@pytest.mark.parametrize("as_json", [False, True])
async def test_a_topic_that_is_missing_hides_none_of_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, as_json: bool
) -> None:
    let_group_have(monkeypatch, {0: Committed(100)})
    settings = load_settings({"kafka.topics": f"gone,{TOPIC}"})
    assert await status.show_status(settings, watch=False, as_json=as_json) is ExitCode.PRECONDITION
    said = capsys.readouterr().out
    if as_json:
        found = json.loads(said)
        assert [part["topic"] for part in found["partitions"]] == [TOPIC] * 3
        assert found["missing_topics"] == ["gone"]
    else:
        assert [f"{TOPIC}-{number} " in said for number in BEGINNINGS] == [True] * 3
        assert said.splitlines()[-1] == "no such topic: gone"


def test_a_broker_that_is_away_is_told_in_one_line() -> None:
    asked = subprocess.run(
        [sys.executable, "-m", "consumer", "status", "--bootstrap-servers", "127.0.0.1:1"],
        capture_output=True,
        text=True,
        check=False,
    )
    (line,) = asked.stderr.splitlines()
    assert line.startswith("consumer: Kafka does not answer")
