"""How the group's state is watched and shown; what is asked for it is in tests/integration."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from rich.console import Console

from consumer.commands import status
from consumer.commands.status import GroupStatus, PartitionStatus
from consumer.errors import PreconditionError, TransientError
from consumer.kafka.committed import CommittedHold
from consumer.settings.model import Settings


def partition(number: int, *, topic: str = "conversation.events") -> PartitionStatus:
    return PartitionStatus(
        topic, number, f"conversation-consumer-{number:036}", "/10.0.0.1",
        0, 123456789, 123456790, 1, 3.0, 600.0, 0,
    )  # fmt: skip


def group(partitions: int, *, known: bool = True) -> GroupStatus:
    parts = [partition(number) for number in range(partitions)]
    return GroupStatus("2026-03-04T10:00:00.000Z", "g", known, "Stable", 1, 1, None, None, parts)


class Over(Exception):  # noqa: N818 -- not an error: the test has seen enough
    """Ends watching, which goes on until it is interrupted."""


@asynccontextmanager
async def nothing(_: object) -> AsyncIterator[None]:
    yield


def seen(
    monkeypatch: pytest.MonkeyPatch, *looks: GroupStatus | BaseException, width: int = 200
) -> io.StringIO:
    """Let watching see these, one after the other, and return what it will write."""
    coming: Iterator[GroupStatus | BaseException] = iter([*looks, Over()])
    written = io.StringIO()

    async def look(*_: object) -> tuple[GroupStatus, None]:
        found = next(coming)
        if isinstance(found, BaseException):
            raise found
        return found, None

    monkeypatch.setattr(status, "_look", look)
    monkeypatch.setattr(status, "open_admin", nothing)
    monkeypatch.setattr(status, "open_range_reader", nothing)
    monkeypatch.setattr(status, "INTERVAL", 0.0)
    monkeypatch.setattr(
        status, "console", lambda: Console(file=written, force_terminal=True, width=width)
    )
    return written


@pytest.mark.parametrize(
    "trouble",
    [
        TransientError("KafkaConnectionError", "a broker is away"),
        PreconditionError("gone"),
        TimeoutError(),
    ],
)
@pytest.mark.reliability("F66")
async def test_watching_shows_trouble_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    written = seen(monkeypatch, group(1), trouble, group(2))
    with pytest.raises(Over):
        await status.show_status(Settings(), watch=True, as_json=False)
    said = str(trouble) or "no answer in time"
    _, during, after = written.getvalue().partition(said)
    assert during, "the trouble is not shown"
    assert "events-1" in after, "what came after it is not shown"


@pytest.mark.parametrize("as_json", [False, True])
async def test_where_it_is_piped_each_look_is_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, as_json: bool
) -> None:
    held = CommittedHold("2026-03-04T09:00:00.000Z", 7, {"invalid": 600})
    wrong = replace(group(0), partitions=[replace(partition(3), lost=5, held=held)])
    trouble = TransientError("KafkaConnectionError", "a broker\nis away")
    seen(monkeypatch, group(2), wrong, trouble)
    monkeypatch.setattr(status, "console", lambda: Console(width=200))
    with pytest.raises(Over):
        await status.show_status(Settings(), watch=True, as_json=as_json)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    if as_json:
        first, second, third = map(json.loads, lines)
        assert (first["time"], len(first["partitions"])) == ("2026-03-04T10:00:00.000Z", 2)
        assert second["partitions"][0]["held"]["offset"] == 7
        assert (first["trouble"], third["trouble"]) == (None, str(trouble))
        assert third["time"] > second["time"]
    else:
        assert lines[0] == "2026-03-04T10:00:00.000Z g: Stable, 1 member, lag 1, ?"
        assert "; conversation.events-3 lost 5; conversation.events-3 is held since" in lines[1]
        assert lines[2].count(r"a broker\nis away") == 1


@pytest.mark.parametrize("trouble", [TransientError("KafkaConnectionError"), TimeoutError()])
@pytest.mark.reliability("F66")
async def test_what_was_never_seen_is_not_watched(
    monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    seen(monkeypatch, trouble)
    with pytest.raises(PreconditionError, match="Kafka does not answer"):
        await status.show_status(Settings(), watch=True, as_json=False)


@pytest.mark.reliability("F97")
def test_the_partitions_number_is_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    for width in (80, 60, 40):
        written = io.StringIO()
        console = Console(file=written, force_terminal=False, width=width, soft_wrap=True)
        console.print(status._table(group(12)))
        assert [f"conversation.events-{n} " in written.getvalue() for n in range(12)] == [True] * 12


@pytest.mark.reliability("F96")
def test_members_at_one_host_are_told_apart_and_a_group_that_there_is_not_is_said() -> None:
    written = io.StringIO()
    console = Console(file=written, width=200)
    console.print(status._table(group(2)))
    console.print(status._table(group(0, known=False)))
    shown = written.getvalue()
    assert "00000000 /10.0.0.1" in shown
    assert "00000001 /10.0.0.1" in shown
    assert "g: there is no such group" in shown
    assert group(0, known=False).found


@pytest.mark.reliability("F57")
def test_why_a_partition_is_held_is_shown_below_the_table_whatever_was_committed() -> None:
    def shown(held: CommittedHold) -> str:
        written = io.StringIO()
        parts = [partition(0), replace(partition(1), held=held)]
        Console(file=written, width=80).print(status._table(replace(group(0), partitions=parts)))
        assert max(map(len, written.getvalue().splitlines())) <= 80
        return " ".join(written.getvalue().split())

    held = CommittedHold(
        "2026-03-04T10:00:00.000Z", 123456789, {"undecodable": 600, "invalid": 100}
    )
    said = "events-1 is held since 2026-03-04T10:00:00.000Z at offset 123456789"
    assert f"{said} (undecodable 600, invalid 100)" in shown(held)
    assert shown(replace(held, reasons={})).endswith(said)
    forged = shown(CommittedHold("\x1b[2J", 1, {"a\nb\u202e": 2}))
    assert "is held since \\x1b[2J at offset 1 (a\\nb\\u202e 2)" in forged
