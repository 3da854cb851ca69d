"""A record that the group has not read yet, and what is there of it all the same."""

from __future__ import annotations

import pytest

from consumer.commands.audit.verdicts import (
    AuditResult,
    DeadLetterEntry,
    Judgement,
    judge_stored,
    judge_unread,
)
from consumer.contract.rejection import Reason
from tests.unit.state.builders import event, write

NO_LETTER = DeadLetterEntry(None, expired=False)


@pytest.mark.parametrize("expired", [False, True])
def test_an_unread_record_without_a_trace_is_unread(expired: bool) -> None:
    written = write(event())
    found = judge_stored(written, None, [], DeadLetterEntry(None, expired))
    assert judge_unread(written, found).result is AuditResult.UNREAD


def test_an_unread_record_with_a_letter_is_dead() -> None:
    written = write(event())
    found = judge_stored(written, None, [], DeadLetterEntry(Reason.UNDECODABLE, expired=False))
    assert judge_unread(written, found).result is AuditResult.DEAD


def test_an_unread_event_that_is_stored_still_misses_its_session() -> None:
    written = write(event())
    found = judge_stored(written, written.content, [], NO_LETTER)
    assert judge_unread(written, found).result is AuditResult.MISSING


def test_a_record_that_writes_nothing_stays_skipped() -> None:
    skipped = Judgement(AuditResult.SKIPPED)
    assert judge_unread(None, skipped) == skipped
