"""Marking letters as dealt with."""

from __future__ import annotations

import json

import pytest

from consumer.commands.dead_letters.dead_letter_status import DeadLetterStatus
from consumer.commands.dead_letters.discard import Discard
from consumer.commands.dead_letters.outbox import NotSentError
from consumer.commands.dead_letters.status_index import StatusIndex
from consumer.contract.record import Position
from consumer.kafka.producer import Unconfirmed
from tests.unit.commands.dead_letters.builders import (
    EVENTS,
    NOW,
    STATE,
    DeadLetterLog,
    FakeOutbox,
)


def a_discard(
    memory: StatusIndex, outbox: FakeOutbox | None, *, dealt_with: bool = False
) -> Discard:
    return Discard(memory, outbox, STATE, "load test", dealt_with, lambda: NOW)


async def test_letters_are_marked_with_the_reason_and_copies_once(memory: StatusIndex) -> None:
    outbox, log = FakeOutbox(), DeadLetterLog()
    letter = log.add()
    log.copy(0)
    log.append(None, b"junk", ())
    tally = await a_discard(memory, outbox).run(log.batches())
    assert (tally.discarded, tally.copies) == (2, 1)
    marks = outbox.sent(STATE)
    assert marks[0].key == letter.state_key
    assert [json.loads(mark.value or b"")["because"] for mark in marks] == ["load test"] * 2


async def test_what_was_redriven_is_no_more_discarded_unless_all_is_asked_for(
    memory: StatusIndex,
) -> None:
    log = DeadLetterLog()
    memory.remember([(log.add().state_key, DeadLetterStatus.REDRIVEN)])
    left = await a_discard(memory, FakeOutbox()).run(log.batches())
    marked = await a_discard(memory, FakeOutbox(), dealt_with=True).run(log.batches())
    assert (left.dealt_with_before, marked.discarded) == (1, 1)


@pytest.mark.reliability("F85")
async def test_a_discard_that_the_brokers_stop_says_what_it_did(memory: StatusIndex) -> None:
    outbox, log = FakeOutbox(), DeadLetterLog()
    for offset in range(3):
        log.add(origin=Position(EVENTS, 0, offset))
    outbox.answer = lambda _: Unconfirmed(OSError("gone")) if outbox.sent(STATE) else None
    discard = a_discard(memory, outbox)
    with pytest.raises(NotSentError):
        await discard.run(log.batches(size=1))
    tally = discard.tally
    assert (tally.selected, tally.discarded, tally.unconfirmed) == (2, 1, 1)


async def test_a_rehearsal_marks_nothing(memory: StatusIndex) -> None:
    log = DeadLetterLog()
    log.add()
    assert (await a_discard(memory, None).run(log.batches())).discarded == 1
