"""Counting letters by what they have in common."""

from __future__ import annotations

from datetime import UTC, datetime

from consumer.commands.dead_letters.dead_letter_record import UnreadableDeadLetter
from consumer.commands.dead_letters.dead_letter_status import DeadLetterStatus
from consumer.commands.dead_letters.list_and_show import DeadLetterGroups
from consumer.contract.record import Position
from consumer.contract.rejection import Reason
from tests.unit.commands.dead_letters.builders import EVENTS, LETTERS, DeadLetterLog


def at(hour: int, minute: int) -> datetime:
    return datetime(2026, 3, 4, hour, minute, tzinfo=UTC)


def test_letters_are_grouped_by_reason_topic_and_hour() -> None:
    log, groups = DeadLetterLog(), DeadLetterGroups()
    for letter in (
        log.add(failed_at=at(10, 0), attempt=2),
        log.add(failed_at=at(10, 59)),
        log.add(failed_at=at(11, 0)),
        log.add(failed_at=at(10, 0), reason=Reason.CONFLICT),
        log.add(failed_at=at(10, 0), origin=Position("conversation.sessions", 0, 0)),
    ):
        groups.add(letter, None, copy=False)
    assert [
        (one.reason, one.topic, one.hour, one.letters) for _, one in sorted(groups.items())
    ] == [
        ("conflict", EVENTS, "2026-03-04T10:00:00.000Z", 1),
        ("invalid", EVENTS, "2026-03-04T10:00:00.000Z", 2),
        ("invalid", EVENTS, "2026-03-04T11:00:00.000Z", 1),
        ("invalid", "conversation.sessions", "2026-03-04T10:00:00.000Z", 1),
    ]
    assert sum(group.letters for group in groups.values()) == 5


def test_a_group_knows_its_first_letter_its_copies_what_was_cut_and_how_often_it_failed() -> None:
    log, groups = DeadLetterLog(), DeadLetterGroups()
    groups.add(log.add(attempt=2), None, copy=False)
    groups.add(log.add(), None, copy=True)
    groups.add(log.add(value=b"x" * 5000, max_bytes=2000), None, copy=False)
    (group,) = groups.values()
    assert group.first == Position(LETTERS, 0, 0)
    assert (group.letters, group.copies, group.truncated, group.attempts) == (3, 1, 1, 2)


def test_the_first_of_a_group_is_the_same_in_whichever_order_partitions_are_read() -> None:
    log, groups = DeadLetterLog(), DeadLetterGroups()
    for letter in reversed([log.add(), log.add()]):
        groups.add(letter, None, copy=False)
    (group,) = groups.values()
    assert group.first == Position(LETTERS, 0, 0)


def test_what_was_dealt_with_is_a_group_of_its_own_behind_what_waits() -> None:
    groups, letter = DeadLetterGroups(), DeadLetterLog().add()
    for status in (DeadLetterStatus.REDRIVEN, None, DeadLetterStatus.DISCARDED):
        groups.add(letter, status, copy=False)
    assert [group.state for _, group in sorted(groups.items())] == [
        "waiting",
        "discarded",
        "redriven",
    ]


def test_unreadable_letters_are_grouped_by_when_they_came() -> None:
    groups = DeadLetterGroups()
    groups.add(
        UnreadableDeadLetter(DeadLetterLog().append(None, b"junk", ()), ""), None, copy=False
    )
    (group,) = groups.values()
    assert (group.reason, group.topic, group.attempts) == ("unreadable", "", 0)
    assert group.hour == "2026-03-05T12:00:00.000Z"
