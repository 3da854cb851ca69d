"""Marking letters as dealt with."""

from __future__ import annotations

import json

import pytest

from consumer.commands.dead_letters.dead_letter_status import Fate
from consumer.commands.dead_letters.discard import Discard
from consumer.commands.dead_letters.outbox import NotSentError, Unanswered
from consumer.commands.dead_letters.status_index import Memory
from consumer.contract.record import Position
from tests.unit.commands.dead_letters.builders import (
    EVENTS,
    NOW,
    STATE,
    FakeOutbox,
    LetterLog,
)


def a_discard(memory: Memory, outbox: FakeOutbox | None, *, dealt_with: bool = False) -> Discard:
    return Discard(memory, outbox, STATE, "load test", dealt_with, lambda: NOW)


async def test_letters_are_marked_with_the_reason_and_copies_once(memory: Memory) -> None:
    outbox, log = FakeOutbox(), LetterLog()
    letter = log.add()
    log.copy(0)
    log.append(None, b"junk", ())
    tally = await a_discard(memory, outbox).run(log.batches())
    assert (tally.discarded, tally.copies) == (2, 1)
    marks = outbox.sent(STATE)
    assert marks[0].key == letter.state_key
    assert [json.loads(mark.value or b"")["because"] for mark in marks] == ["load test"] * 2


async def test_what_was_redriven_is_no_more_discarded_unless_all_is_asked_for(
    memory: Memory,
) -> None:
    log = LetterLog()
    memory.remember([(log.add().state_key, Fate.REDRIVEN)])
    left = await a_discard(memory, FakeOutbox()).run(log.batches())
    marked = await a_discard(memory, FakeOutbox(), dealt_with=True).run(log.batches())
    assert (left.dealt_with_before, marked.discarded) == (1, 1)


@pytest.mark.reliability("F85")
async def test_a_discard_that_the_brokers_stop_says_what_it_did(memory: Memory) -> None:
    outbox, log = FakeOutbox(), LetterLog()
    for offset in range(3):
        log.add(origin=Position(EVENTS, 0, offset))
    outbox.answer = lambda _: Unanswered(OSError("gone")) if outbox.sent(STATE) else None
    discard = a_discard(memory, outbox)
    with pytest.raises(NotSentError):
        await discard.run(log.batches(size=1))
    tally = discard.tally
    assert (tally.selected, tally.discarded, tally.unconfirmed) == (2, 1, 1)


async def test_a_rehearsal_marks_nothing(memory: Memory) -> None:
    log = LetterLog()
    log.add()
    assert (await a_discard(memory, None).run(log.batches())).discarded == 1
