"""What the commands print of stored documents."""

from __future__ import annotations

import io
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import bson
import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from consumer.commands.common.output import add_name_column, console, to_json
from consumer.terminal import OutputError

MOMENT = datetime(2026, 3, 4, 10, 0, 5, 250_000, tzinfo=UTC)


def test_an_object_that_looks_like_a_reference_is_printed_as_the_object_it_is() -> None:
    payload = {"said": [{"$ref": "a", "$id": {"n": 1}, "at": MOMENT}]}
    printed = json.loads(to_json(bson.decode(bson.encode({"payload": payload}))))
    (said,) = printed["payload"]["said"]
    assert said["$ref"] == "a"
    assert said["$id"] == {"n": 1}


def test_times_are_rfc_3339_in_utc() -> None:
    assert json.loads(to_json({"at": MOMENT})) == {"at": "2026-03-04T10:00:05.250Z"}


@pytest.mark.parametrize("width", [80, 60, 40, 20])
@pytest.mark.reliability("F97")
def test_a_narrow_terminal_cuts_no_partitions_number(width: int) -> None:
    written = io.StringIO()
    names = [f"conversation.a-topic-with-a-long-name-{number}" for number in range(12)]
    table = Table(box=None)
    add_name_column(table, "partition", names)
    for _ in range(6):
        table.add_column("a column", justify="right")
    for name in names:
        table.add_row(Text(name), *(["1,234,567"] * 6))
    Console(file=written, width=width, soft_wrap=True).print(table)
    assert [f"{name} " in written.getvalue() for name in names] == [True] * 12


def test_a_reader_that_has_seen_enough_changes_no_exit_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as gone:
        monkeypatch.setattr("sys.stdout", gone)
        out = console()
        out.print("one")
        out.out("another")


def test_a_full_disk_is_told_of_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        monkeypatch.setattr("sys.stdout", full)
        with pytest.raises(OutputError, match=r"^standard output cannot be written \(No space"):
            console().print("one")


def test_no_row_of_a_table_is_broken_where_it_is_piped(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = Table("what", box=None)
    table.add_row("word " * 100)
    console().print(table)
    assert len(capsys.readouterr().out.splitlines()) == 2
