"""Records that a file lists by their positions."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from consumer.commands.common.record_list import (
    ListedRecord,
    ListedRecords,
    RecordProblem,
    open_record_list,
)
from consumer.commands.common.scratch import scratch_database
from consumer.contract.record import OffsetRange, Position, Record, TopicPartition
from consumer.errors import SettingsError
from consumer.terminal import open_result_file


def line(offset: int, problem: str = "missing", topic: str = "t", partition: int = 0) -> str:
    place = {"topic": topic, "partition": partition, "offset": offset}
    return json.dumps(place | {"problem": problem, "sessionId": "of no interest"})


def load(*lines: str, repair: bool = False) -> Iterator[ListedRecords]:
    with scratch_database() as database:
        listed = ListedRecords(database, repair=repair)
        listed.load(io.BytesIO("\n".join(lines).encode()), "list")
        yield listed


def wanted(listed: ListedRecords, partition: int = 0) -> list[int]:
    found = []
    offset: int | None = 0
    while offset is not None:
        offset = listed.next_match(TopicPartition("t", partition), offset)
        if offset is not None:
            found.append(offset)
            offset += 1
    return found


def test_the_order_of_the_lines_does_not_matter(rng: Random) -> None:
    offsets = rng.sample(range(100_000), 500)
    for listed in load(*map(line, offsets)):
        assert wanted(listed) == sorted(offsets)
        assert listed.ranges() == [
            OffsetRange(TopicPartition("t", 0), min(offsets), max(offsets) + 1)
        ]


def test_exactly_the_listed_records_are_wanted() -> None:
    for listed in load(line(3), line(4, partition=1), line(5, topic="u"), "", line(3)):
        assert listed.matches(Record("t", 0, 3, 0, None, None))
        assert not listed.matches(Record("t", 0, 4, 0, None, None))
        assert not listed.matches(Record("u", 0, 3, 0, None, None))
        assert {part.partition.topic for part in listed.ranges()} == {"t", "u"}
        assert listed.wanted_in(OffsetRange(TopicPartition("t", 0), 0, 3)) == 0
        assert listed.wanted_in(OffsetRange(TopicPartition("t", 0), 3, 4)) == 1


def test_altered_records_are_left_out_unless_they_are_to_be_repaired() -> None:
    lines = (line(1), line(2, "altered"), line(3), line(3, "altered"))
    for listed in load(*lines):
        assert wanted(listed) == [1]
        assert listed.left_out == 2
    for listed in load(*lines, repair=True):
        assert wanted(listed) == [1, 2, 3]
        assert listed.left_out == 0
        assert [listed.altered(Position("t", 0, offset)) for offset in (1, 2, 3, 9)] == [
            False,
            True,
            True,
            False,
        ]


@pytest.mark.parametrize("lines", [("missing", "altered"), ("altered", "missing")])
@pytest.mark.reliability("F90")
def test_of_a_record_that_is_listed_twice_altered_counts(lines: tuple[str, str]) -> None:
    twice = [line(3, problem) for problem in lines]
    for listed in load(*twice):
        assert (wanted(listed), listed.left_out) == ([], 1)
    for listed in load(*twice, repair=True):
        assert listed.altered(Position("t", 0, 3))


def test_an_empty_file_lists_nothing() -> None:
    for listed in load():
        assert listed.ranges() == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense", "line 2: not a JSON object"),
        ("[1]", "line 2: not a JSON object"),
        (
            '{"topic": "t", "partition": 0, "problem": "missing"}',
            "line 2: wrong or missing: offset",
        ),
        (line(-1), "line 2: wrong or missing: offset"),
        (line(2**63), "line 2: wrong or missing: offset"),
        (line(1, "odd"), "line 2: wrong or missing: problem"),
        (line(1, topic=""), "line 2: wrong or missing: topic"),
        ('{"topic": "t", "partition": "0", "offset": 1.0, "problem": "missing"}', "line 2"),
    ],
)
def test_a_wrong_line_is_refused_by_its_number(text: str, said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        next(load(line(1), text, line(3)))
    assert said in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_c48_a_list_that_was_saved_on_windows_is_read_or_refused_by_the_number_of_a_line() -> None:
    windows = f"{line(1)}\r\n\r\n{line(2)}\r\n"
    for listed in load(windows):
        assert wanted(listed) == [1, 2]
    for encoded in (f"\ufeff{windows}".encode(), windows.encode("utf-16")):
        with scratch_database() as database, pytest.raises(SettingsError, match="line 1: "):
            ListedRecords(database, repair=False).load(io.BytesIO(encoded), "list")


def test_a_line_without_an_end_does_not_fill_the_memory() -> None:
    with pytest.raises(SettingsError, match="longer than"):
        next(load("x" * 2_000_000))


def test_the_digest_tells_lists_apart() -> None:
    digests = [
        listed.digest for lines in ([line(1)], [line(1)], [line(2)]) for listed in load(*lines)
    ]
    assert digests[0] == digests[1] != digests[2]


def test_a_file_that_is_not_there_is_an_error_of_one_line(tmp_path: Path) -> None:
    with (
        pytest.raises(SettingsError, match="cannot be read"),
        open_record_list(str(tmp_path / "no")),
    ):
        pass


def test_what_is_unknown_is_sent_again_and_what_is_repeated_is_left_as_it_is() -> None:
    lines = (line(1, "unknown"), line(2, "repeated"), line(3))
    for repair in (False, True):
        for listed in load(*lines, repair=repair):
            assert wanted(listed) == [1, 3]
            assert listed.repeated == 1
            assert listed.left_out == 0


def test_a_new_list_takes_the_place_of_a_longer_one(tmp_path: Path) -> None:
    name = tmp_path / "problems.ndjson"
    name.write_text("the last list\n" * 99)
    record = ListedRecord(
        topic="conversation.events",
        partition=2,
        offset=7,
        problem=RecordProblem.MISSING,
        document=("session", "s"),
        detail="gone",
    )
    with open_result_file("--emit", name) as write:
        write([record.line()])
    (line,) = name.read_text().splitlines()
    assert line == (
        '{"topic": "conversation.events", "partition": 2, "offset": 7, "problem": "missing", '
        '"document": ["session", "s"], "detail": "gone"}'
    )
    with open_record_list(str(name)) as file, scratch_database() as database:
        listed = ListedRecords(database, repair=False)
        listed.load(file, str(name))
        assert listed.matches(Record("conversation.events", 2, 7, 0, None, None))
