"""Sending letters back, over topics in memory."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from consumer.commands.dead_letters.dead_letter_record import FailedRecord
from consumer.commands.dead_letters.dead_letter_status import DeadLetterStatus, parse_status
from consumer.commands.dead_letters.outbox import NotSentError
from consumer.commands.dead_letters.redrive_policy import RefusalReason, SkipReason
from consumer.commands.dead_letters.redriven_record import Destination
from consumer.commands.dead_letters.status_index import StatusIndex, open_status_index
from consumer.contract.record import Position
from consumer.kafka.producer import Delivery, OutgoingRecord, Refused, Unconfirmed
from consumer.kafka.rate_limit import RateLimiter
from tests.unit.commands.dead_letters.builders import (
    EVENTS,
    PARKING,
    STATE,
    DeadLetterLog,
    FakeOutbox,
    Told,
    a_redrive,
    event,
)


def five() -> DeadLetterLog:
    log = DeadLetterLog()
    for offset in range(5):
        log.add(origin=Position(EVENTS, 0, offset), value=event(eventId=f"e-{offset}"))
    return log


def recall(memory: StatusIndex, outbox: FakeOutbox) -> None:
    """Start over as the next process does: with what the state topic says."""
    memory.remember(
        (record.key or b"", parse_status(record.value or b"")) for record in outbox.sent(STATE)
    )


async def test_every_letter_is_sent_once_in_order_and_remembered(memory: StatusIndex) -> None:
    outbox, log = FakeOutbox(), five()
    redrive = a_redrive(memory, outbox)
    await redrive.run(log.batches())
    assert [record.value for record in outbox.sent()] == [r.value for r in log.records]
    assert len(outbox.sent(STATE)) == 5
    assert redrive.tally.fates == {DeadLetterStatus.REDRIVEN: 5}


async def test_a_second_redrive_sends_nothing() -> None:
    outbox, log = FakeOutbox(), five()
    for _ in range(2):
        with open_status_index() as memory:
            recall(memory, outbox)
            redrive = a_redrive(memory, outbox)
            await redrive.run(log.batches())
    assert len(outbox.sent()) == 5
    assert redrive.tally.left == {SkipReason.REDRIVEN: 5}


async def test_a_second_redrive_sends_all_again_where_that_is_asked_for(
    memory: StatusIndex,
) -> None:
    outbox, log = FakeOutbox(), five()
    await a_redrive(memory, outbox).run(log.batches())
    with open_status_index() as next_memory:
        recall(next_memory, outbox)
        await a_redrive(next_memory, outbox, again=True).run(log.batches())
    assert len(outbox.sent()) == 10


@pytest.mark.parametrize("again", [False, True])
async def test_copies_of_one_failure_are_sent_once(memory: StatusIndex, again: bool) -> None:
    outbox, log = FakeOutbox(), five()
    log.copy(0)
    log.copy(0)
    redrive = a_redrive(memory, outbox, again=again)
    await redrive.run(log.batches(size=2))
    assert len(outbox.sent()) == 5
    assert redrive.tally.left == {SkipReason.COPY: 2}


async def test_a_whole_letter_is_sent_although_a_truncated_copy_lies_before_it(
    memory: StatusIndex,
) -> None:
    outbox, log = FakeOutbox(), DeadLetterLog()
    large = event(payload={"text": "x" * 5000})
    log.add(value=large, max_bytes=2000)
    log.add(value=large)
    redrive = a_redrive(memory, outbox)
    await redrive.run(log.batches())
    assert [record.value for record in outbox.sent()] == [large]
    assert redrive.tally.refused == {RefusalReason.TRUNCATED: 1}


async def test_a_redriven_record_that_fails_again_is_a_letter_of_its_own(
    memory: StatusIndex,
) -> None:
    outbox, log = FakeOutbox(), DeadLetterLog()
    log.add(origin=Position(EVENTS, 0, 0))
    log.add(origin=Position(EVENTS, 0, 9), attempt=2)
    await a_redrive(memory, outbox).run(log.batches())
    assert [dict(record.headers)["dlq-attempt"] for record in outbox.sent()] == [b"1", b"2"]


async def test_what_has_come_back_more_often_than_allowed_is_parked_as_it_is(
    memory: StatusIndex,
) -> None:
    outbox, log, parks = FakeOutbox(), DeadLetterLog(), Counter[str]()
    for attempt in (1, 3, 4, 9):
        log.add(origin=Position(EVENTS, 0, attempt), attempt=attempt)

    async def ready() -> None:
        parks["ready"] += 1

    redrive = a_redrive(memory, outbox, max_attempts=3, window=1)
    redrive.ready_to_park = ready
    await redrive.run(log.batches())
    assert [dict(r.headers)["dlq-attempt"] for r in outbox.sent()] == [b"1", b"3"]
    assert [r.headers for r in outbox.sent(PARKING)] == [r.headers for r in log.records[2:]]
    assert redrive.tally.fates == {DeadLetterStatus.REDRIVEN: 2, DeadLetterStatus.PARKED: 2}
    assert parks == {"ready": 1}


async def test_what_was_parked_is_not_parked_again() -> None:
    outbox, log = FakeOutbox(), DeadLetterLog()
    log.add(attempt=9)
    for _ in range(2):
        with open_status_index() as memory:
            recall(memory, outbox)
            redrive = a_redrive(memory, outbox)
            await redrive.run(log.batches())
    assert len(outbox.sent(PARKING)) == 1
    assert redrive.tally.left == {SkipReason.PARKED: 1}


async def test_parked_letters_can_be_sent_back_from_where_they_are_parked(
    memory: StatusIndex,
) -> None:
    outbox, log = FakeOutbox(), DeadLetterLog()
    log.add(attempt=9)
    await a_redrive(memory, outbox, parking_topic=None).run(log.batches())
    assert len(outbox.sent(EVENTS)) == 1


async def test_discarded_letters_stay_unless_all_are_asked_for(memory: StatusIndex) -> None:
    log = five()
    keys = [letter.state_key async for letters in log.batches() for letter in letters]
    memory.remember((key, DeadLetterStatus.DISCARDED) for key in keys)
    again, everything = FakeOutbox(), FakeOutbox()
    await a_redrive(memory, again, again=True).run(log.batches())
    await a_redrive(memory, everything, dealt_with=True).run(log.batches())
    assert (len(again.sent()), len(everything.sent())) == (0, 5)


async def test_a_canary_goes_first_and_the_next_run_sends_the_rest() -> None:
    outbox, log = FakeOutbox(), five()
    for limit, sent in ((2, 2), (None, 5)):
        with open_status_index() as memory:
            recall(memory, outbox)
            redrive = a_redrive(memory, outbox, limit=limit)
            await redrive.run(log.batches())
        assert len(outbox.sent()) == sent
        assert redrive.tally.limit_reached is (limit is not None)
    assert len(set(outbox.sent())) == 5


async def test_a_rehearsal_tells_what_would_be_sent_and_sends_nothing(memory: StatusIndex) -> None:
    log, told = five(), Told()
    log.copy(0)
    redrive = a_redrive(memory, None, told)
    await redrive.run(log.batches())
    assert len(told.redrives) == 5
    assert redrive.tally.fates == {DeadLetterStatus.REDRIVEN: 5}


async def test_letters_that_cannot_go_back_are_told_of_and_left(memory: StatusIndex) -> None:
    outbox, log, told = FakeOutbox(), DeadLetterLog(), Told()
    log.append(b"k", b"junk", ())
    log.add(value=event(payload={"text": "x" * 5000}), max_bytes=2000)
    log.add(origin=Position("payments", 0, 0))
    log.add(origin=Position("conversation.sessions", 0, 0))
    redrive = a_redrive(memory, outbox, told, topics=frozenset({EVENTS, "conversation.sessions"}))
    await redrive.run(log.batches())
    assert outbox.topics == {}
    assert [refused.cause for _, refused in told.refusals] == [
        RefusalReason.UNREADABLE,
        RefusalReason.TRUNCATED,
        RefusalReason.OTHER_TOPIC,
        RefusalReason.NO_TOPIC,
    ]


@pytest.mark.parametrize("policy", ["compact", "compact,delete"])
@pytest.mark.reliability("F79")
async def test_a_letter_does_not_go_back_to_a_topic_that_keeps_one_record_a_session(
    memory: StatusIndex, policy: str
) -> None:
    outbox, told = FakeOutbox(), Told()
    compacted = Destination.from_configs(EVENTS, 1, {"cleanup.policy": policy})
    redrive = a_redrive(memory, outbox, told, destinations={EVENTS: compacted})
    await redrive.run(five().batches())
    assert outbox.topics == {}
    assert redrive.tally.refused == {RefusalReason.COMPACTED: 5}


async def test_a_transform_repairs_skips_and_fails_each_letter_by_itself(
    memory: StatusIndex,
) -> None:
    outbox, told, log = FakeOutbox(), Told(), DeadLetterLog()
    for offset, value in enumerate((b"repair", b"skip", b"raise", b"spoil", b"repair")):
        log.add(origin=Position(EVENTS, 0, offset), value=value)

    def transform(failed: FailedRecord) -> object:
        match failed.value:
            case b"repair":
                return event(eventId=f"e-{failed.origin.offset}")
            case b"skip":
                return None
            case b"spoil":
                return b"{}"
            case _:
                raise KeyError

    redrive = a_redrive(memory, outbox, told, transform=transform)
    await redrive.run(log.batches())
    assert [record.value for record in outbox.sent()] == [
        event(eventId="e-0"),
        event(eventId="e-4"),
    ]
    assert redrive.tally.left == {SkipReason.SKIPPED: 1}
    assert [letter.record.offset for letter, _ in told.refusals] == [2, 3]
    assert redrive.tally.refused == {RefusalReason.TRANSFORM: 2}
    assert len(outbox.sent(STATE)) == 2


async def test_a_record_that_the_brokers_turn_down_is_told_of_and_not_remembered(
    memory: StatusIndex,
) -> None:
    def turn_down(record: OutgoingRecord) -> Delivery | None:
        return Refused("too large") if record.value == event(eventId="e-1") else None

    outbox, told = FakeOutbox(answer=turn_down), Told()
    redrive = a_redrive(memory, outbox, told)
    await redrive.run(five().batches())
    assert (len(outbox.sent()), len(outbox.sent(STATE))) == (4, 4)
    assert redrive.tally.refused == {RefusalReason.BROKER: 1}


async def test_what_was_acknowledged_before_the_brokers_fell_silent_is_remembered(
    memory: StatusIndex,
) -> None:
    def fall_silent(record: OutgoingRecord) -> Delivery | None:
        return Unconfirmed(OSError("gone")) if record.value == event(eventId="e-3") else None

    outbox = FakeOutbox(answer=fall_silent)
    with pytest.raises(NotSentError, match="gone"):
        await a_redrive(memory, outbox).run(five().batches())
    assert len(outbox.sent(STATE)) == len(outbox.sent()) == 4


@pytest.mark.reliability("F85")
async def test_a_redrive_that_the_brokers_stop_counts_what_it_did(memory: StatusIndex) -> None:
    def fall_silent(record: OutgoingRecord) -> Delivery | None:
        if record.topic == STATE and outbox.sent(STATE):
            return Unconfirmed(OSError("gone"))
        return Unconfirmed(OSError("late")) if record.value == event(eventId="e-3") else None

    outbox = FakeOutbox(answer=fall_silent)
    redrive = a_redrive(memory, outbox, window=1)
    redrive.window = 2
    with pytest.raises(NotSentError):
        await redrive.run(five().batches())
    tally = redrive.tally
    assert (tally.fates, tally.unconfirmed, tally.unremembered) == (
        {DeadLetterStatus.REDRIVEN: 2},
        0,
        2,
    )


@pytest.mark.reliability("F85")
async def test_a_letter_whose_state_is_of_a_later_version_is_left_and_counted(
    memory: StatusIndex,
) -> None:
    outbox, log = FakeOutbox(), DeadLetterLog()
    letter = log.add()
    memory.remember(
        [
            (letter.state_key, DeadLetterStatus.REDRIVEN),
            (letter.state_key, DeadLetterStatus.UNKNOWN),
        ]
    )
    redrive = a_redrive(memory, outbox, again=True)
    await redrive.run(log.batches())
    assert (outbox.sent(), redrive.tally.left) == ([], {SkipReason.UNKNOWN: 1})
    everything = a_redrive(memory, outbox, dealt_with=True)
    await everything.run(log.batches())
    assert len(outbox.sent()) == 1


@pytest.mark.parametrize("crash_at", range(4))
async def test_a_crash_between_sending_and_remembering_repeats_one_window_at_most(
    crash_at: int,
) -> None:
    """Ten letters in windows of three; the state topic dies with its ``crash_at``-th entry on."""
    outbox, log = FakeOutbox(), DeadLetterLog()
    for offset in range(10):
        log.add(origin=Position(EVENTS, 0, offset), value=event(eventId=f"e-{offset}"))

    def crash(record: OutgoingRecord) -> Delivery | None:
        remembered = len(outbox.sent(STATE))
        if record.topic == STATE and remembered >= crash_at:
            return Unconfirmed(OSError("crashed"))
        return None

    outbox.answer = crash
    with open_status_index() as memory, pytest.raises(NotSentError):
        await a_redrive(memory, outbox, window=3).run(log.batches())
    outbox.answer = lambda _: None
    with open_status_index() as memory:
        recall(memory, outbox)
        await a_redrive(memory, outbox, window=3).run(log.batches())
    times = Counter(record.value for record in outbox.sent())
    assert len(times) == 10
    assert sum(times.values()) - 10 <= 3


async def test_an_interrupt_waits_until_what_is_in_flight_is_remembered(
    memory: StatusIndex,
) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    class Slow(FakeOutbox):
        async def send(self, records: Sequence[OutgoingRecord]) -> Sequence[Delivery]:
            answers = await super().send(records)
            reached.set()
            await go_on.wait()
            return answers

    outbox = Slow()
    running = asyncio.ensure_future(a_redrive(memory, outbox, window=2).run(five().batches()))
    await reached.wait()
    running.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert len(outbox.sent(STATE)) == len(outbox.sent()) == 2


async def test_while_the_rate_makes_it_wait_all_before_has_been_sent_and_remembered(
    memory: StatusIndex,
) -> None:
    now, outbox = 0.0, FakeOutbox()
    remembered: list[int] = []

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        remembered.append(len(outbox.sent(STATE)))

    limited: dict[str, Any] = {"limiter": RateLimiter(2.0), "clock": lambda: now, "sleep": sleep}
    await a_redrive(memory, outbox, **limited).run(five().batches())
    assert now == pytest.approx(2.0)
    assert remembered == [1, 2, 3, 4]


async def test_a_window_is_full_of_bytes_before_it_is_full_of_records(memory: StatusIndex) -> None:
    outbox, log = FakeOutbox(), DeadLetterLog()
    for offset in range(5):
        log.add(
            origin=Position(EVENTS, 0, offset),
            value=event(payload={"text": "x" * 3_000_000}),
            max_bytes=10_000_000,
        )
    await a_redrive(memory, outbox).run(log.batches())
    assert max(outbox.sends) == 3
