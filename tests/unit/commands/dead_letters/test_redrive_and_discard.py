"""Sending letters back, and marking them as dealt with, over topics in memory."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest

from consumer.commands.dead_letters import context as dead_letters
from consumer.commands.dead_letters.dead_letter_record import FailedRecord
from consumer.commands.dead_letters.dead_letter_selection import (
    DeadLetterRequest,
    DeadLetterSelection,
)
from consumer.commands.dead_letters.dead_letter_status import (
    ALL_STATUSES,
    NO_STATUSES,
    SENT,
    DeadLetterStatus,
    Statuses,
    StatusIndex,
    parse_status,
)
from consumer.commands.dead_letters.redrive_and_discard import (
    DeadLetterRun,
    RunCounts,
    RunOptions,
    _print_redriven,
    _printing,
)
from consumer.commands.dead_letters.redrive_policy import (
    RefusalReason,
    SkipReason,
    discard,
)
from consumer.contract.decode import Decoded, decode
from consumer.contract.kinds import EVENT_RECORDED
from consumer.contract.record import Position, Record
from consumer.contract.rejection import KeyPolicy, Rejected
from consumer.errors import SettingsError, TransientError
from consumer.kafka.producer import Delivery, OutgoingRecord, Refused, Unconfirmed
from consumer.settings.model import Settings
from tests.own_kinds import upcasting
from tests.unit.commands.dead_letters.builders import (
    EVENTS,
    LETTERS,
    NOW,
    PARKING,
    STAMPED_MS,
    STATUS_TOPIC,
    DeadLetterLog,
    FakeProducer,
    a_context,
    a_redrive,
    event,
    open_status_index,
    topic,
)


def five() -> DeadLetterLog:
    log = DeadLetterLog()
    for offset in range(5):
        log.add(origin=Position(EVENTS, 0, offset), value=event(eventId=f"e-{offset}"))
    return log


def recall(statuses: StatusIndex, producer: FakeProducer) -> None:
    """Start over as the next process does: with what the status topic says."""
    statuses.add(
        (record.key or b"", parse_status(record.value or b""))
        for record in producer.sent(STATUS_TOPIC)
    )


async def test_every_letter_is_sent_once_in_order_and_remembered(statuses: StatusIndex) -> None:
    producer, log = FakeProducer(), five()
    redrive = a_redrive(statuses, producer)
    await redrive.run(log.batches())
    assert [record.value for record in producer.sent()] == [r.value for r in log.records]
    assert len(producer.sent(STATUS_TOPIC)) == 5
    assert redrive.counts.statuses == {DeadLetterStatus.REDRIVEN: 5}


@pytest.mark.reliability("F100")
async def test_a_letter_of_a_later_version_is_applied_when_it_comes_back_after_the_upgrade(
    statuses: StatusIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = Record(EVENTS, 0, 0, STAMPED_MS, b"s-1", event(schemaVersion=2))
    refused = decode(failed, KeyPolicy.DEAD_LETTER)
    assert isinstance(refused, Rejected)
    log, producer = DeadLetterLog(), FakeProducer()
    log.fail(failed, reason=refused.reason, detail=refused.detail)
    await a_redrive(statuses, producer).run(log.batches())
    (sent,) = producer.sent()
    back = Record(EVENTS, 0, 1, STAMPED_MS, sent.key, sent.value, sent.headers)
    assert isinstance(decode(back, KeyPolicy.DEAD_LETTER), Rejected)
    with upcasting(EVENT_RECORDED, dict):
        assert isinstance(decode(back, KeyPolicy.DEAD_LETTER), Decoded)


async def test_a_second_redrive_sends_nothing() -> None:
    producer, log = FakeProducer(), five()
    for _ in range(2):
        with open_status_index() as statuses:
            recall(statuses, producer)
            redrive = a_redrive(statuses, producer)
            await redrive.run(log.batches())
    assert len(producer.sent()) == 5
    assert redrive.counts.left == {DeadLetterStatus.REDRIVEN: 5}


async def test_a_second_redrive_sends_all_again_where_that_is_asked_for(
    statuses: StatusIndex,
) -> None:
    producer, log = FakeProducer(), five()
    await a_redrive(statuses, producer).run(log.batches())
    with open_status_index() as next_memory:
        recall(next_memory, producer)
        await a_redrive(next_memory, producer, taken=SENT).run(log.batches())
    assert len(producer.sent()) == 10


@pytest.mark.parametrize("taken", [NO_STATUSES, SENT])
async def test_copies_of_one_failure_are_sent_once(statuses: StatusIndex, taken: Statuses) -> None:
    producer, log = FakeProducer(), five()
    log.copy(0)
    log.copy(0)
    redrive = a_redrive(statuses, producer, taken=taken)
    await redrive.run(log.batches(size=2))
    assert len(producer.sent()) == 5
    assert redrive.counts.skipped == {SkipReason.COPY: 2}


async def test_a_whole_letter_is_sent_although_a_truncated_copy_lies_before_it(
    statuses: StatusIndex,
) -> None:
    producer, log = FakeProducer(), DeadLetterLog()
    large = event(payload={"text": "x" * 5000})
    log.add(value=large, max_bytes=2000)
    log.add(value=large)
    redrive = a_redrive(statuses, producer)
    await redrive.run(log.batches())
    assert [record.value for record in producer.sent()] == [large]
    assert redrive.counts.refused == {RefusalReason.TRUNCATED: 1}


async def test_a_redriven_record_that_fails_again_is_a_letter_of_its_own(
    statuses: StatusIndex,
) -> None:
    producer, log = FakeProducer(), DeadLetterLog()
    log.add(origin=Position(EVENTS, 0, 0))
    log.add(origin=Position(EVENTS, 0, 9), attempt=2)
    await a_redrive(statuses, producer).run(log.batches())
    assert [dict(record.headers)["dlq-attempt"] for record in producer.sent()] == [b"1", b"2"]


async def test_what_has_come_back_more_often_than_allowed_is_parked_as_it_is(
    statuses: StatusIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer, log, created = FakeProducer(), DeadLetterLog(), Counter[str]()
    for attempt in (1, 3, 4, 9):
        log.add(origin=Position(EVENTS, 0, attempt), attempt=attempt)

    async def create(_: object, name: str, *__: object) -> bool:
        created[name] += 1
        return True

    monkeypatch.setattr(dead_letters, "create_topic", create)
    redrive = a_redrive(statuses, producer, topics=[topic()], window=1)
    await redrive.run(log.batches())
    assert [dict(r.headers)["dlq-attempt"] for r in producer.sent()] == [b"1", b"3"]
    assert [r.headers for r in producer.sent(PARKING)] == [r.headers for r in log.records[2:]]
    assert redrive.counts.statuses == {DeadLetterStatus.REDRIVEN: 2, DeadLetterStatus.PARKED: 2}
    assert created == {PARKING: 1}


async def test_what_was_parked_is_not_parked_again() -> None:
    producer, log = FakeProducer(), DeadLetterLog()
    log.add(attempt=9)
    for _ in range(2):
        with open_status_index() as statuses:
            recall(statuses, producer)
            redrive = a_redrive(statuses, producer)
            await redrive.run(log.batches())
    assert len(producer.sent(PARKING)) == 1
    assert redrive.counts.left == {DeadLetterStatus.PARKED: 1}


async def test_parked_letters_can_be_sent_back_from_where_they_are_parked(
    statuses: StatusIndex,
) -> None:
    producer, log = FakeProducer(), DeadLetterLog()
    log.add(attempt=9)
    await a_redrive(statuses, producer, parked=True).run(log.batches())
    assert len(producer.sent(EVENTS)) == 1


async def test_discarded_letters_stay_unless_all_are_asked_for(statuses: StatusIndex) -> None:
    log = five()
    keys = [letter.failure_key async for letters in log.batches() for letter in letters]
    statuses.add((key, DeadLetterStatus.DISCARDED) for key in keys)
    again, everything = FakeProducer(), FakeProducer()
    await a_redrive(statuses, again, taken=SENT).run(log.batches())
    await a_redrive(statuses, everything, taken=ALL_STATUSES).run(log.batches())
    assert (len(again.sent()), len(everything.sent())) == (0, 5)


async def test_a_canary_goes_first_and_the_next_run_sends_the_rest() -> None:
    producer, log = FakeProducer(), five()
    for limit, sent in ((2, 2), (None, 5)):
        with open_status_index() as statuses:
            recall(statuses, producer)
            redrive = a_redrive(statuses, producer, limit=limit)
            await redrive.run(log.batches())
        assert len(producer.sent()) == sent
        assert redrive.counts.limit_reached is (limit is not None)
    assert len(set(producer.sent())) == 5


@pytest.mark.parametrize("dry_run", [False, True])
async def test_a_canary_that_the_transform_fails_on_is_one_too(
    statuses: StatusIndex, *, dry_run: bool
) -> None:
    tried: list[FailedRecord] = []

    def fail(failed: FailedRecord) -> None:
        tried.append(failed)
        raise LookupError

    log = DeadLetterLog()
    log.add(value=event(payload={"text": "x" * 5000}), max_bytes=2000)  # cut: it goes nowhere
    for offset in range(5):
        log.add(origin=Position(EVENTS, 0, offset))
    producer = None if dry_run else FakeProducer()
    redrive = a_redrive(statuses, producer, limit=2, transform=fail)
    await redrive.run(log.batches())
    assert len(tried) == 2
    assert redrive.counts.limit_reached
    assert redrive.counts.refused == {RefusalReason.TRANSFORM: 2, RefusalReason.TRUNCATED: 1}


async def test_a_transform_that_hides_that_it_is_asynchronous_ends_the_run_at_once(
    statuses: StatusIndex, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[FailedRecord] = []

    async def later(_: FailedRecord) -> bytes:
        return b""

    def repair(failed: FailedRecord) -> object:
        asked.append(failed)
        return event(eventId="e-0") if len(asked) == 1 else later(failed)

    producer = FakeProducer()
    redrive = a_redrive(statuses, producer, transform=repair)
    with pytest.raises(SettingsError, match=r"--transform: .* write it without async"):
        await redrive.run(five().batches())
    assert len(asked) == 2
    assert len(producer.sent(STATUS_TOPIC)) == len(producer.sent()) == 1
    assert capsys.readouterr().err == ""


async def test_a_dry_run_tells_what_would_be_sent_and_sends_nothing(
    statuses: StatusIndex, capsys: pytest.CaptureFixture[str]
) -> None:
    log = five()
    log.copy(0)
    redrive = a_redrive(statuses, None)
    await redrive.run(log.batches())
    assert capsys.readouterr().out.count("would be redriven") == 5
    assert redrive.counts.statuses == {DeadLetterStatus.REDRIVEN: 5}


async def test_letters_that_cannot_go_back_are_told_of_and_left(statuses: StatusIndex) -> None:
    producer, log = FakeProducer(), DeadLetterLog()
    log.append(b"k", b"junk", ())
    log.add(value=event(payload={"text": "x" * 5000}), max_bytes=2000)
    log.add(origin=Position("payments", 0, 0))
    log.add(origin=Position("conversation.sessions", 0, 0))
    redrive = a_redrive(statuses, producer, topics=[topic()])
    await redrive.run(log.batches())
    assert producer.topics == {}
    assert list(redrive.counts.refused) == [
        RefusalReason.UNREADABLE,
        RefusalReason.TRUNCATED,
        RefusalReason.OTHER_TOPIC,
        RefusalReason.NO_TOPIC,
    ]


@pytest.mark.parametrize("policy", ["compact", "compact,delete"])
@pytest.mark.reliability("F79")
async def test_a_letter_does_not_go_back_to_a_topic_that_keeps_one_record_a_session(
    statuses: StatusIndex, policy: str
) -> None:
    producer = FakeProducer()
    redrive = a_redrive(statuses, producer, topics=[topic(cleanup_policy=policy)])
    await redrive.run(five().batches())
    assert producer.topics == {}
    assert redrive.counts.refused == {RefusalReason.COMPACTED: 5}


async def test_a_transform_repairs_skips_and_fails_each_letter_by_itself(
    statuses: StatusIndex, capsys: pytest.CaptureFixture[str]
) -> None:
    producer, log = FakeProducer(), DeadLetterLog()
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

    redrive = a_redrive(statuses, producer, transform=transform)
    await redrive.run(log.batches())
    assert [record.value for record in producer.sent()] == [
        event(eventId="e-0"),
        event(eventId="e-4"),
    ]
    assert redrive.counts.skipped == {SkipReason.TRANSFORM: 1}
    told = capsys.readouterr().err.splitlines()
    assert [line.split(" ")[0] for line in told] == [f"{LETTERS}:0:2", f"{LETTERS}:0:3"]
    assert redrive.counts.refused == {RefusalReason.TRANSFORM: 2}
    assert len(producer.sent(STATUS_TOPIC)) == 2


async def test_a_record_that_the_brokers_turn_down_is_told_of_and_not_remembered(
    statuses: StatusIndex,
) -> None:
    def turn_down(record: OutgoingRecord) -> Delivery | None:
        return Refused("too large") if record.value == event(eventId="e-1") else None

    producer = FakeProducer(answer=turn_down)
    redrive = a_redrive(statuses, producer)
    await redrive.run(five().batches())
    assert (len(producer.sent()), len(producer.sent(STATUS_TOPIC))) == (4, 4)
    assert redrive.counts.refused == {RefusalReason.BROKER: 1}


async def test_what_was_acknowledged_before_the_brokers_fell_silent_is_remembered(
    statuses: StatusIndex,
) -> None:
    def fall_silent(record: OutgoingRecord) -> Delivery | None:
        return Unconfirmed(OSError("gone")) if record.value == event(eventId="e-3") else None

    producer = FakeProducer(answer=fall_silent)
    with pytest.raises(TransientError, match="gone"):
        await a_redrive(statuses, producer).run(five().batches())
    assert len(producer.sent(STATUS_TOPIC)) == len(producer.sent()) == 4


@pytest.mark.reliability("F85")
async def test_a_redrive_that_the_brokers_stop_counts_what_it_did(statuses: StatusIndex) -> None:
    def fall_silent(record: OutgoingRecord) -> Delivery | None:
        if record.topic == STATUS_TOPIC and producer.sent(STATUS_TOPIC):
            return Unconfirmed(OSError("gone"))
        return Unconfirmed(OSError("late")) if record.value == event(eventId="e-3") else None

    producer = FakeProducer(answer=fall_silent)
    redrive = a_redrive(statuses, producer, window=1)
    redrive.window = 2
    with pytest.raises(TransientError):
        await redrive.run(five().batches())
    counts = redrive.counts
    assert (counts.statuses, counts.unconfirmed, counts.unrecorded) == (
        {DeadLetterStatus.REDRIVEN: 2},
        0,
        2,
    )


@pytest.mark.reliability("F85")
async def test_a_letter_whose_state_is_of_a_later_version_is_left_and_counted(
    statuses: StatusIndex,
) -> None:
    producer, log = FakeProducer(), DeadLetterLog()
    letter = log.add()
    statuses.add(
        [
            (letter.failure_key, DeadLetterStatus.REDRIVEN),
            (letter.failure_key, DeadLetterStatus.UNKNOWN),
        ]
    )
    redrive = a_redrive(statuses, producer, taken=SENT)
    await redrive.run(log.batches())
    assert (producer.sent(), redrive.counts.left) == ([], {DeadLetterStatus.UNKNOWN: 1})
    everything = a_redrive(statuses, producer, taken=ALL_STATUSES)
    await everything.run(log.batches())
    assert len(producer.sent()) == 1


@pytest.mark.parametrize("crash_at", range(4))
async def test_a_crash_between_sending_and_remembering_repeats_one_window_at_most(
    crash_at: int,
) -> None:
    """Ten letters in windows of three; the state topic dies with its ``crash_at``-th entry on."""
    producer, log = FakeProducer(), DeadLetterLog()
    for offset in range(10):
        log.add(origin=Position(EVENTS, 0, offset), value=event(eventId=f"e-{offset}"))

    def crash(record: OutgoingRecord) -> Delivery | None:
        remembered = len(producer.sent(STATUS_TOPIC))
        if record.topic == STATUS_TOPIC and remembered >= crash_at:
            return Unconfirmed(OSError("crashed"))
        return None

    producer.answer = crash
    with open_status_index() as statuses, pytest.raises(TransientError):
        await a_redrive(statuses, producer, window=3).run(log.batches())
    producer.answer = lambda _: None
    with open_status_index() as statuses:
        recall(statuses, producer)
        await a_redrive(statuses, producer, window=3).run(log.batches())
    times = Counter(record.value for record in producer.sent())
    assert len(times) == 10
    assert sum(times.values()) - 10 <= 3


async def test_an_interrupt_waits_until_what_is_in_flight_is_remembered(
    statuses: StatusIndex,
) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    class Slow(FakeProducer):
        async def send(self, records: Sequence[OutgoingRecord]) -> list[Delivery]:
            answers = await super().send(records)
            reached.set()
            await go_on.wait()
            return answers

    producer = Slow()
    running = asyncio.ensure_future(a_redrive(statuses, producer, window=2).run(five().batches()))
    await reached.wait()
    running.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert len(producer.sent(STATUS_TOPIC)) == len(producer.sent()) == 2


async def test_while_the_rate_makes_it_wait_all_before_has_been_sent_and_remembered(
    statuses: StatusIndex,
) -> None:
    now, producer = 0.0, FakeProducer()
    remembered: list[int] = []

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        remembered.append(len(producer.sent(STATUS_TOPIC)))

    limited: dict[str, Any] = {"rate": 2.0, "clock": lambda: now, "sleep": sleep}
    await a_redrive(statuses, producer, **limited).run(five().batches())
    assert now == pytest.approx(2.0)
    assert remembered == [1, 2, 3, 4]


async def test_a_window_is_full_of_bytes_before_it_is_full_of_records(
    statuses: StatusIndex,
) -> None:
    producer, log = FakeProducer(), DeadLetterLog()
    for offset in range(5):
        log.add(
            origin=Position(EVENTS, 0, offset),
            value=event(payload={"text": "x" * 3_000_000}),
            max_bytes=10_000_000,
        )
    await a_redrive(statuses, producer).run(log.batches())
    assert max(producer.sends) == 3


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "; the same command without it takes the rest"),
        ({"dry_run": True}, ""),
        ({"taken": SENT}, ""),
        ({"taken": ALL_STATUSES}, ""),
    ],
)
def test_the_rest_is_promised_only_where_the_next_run_leaves_out_what_this_one_sent(
    asked: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    request = DeadLetterRequest(Settings(), DeadLetterSelection())
    counts = RunCounts(limit_reached=True)
    _print_redriven(request, RunOptions(limit=1, **asked), counts)
    assert capsys.readouterr().err == f"consumer: stopped at --limit 1{said}\n"


@pytest.mark.parametrize(("dry_run", "said"), [(False, "sent"), (True, "would be sent")])
def test_a_dry_run_does_not_say_that_anything_was_sent(
    dry_run: bool, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    request = DeadLetterRequest(Settings(), DeadLetterSelection())
    _print_redriven(request, RunOptions(dry_run=dry_run), RunCounts(clock=2))
    assert capsys.readouterr().err.startswith(f"consumer: {said} with the time of now: 2, whose")


def test_a_run_that_is_interrupted_says_so_beside_its_counts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with (
        pytest.raises(asyncio.CancelledError),
        _printing(RunCounts(selected=3), lambda counts: print(counts.selected)),  # noqa: T201 -- stands for the counts
    ):
        raise asyncio.CancelledError
    told = capsys.readouterr()
    assert told.out == "3\n"
    assert (
        told.err == "consumer: interrupted: some of what is selected may not have been looked at\n"
    )


def a_discard(
    statuses: StatusIndex, producer: FakeProducer | None, taken: Statuses = NO_STATUSES
) -> DeadLetterRun:
    decide = partial(discard, statuses, "load test")
    options = RunOptions(taken)
    return DeadLetterRun(a_context(statuses), decide, producer, options, now=lambda: NOW)


async def test_letters_are_marked_with_the_reason_and_copies_once(statuses: StatusIndex) -> None:
    producer, log = FakeProducer(), DeadLetterLog()
    letter = log.add()
    log.copy(0)
    log.append(None, b"junk", ())
    marked = a_discard(statuses, producer)
    await marked.run(log.batches())
    assert marked.counts.statuses == {DeadLetterStatus.DISCARDED: 2}
    assert marked.counts.skipped == {SkipReason.COPY: 1}
    marks = producer.sent(STATUS_TOPIC)
    assert marks[0].key == letter.failure_key
    assert [json.loads(mark.value or b"")["because"] for mark in marks] == ["load test"] * 2


async def test_what_was_redriven_is_no_more_discarded_unless_all_is_asked_for(
    statuses: StatusIndex,
) -> None:
    log = DeadLetterLog()
    statuses.add([(log.add().failure_key, DeadLetterStatus.REDRIVEN)])
    left = a_discard(statuses, FakeProducer())
    await left.run(log.batches())
    marked = a_discard(statuses, FakeProducer(), SENT)
    await marked.run(log.batches())
    assert left.counts.left == {DeadLetterStatus.REDRIVEN: 1}
    assert marked.counts.statuses == {DeadLetterStatus.DISCARDED: 1}


@pytest.mark.reliability("F85")
async def test_a_discard_that_the_brokers_stop_says_what_it_did(statuses: StatusIndex) -> None:
    producer, log = FakeProducer(), DeadLetterLog()
    for offset in range(3):
        log.add(origin=Position(EVENTS, 0, offset))
    producer.answer = lambda _: (
        Unconfirmed(OSError("gone")) if producer.sent(STATUS_TOPIC) else None
    )
    stopped = a_discard(statuses, producer)
    with pytest.raises(TransientError):
        await stopped.run(log.batches(size=1))
    counts = stopped.counts
    assert (counts.selected, counts.statuses.total(), counts.unrecorded) == (2, 2, 1)


async def test_a_dry_run_of_a_discard_marks_nothing(statuses: StatusIndex) -> None:
    log = DeadLetterLog()
    log.add()
    dry = a_discard(statuses, None)
    await dry.run(log.batches())
    assert dry.counts.statuses == {DeadLetterStatus.DISCARDED: 1}
