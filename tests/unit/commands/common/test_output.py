"""What the commands print of stored documents."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime

import bson
import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from consumer.commands.common.output import add_name_column, to_json

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
