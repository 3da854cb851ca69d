"""What came from outside, on a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consumer.checks import CheckResult
from consumer.commands import check, explain, show, status
from consumer.commands.audit import audit_report
from consumer.commands.audit.judging import JudgedRecord
from consumer.commands.audit.problems import Disagreement, Disagreements
from consumer.commands.audit.verdicts import AuditResult, Judgement
from consumer.commands.common.output import console
from consumer.commands.common.record_list import ListedRecord, RecordProblem
from consumer.commands.dead_letters import list_and_show
from consumer.commands.dead_letters.dead_letter_record import DeadLetterRecord, read_dead_letter
from consumer.commands.dead_letters.dead_letter_status import DeadLetterStatus
from consumer.commands.dead_letters.redrive_policy import StatusChange
from consumer.commands.replay import replay_report
from consumer.commands.replay.replay_report import OutcomeCounts
from consumer.commands.replay.replay_request import ReplayProgress
from consumer.contract.dead_letter import origin_of
from consumer.contract.record import Headers, OffsetRange, Position, Record, TopicPartition
from consumer.contract.rejection import Reason
from consumer.errors import PreconditionError
from consumer.kafka.producer import OutgoingRecord
from consumer.printable import printable, printable_line
from consumer.signals import run_app
from consumer.state.writes import EventWrite
from consumer.terminal import print_error


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (None, "null"),
        (b"", ""),
        ("Grüße 你好 🙂".encode(), "Grüße 你好 🙂"),
        (b"\x1b[2J\x07", r"\x1b[2J\x07"),
        (b"a\nb\r\tc\\", r"a\nb\r\tc\\"),
        (b"\xff\xfe", r"\xff\xfe"),
        (b"\\xff", r"\\xff"),
        ("\x9b31m", r"\u009b31m"),
        ("\u202eabc\u2028", r"\u202eabc\u2028"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_is_not_plainly_visible_is_escaped(content: bytes | str | None, shown: str) -> None:
    assert printable(content) == shown


def test_a_long_content_says_how_much_more_there_is() -> None:
    assert printable(b"x" * 5000, limit=3) == "xxx… (4,997 more)"


@given(st.binary())
def test_whatever_is_shown_is_one_printable_line(content: bytes) -> None:
    assert printable(content).isprintable()


@given(st.binary(), st.binary())
@example(b"\x80", "\x80".encode())
@example(b"\\x80", b"\x80")
def test_different_bytes_look_different(one: bytes, other: bytes) -> None:
    assert (printable(one) == printable(other)) == (one == other)


@given(st.text())
def test_what_has_been_escaped_stays_as_it_is_inside_a_line_of_ours(text: str) -> None:
    assert printable_line(printable(text)) == printable(text)


HOSTILE = "a\x1b]0;b\x07\x1b[2J\r\n\t\x9b31m\u202e\u2066\u2028\u200b\ud800c\\[red]"
"""Moves the cursor, ends the line, turns the text around, hides, and cannot be written."""
HOSTILE_BYTES = HOSTILE.encode(errors="surrogatepass")
PLACE = Position(HOSTILE, 0, 7)
PARTITION = TopicPartition(HOSTILE, 0)
AT = datetime(2026, 3, 4, 10, tzinfo=UTC)
EVENT = {"type": HOSTILE, "payload": {"text": HOSTILE}, "timestamp": AT}
SESSION = {
    "sessionId": HOSTILE,
    "status": HOSTILE,
    HOSTILE: HOSTILE,
    "metadata": {HOSTILE: [HOSTILE]},
    "createdFrom": {"topic": HOSTILE, "partition": 0, "offset": 1},
    "endedFrom": {"topic": HOSTILE},
    "eventCount": HOSTILE,
}
HEADERS: Headers = (
    ("dlq-topic", b"x\x1b]0;pwned\x07\x1b[2J\ny\xff"),
    ("dlq-partition", b"0"),
    ("dlq-offset", b"1"),
    ("dlq-timestamp", b"5"),
    ("dlq-detail", HOSTILE_BYTES),
    ("dlq-reason", HOSTILE_BYTES),
    ("dlq-failed-at", b"2026-03-04T10:00:00Z"),
    (HOSTILE, HOSTILE_BYTES),
)
RECORD = Record(*PLACE, 5, HOSTILE_BYTES, HOSTILE_BYTES, HEADERS)


class Reader:
    """Hands out what someone else has stored."""

    async def session(self, _: str) -> Mapping[str, Any]:
        return SESSION

    async def count_events(self, _: str) -> int:
        return 2

    async def events(self, _: str) -> AsyncIterator[Mapping[str, Any]]:
        yield EVENT
        yield EVENT | {"payload": {HOSTILE: HOSTILE}}


async def _explain() -> None:
    info = origin_of(HEADERS)
    assert info is not None
    write = EventWrite(HOSTILE, HOSTILE, b"")
    records = [JudgedRecord(RECORD, write, Judgement(AuditResult.MISSING, None, HOSTILE))]
    found = explain.Explanation(HOSTILE, [PARTITION], records, [(RECORD, info)], SESSION, 1)
    await explain._print(console(), found, Reader().events(HOSTILE))


async def _show() -> None:
    await show._print_text(Reader(), HOSTILE, console())  # type: ignore[arg-type]


async def _status() -> None:
    part = status.PartitionStatus(HOSTILE, 0, HOSTILE, HOSTILE, 0, 1, 2, 1, None, None, 0)
    status._print(
        status.GroupStatus(HOSTILE, HOSTILE, True, HOSTILE, 1, 1, None, None, [part]), as_json=False
    )


async def _check() -> None:
    check._print([CheckResult.failed(HOSTILE, HOSTILE, HOSTILE)])


async def _audit() -> None:
    problem = ListedRecord.model_construct(
        **PLACE._asdict(),
        problem=RecordProblem.MISSING,
        document=("event", HOSTILE, HOSTILE),
        detail=HOSTILE,
    )
    disagreement = Disagreement(HOSTILE, 1, 2)
    counts = {PARTITION: Counter({AuditResult.MISSING: 1})}
    documents = Counter({AuditResult.MISSING: 1})
    disagreements = Disagreements(1, [disagreement])
    audit_report._print_tables(
        audit_report.AuditReport(counts, documents, [problem], 0, 0, disagreements, 1.0)
    )


async def _replay() -> None:
    counts = {PARTITION: OutcomeCounts(reasons=Counter({Reason.INVALID: 1}))}
    ranges = [OffsetRange(PARTITION, 0, 2)]
    replay_report.print_replay(
        replay_report.ReplayReport(False, True, ReplayProgress(ranges, {}), counts, 1.0, HOSTILE),
        as_json=False,
    )


def _letter() -> DeadLetterRecord:
    letter = read_dead_letter(RECORD)
    assert isinstance(letter, DeadLetterRecord)
    return letter


async def _list() -> None:
    groups = list_and_show.DeadLetterGroups()
    groups.add(_letter(), None, copy=False)
    list_and_show.print_groups(groups, with_state=True, as_json=False)
    unreadable = read_dead_letter(Record(*PLACE, 5, HOSTILE_BYTES, HOSTILE_BYTES))
    for letter in (_letter(), unreadable):
        list_and_show.print_line(letter, None, keys=True, as_json=False)
        list_and_show.print_dead_letter(letter, None, full=True, as_json=False)


async def _dry_run() -> None:
    record = OutgoingRecord(HOSTILE, None, None, HOSTILE_BYTES, None, HEADERS)
    change = StatusChange(_letter(), DeadLetterStatus.REDRIVEN, record)
    list_and_show.print_change(change, as_json=False)


async def _print_error() -> None:
    print_error(f"a file called {HOSTILE}: wrong")


@pytest.mark.parametrize(
    "command",
    [_explain, _show, _status, _check, _audit, _replay, _list, _dry_run, _print_error],
)
@pytest.mark.reliability("F84")
async def test_no_command_prints_raw_what_came_from_outside(
    command: Callable[[], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    await command()
    printed = "".join(capsys.readouterr())
    assert "\\x1b]0;" in printed
    assert "\\u202e" in printed
    raw = {char for char in printed if not char.isprintable()} - {"\n", "\t"}
    assert raw == set()


@pytest.mark.parametrize("name", ["consumer", "producer-tools"])
@pytest.mark.reliability("F84")
def test_an_error_that_quotes_a_broker_is_printed_escaped(name: str) -> None:
    def fail(**_: object) -> None:
        raise PreconditionError(f"Kafka says {HOSTILE}\nand more")

    code, printed = run_app(fail, name)
    assert code == 3
    assert "\\x1b]0;" in printed
    assert {char for char in printed if not char.isprintable()} == {"\n"}
