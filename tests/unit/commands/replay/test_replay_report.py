"""What a replay says it has done."""

from __future__ import annotations

import io
import json
from collections import Counter
from typing import Any

import pytest
from rich.console import Console

from consumer.commands.common.selected_ranges import LeftOut
from consumer.commands.replay import replay_report
from consumer.commands.replay.replay_report import (
    ListCounts,
    OutcomeCounts,
    ReplayReport,
    print_replay,
)
from consumer.commands.replay.replay_request import ReplayProgress
from consumer.contract.record import OffsetRange, TopicPartition
from consumer.contract.rejection import Reason
from consumer.errors import ExitCode
from consumer.kafka.ranges import DELETED, UnreadRange
from consumer.ports import PartitionReport
from consumer.state.outcomes import Mark, Outcome

P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)


def counts() -> dict[TopicPartition, OutcomeCounts]:
    outcomes = {
        Outcome.APPLIED: 1_000,
        Outcome.REDELIVERED: 2,
        Outcome.DUPLICATE: 3,
        Outcome.CONFLICT: 4,
        Outcome.DEAD_LETTERED: 5,
        Outcome.SKIPPED: 6,
    }
    reasons = {Reason.CONFLICT: 4, Reason.INVALID: 5}
    marks = Counter({Mark.KEY_MISMATCH: 1, Mark.EXPIRED: 5, Mark.DOUBTFUL_TIMESTAMP: 3})
    part = PartitionReport(0, 10, Counter(outcomes), Counter(reasons), marks=marks)
    counted = {P0: OutcomeCounts(), P1: OutcomeCounts()}
    counted[P0].add(part)
    counted[P1].add(PartitionReport(0, 1, Counter({Outcome.APPLIED: 1})))
    return counted


def report(**changed: Any) -> ReplayReport:
    progress = ReplayProgress(
        changed.pop("ranges", [OffsetRange(P0, 0, 2_000), OffsetRange(P1, 5, 9)]),
        changed.pop("positions", {P0: 2_000, P1: 9}),
        changed.pop("unread", [UnreadRange(P1, 5, 8, DELETED)]),
    )
    facts: dict[str, Any] = {
        "dry_run": False,
        "finished": True,
        "progress": progress,
        "counts": counts(),
        "seconds": 2.0,
        "dead_letters": "letters",
    }
    return ReplayReport(**(facts | changed))


def printed(capsys: pytest.CaptureFixture[str], one: ReplayReport) -> str:
    print_replay(one, as_json=False)
    return capsys.readouterr().out


def test_the_table_has_a_line_for_each_partition_and_their_sum(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = printed(capsys, report())
    rows = [line.split() for line in said.splitlines()]
    assert ["t-0", "0-1999", "1,020", "1,000", "5", "4", "5", "6"] in rows
    assert ["t-1", "5-8", "1", "1", "0", "0", "0", "0"] in rows
    assert ["total", "1,021", "1,001", "5", "4", "5", "6"] in rows
    assert "sent to letters, by reason: conflict 4, invalid 5" in said
    assert "3 offsets deleted by the brokers" in said
    assert "t-1: offsets 5 to 7 not read (deleted)" in said
    assert "1,021 records in 2.0 s, 510 a second" in said


@pytest.mark.parametrize("ranges", [[], [OffsetRange(P0, 9, 9)]])
def test_a_replay_of_what_is_not_in_the_topics_says_so(
    capsys: pytest.CaptureFixture[str], ranges: list[OffsetRange]
) -> None:
    said = "the topics hold nothing of what is selected"
    assert said in printed(capsys, report(ranges=ranges, counts={}, unread=[]))
    assert said not in printed(capsys, report())


def test_a_narrow_terminal_cuts_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    narrow = Console(file=written, width=60, soft_wrap=True)
    monkeypatch.setattr(replay_report, "console", lambda: narrow)
    print_replay(report(), as_json=False)
    assert "…" not in written.getvalue()


def test_a_dry_run_speaks_of_what_would_be(capsys: pytest.CaptureFixture[str]) -> None:
    said = printed(capsys, report(dry_run=True, dead_letters=None, of_list=ListCounts(restored=7)))
    assert "would insert" in said
    assert "nothing was written" in said
    assert "that would be sent, by reason: conflict 4" in said
    assert "7 altered documents would be put back" in said
    assert "may differ" not in said


def test_a_dry_run_says_where_the_run_may_end_otherwise(
    capsys: pytest.CaptureFixture[str],
) -> None:
    one = report(dry_run=True, contradictions=2)
    assert "may differ: 2 records of other content" in printed(capsys, one)
    print_replay(one, as_json=True)
    assert json.loads(capsys.readouterr().out)["contradictions"] == 2


def test_an_interruption_says_how_much_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    said = printed(capsys, report(finished=False, positions={P0: 1_500}))
    assert "interrupted: 504 offsets left" in said


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"unread": []}, ExitCode.DONE),
        ({"unread": [], "of_list": ListCounts(listed_not_found=1)}, ExitCode.FOUND),
        ({"unread": [UnreadRange(P0, 5, 6, DELETED)]}, ExitCode.FOUND),
        ({"unread": [UnreadRange(P0, 5, 6, "CorruptRecordException")]}, ExitCode.FOUND),
        ({"finished": False, "of_list": ListCounts(listed_not_found=1)}, ExitCode.DEADLINE),
    ],
)
@pytest.mark.reliability("F48", "F90")
def test_a_replay_that_has_not_got_all_of_it_does_not_end_well(
    facts: dict[str, Any], code: ExitCode
) -> None:
    one = report(**facts)
    assert one.exit_code is code
    assert one.complete is (one.finished and not facts.get("unread"))


def test_what_could_not_be_done_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    said = printed(capsys, report(of_list=ListCounts(0, 2, 0, 3), dead_letters=None))
    assert "2 altered documents left as found: --repair" in said
    assert "3 listed records not in the topics any more" in said
    assert "(not sent): conflict 4" in said
    assert "keys may lie elsewhere" not in said
    assert "3 partitions not read" in printed(
        capsys, report(left_out=LeftOut(partitions_left_out=3))
    )


@pytest.mark.reliability("F54")
def test_no_record_of_a_session_is_a_finding(capsys: pytest.CaptureFixture[str]) -> None:
    one = report(unread=[], nothing_found=True)
    assert one.exit_code is ExitCode.FOUND
    assert "no record of these sessions was found" in printed(capsys, one)
    assert report(unread=[]).exit_code is ExitCode.DONE


@pytest.mark.reliability("F81")
def test_what_a_time_passes_over_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    said = " ".join(printed(capsys, report(left_out=LeftOut(1, 2_000))).split())
    assert "2,000 offsets before the first record of that time, by the brokers' index" in said
    assert "1 record read and passed over, whose own time lies outside" in said


def test_json_has_every_outcome_by_name_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_replay(report(), as_json=True)
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert found["outcomes"] == {
        "applied": 1_001,
        "redelivered": 2,
        "duplicate": 3,
        "conflict": 4,
        "dead_lettered": 5,
        "skipped": 6,
    }
    assert found["reasons"] == {"conflict": 4, "invalid": 5}
    assert (found["complete"], found["deleted_unread"]) == (False, 3)
    assert found["unread"] == [
        {"topic": "t", "partition": 1, "first": 5, "end": 8, "cause": "deleted"}
    ]
    assert found["partitions"][1] == {
        "topic": "t",
        "partition": 1,
        "first": 5,
        "end": 9,
        "next": 9,
        "records": 1,
        "outcomes": dict.fromkeys(found["outcomes"], 0) | {"applied": 1},
        "reasons": {},
        "key_mismatches": 0,
        "expired": 0,
        "doubtful_timestamps": 0,
    }


@pytest.mark.reliability("F50")
def test_what_was_skipped_for_its_age_is_told_from_tombstones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = " ".join(printed(capsys, report()).split())
    assert "5 records skipped, since older than mongo.retention_days" in said
    assert "3 records with a timestamp that cannot be right" in said
    print_replay(report(), as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert (found["expired"], found["doubtful_timestamps"]) == (5, 3)
