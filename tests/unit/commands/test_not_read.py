"""What could not be read of the topics is named by every command that reads them, and found."""

from __future__ import annotations

from collections import Counter

import pytest

from consumer.commands.audit.audit_report import AuditReport, print_audit
from consumer.commands.audit.problems import Disagreements
from consumer.commands.dead_letters.context import DeadLetterContext
from consumer.commands.dead_letters.dead_letter_selection import (
    DeadLetterRequest,
    DeadLetterSelection,
)
from consumer.commands.status import GroupStatus, _print
from consumer.contract.record import TopicPartition
from consumer.errors import ExitCode
from consumer.kafka.connection import BrokersError
from consumer.kafka.range_reader import RangeReader
from consumer.kafka.ranges import DELETED, UnreadRange
from consumer.settings.model import Settings
from tests.unit.commands.dead_letters.builders import open_status_index

SPOILT = UnreadRange(TopicPartition("t", 3), 5, 9, "CorruptRecordException")
SAID = "t-3: offsets 5 to 8 not read (CorruptRecordException)"

REQUEST = DeadLetterRequest(Settings(), DeadLetterSelection())


def reader(*unread: UnreadRange) -> RangeReader:
    one = RangeReader.__new__(RangeReader)  # one that has read, and is not connected any more
    one.unread = list(unread)
    return one


@pytest.mark.reliability("F59")
def test_what_has_expired_is_not_spoilt() -> None:
    expired = UnreadRange(TopicPartition("t", 3), 0, 5, DELETED)
    assert reader(expired, SPOILT).unreadable == [SPOILT]


@pytest.mark.reliability("F59")
def test_an_audit_that_could_not_look_at_everything_does_not_end_well(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = AuditReport({}, Counter(), [], 0, 0, Disagreements(0, []), 1.0, [SPOILT])
    assert report.found
    assert not AuditReport({}, Counter(), [], 0, 0, Disagreements(0, []), 1.0).found
    print_audit(report, as_json=False)
    assert SAID in capsys.readouterr().out.splitlines()


@pytest.mark.reliability("F59")
def test_status_names_what_it_could_not_look_at(capsys: pytest.CaptureFixture[str]) -> None:
    status = GroupStatus("", "g", True, "Stable", 1, 0, None, None, [], [str(SPOILT)])
    assert status.found
    _print(status, as_json=False)
    assert SAID in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("otherwise", [ExitCode.DONE, ExitCode.FOUND])
@pytest.mark.reliability("F59")
def test_a_command_about_dead_letters_names_what_it_could_not_look_at(
    otherwise: ExitCode, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_status_index() as statuses:
        context = DeadLetterContext(REQUEST, {}, reader(SPOILT), statuses)
        assert context.exit_code(otherwise) is ExitCode.FOUND
        assert SAID in capsys.readouterr().err
        context = DeadLetterContext(REQUEST, {}, reader(), statuses)
        assert context.exit_code(otherwise) is otherwise


@pytest.mark.reliability("F85")
def test_a_redrive_does_not_begin_where_some_marks_cannot_be_read() -> None:
    marks = UnreadRange(TopicPartition(REQUEST.status_topic, 3), 5, 9, "CorruptRecordException")
    with open_status_index() as statuses:
        context = DeadLetterContext(REQUEST, {}, reader(SPOILT), statuses)
        context.require_all_statuses()
        context = DeadLetterContext(REQUEST, {}, reader(SPOILT, marks), statuses)
        with pytest.raises(BrokersError, match=r"redriven-3: offsets 5 to 8 not read .*--again"):
            context.require_all_statuses()
