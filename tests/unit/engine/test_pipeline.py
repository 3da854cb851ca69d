"""One batch, end to end: what is applied, dead-lettered, held and given up."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from consumer.contract.dead_letter import DeadLetter
from consumer.contract.record import Record
from consumer.contract.rejection import KeyPolicy, Reason, Rejected
from consumer.engine.pipeline import (
    DEAD_LETTER_CHUNK,
    DEAD_LETTER_CHUNK_BYTES,
    DECODED_AT_ONCE,
    DECODED_BYTES_AT_ONCE,
    Abandoned,
    Batch,
    RecordPlanner,
)
from consumer.errors import PreconditionError, TransientError
from consumer.ports import BatchReport, Hold, Stage
from consumer.state.outcomes import NO_MARK, Mark, Outcome, Result
from consumer.state.retention import Retention
from consumer.state.writes import DocumentWrite, EventWrite, Write
from tests import builders
from tests.simulation.loop import in_virtual_time
from tests.unit.engine.scripted import (
    BAD,
    DIFFERENT_KEY,
    GOOD,
    HELD_AT,
    OUTAGE,
    P0,
    P1,
    P2,
    Engine,
    planned,
    records,
)

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)


def batch(*of_partitions: list[Record]) -> Batch:
    return Batch({part[0].topic_partition: part for part in of_partitions}, asyncio.Event())


def outcomes(report: BatchReport) -> dict[object, Counter[Outcome]]:
    return {partition: part.outcomes for partition, part in report.partitions.items()}


# --- the way of a batch --------------------------------------------------------------


@in_virtual_time
async def test_every_record_ends_in_one_outcome() -> None:
    engine = Engine()
    mixed = [*records(P0, 4, 2), *records(P0, 6, value=BAD)]
    report = await engine.pipeline.process(batch(mixed, records(P1, 0)))
    assert outcomes(report) == {
        P0: {Outcome.APPLIED: 2, Outcome.DEAD_LETTERED: 1},
        P1: {Outcome.APPLIED: 1},
    }
    assert (report.partitions[P0].first, report.partitions[P0].end) == (4, 7)
    assert report.partitions[P0].reasons == {Reason.INVALID: 1}
    assert engine.store.offsets == [(0, 4), (0, 5), (1, 0)]
    assert [sent.origin.offset for sent in engine.letters.sent] == [6]
    assert engine.observer.rejections == [(mixed[2], Rejected(Reason.INVALID, "bad"))]


@in_virtual_time
async def test_a_batch_tells_its_bytes_and_how_old_a_sample_of_its_applied_records_is() -> None:
    engine = Engine()
    two_late = [one._replace(timestamp_ms=one.timestamp_ms - 2_000) for one in records(P0, 0, 250)]
    rejected, unstamped = records(P1, 0, value=BAD), records(P2, 0)
    report = await engine.pipeline.process(
        batch(two_late, rejected, [unstamped[0]._replace(timestamp_ms=-1)])
    )
    age = HELD_AT.timestamp() - builders.STAMPED_MS / 1000
    assert report.partitions[P0].latencies == [age + 2.0] * 3
    assert report.partitions[P1].latencies == []
    assert report.partitions[P2].latencies == []
    assert report.value_bytes == 250 * len(GOOD) + len(BAD) + len(GOOD)


@in_virtual_time
async def test_a_producer_whose_clock_is_ahead_makes_no_latency_below_zero() -> None:
    engine = Engine()
    early = [one._replace(timestamp_ms=2_000_000_000_000) for one in records(P0, 0)]
    report = await engine.pipeline.process(batch(early))
    assert report.partitions[P0].latencies == [0.0]


@in_virtual_time
async def test_what_the_store_rejects_is_dead_lettered_too() -> None:
    engine = Engine()
    conflict = Rejected(Reason.CONFLICT, "the stored event differs in payload")
    engine.store.result = Result(Outcome.CONFLICT, conflict)
    report = await engine.pipeline.process(batch(records(P0, 0)))
    assert outcomes(report) == {P0: {Outcome.CONFLICT: 1}}
    assert len(engine.letters.sent) == 1


@in_virtual_time
async def test_late_records_and_other_keys_are_counted_beside_the_outcomes() -> None:
    engine = Engine()
    engine.store.result = Result(Outcome.APPLIED, late=True)
    mixed = [*records(P0, 0), *records(P0, 1, 2, value=DIFFERENT_KEY)]
    report = await engine.pipeline.process(batch(mixed, records(P1, 0, value=DIFFERENT_KEY)))
    assert (report.partitions[P0].late, report.partitions[P0].marks[Mark.KEY_MISMATCH]) == (3, 2)
    assert (report.partitions[P1].late, report.partitions[P1].marks[Mark.KEY_MISMATCH]) == (1, 1)


@in_virtual_time
async def test_dead_letters_are_sent_only_when_everything_is_applied() -> None:
    engine = Engine()
    engine.store.gate.clear()
    mixed = [*records(P0, 0), *records(P0, 1, value=BAD)]
    processing = asyncio.ensure_future(engine.pipeline.process(batch(mixed)))
    await asyncio.sleep(10.0)
    assert engine.letters.attempts == 0
    engine.store.gate.set()
    await processing
    assert len(engine.letters.sent) == 1


@in_virtual_time
async def test_a_batch_without_writes_asks_nothing_of_the_store() -> None:
    engine = Engine()
    await engine.pipeline.process(batch(records(P0, 0, 3, BAD)))
    assert engine.store.attempts == []


@in_virtual_time
async def test_a_large_batch_lets_others_run_while_it_is_decoded() -> None:
    engine = Engine()
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    running = asyncio.ensure_future(others())
    await engine.pipeline._plan(batch(records(P0, 0, 5 * DECODED_AT_ONCE)), BatchReport())
    running.cancel()
    assert turns >= 4


@in_virtual_time
async def test_a_store_that_answers_for_too_few_loses_nothing_in_silence() -> None:
    engine = Engine()

    def forgetful(record: Record) -> tuple[Write | Result, Mark]:
        write, mismatch = planned(record)
        return write, mismatch

    async def execute() -> list[Result]:
        return [Result(Outcome.APPLIED)]

    engine.store.prepare = lambda _writes: execute  # type: ignore[assignment,method-assign]  # a broken store
    with pytest.raises(AssertionError, match="1 results for 2 writes"):
        await engine.pipeline.process(batch(records(P0, 0, 2)))


# --- outages ------------------------------------------------------------------------------


@in_virtual_time
async def test_an_outage_of_the_store_is_waited_out_with_growing_pauses() -> None:
    engine = Engine()
    engine.store.errors.extend([OUTAGE] * 5)
    report = await engine.pipeline.process(batch(records(P0, 0)))
    assert outcomes(report) == {P0: {Outcome.APPLIED: 1}}
    assert [delay for _, _, _, delay in engine.observer.retries] == pytest.approx(
        [0.55, 1.1, 2.2, 4.4, 4.4]
    )
    assert engine.observer.recoveries == [(Stage.APPLY, 5)]
    assert engine.letters.attempts == 0


@in_virtual_time
async def test_dead_letters_that_cannot_be_sent_are_tried_until_they_are() -> None:
    engine = Engine()
    engine.letters.errors.extend([TransientError("KafkaTimeoutError")] * 3)
    await engine.pipeline.process(batch(records(P0, 0, value=BAD)))
    assert len(engine.letters.sent) == 1
    assert engine.observer.recoveries == [(Stage.DEAD_LETTERS, 3)]


@in_virtual_time
async def test_many_dead_letters_go_in_portions_and_none_that_was_acknowledged_goes_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = Engine()
    send, portions = engine.letters.send, list[int]()

    async def failing_once(letters: list[DeadLetter]) -> None:
        portions.append(len(letters))
        if len(portions) == 2:
            raise TransientError("KafkaTimeoutError")
        await send(letters)

    monkeypatch.setattr(engine.letters, "send", failing_once)
    count = 2 * DEAD_LETTER_CHUNK + 1
    await engine.pipeline.process(batch(records(P0, 0, count, value=BAD)))
    assert [sent.origin.offset for sent in engine.letters.sent] == list(range(count))
    assert portions == [DEAD_LETTER_CHUNK, DEAD_LETTER_CHUNK, DEAD_LETTER_CHUNK, 1]


@in_virtual_time
async def test_large_dead_letters_go_in_smaller_portions() -> None:
    engine = Engine()
    conflict = Rejected(Reason.CONFLICT, "the stored event differs in payload")
    engine.store.result = Result(Outcome.CONFLICT, conflict)
    large = bytes(DEAD_LETTER_CHUNK_BYTES // 2)
    await engine.pipeline.process(batch(records(P0, 0, 3, value=large)))
    assert len(engine.letters.sent) == 3
    assert engine.letters.attempts == 2


@in_virtual_time
@pytest.mark.reliability("F70")
async def test_dead_letters_with_heavy_headers_go_in_smaller_portions() -> None:
    engine = Engine()
    heavy = (("h", bytes(DEAD_LETTER_CHUNK_BYTES // 2)),)
    one = batch([bad._replace(headers=heavy) for bad in records(P0, 0, 3, value=BAD)])
    await engine.pipeline.process(one)
    assert len(engine.letters.sent) == 3
    assert engine.letters.attempts == 3


@in_virtual_time
async def test_what_no_retry_can_help_is_raised() -> None:
    engine = Engine()
    engine.store.errors.append(PreconditionError("another unique index"))
    with pytest.raises(PreconditionError):
        await engine.pipeline.process(batch(records(P0, 0)))


@in_virtual_time
@pytest.mark.reliability("F71")
async def test_decoding_large_records_leaves_the_event_loop_a_turn_between_them() -> None:
    engine = Engine()
    turns = 0

    async def beat() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    seen: list[int] = []
    plan = engine.pipeline.planner

    def noting(record: Record) -> tuple[Write | Result, Mark]:
        seen.append(turns)
        return plan(record)

    engine.pipeline.planner = noting
    beating = asyncio.ensure_future(beat())
    large = bytes(DECODED_BYTES_AT_ONCE + 1)
    await engine.pipeline.process(batch(records(P0, 0, 5, value=large)))
    beating.cancel()
    assert len(set(seen)) == 5


# --- the assignment ends ---------------------------------------------------------------------


@in_virtual_time
async def test_a_batch_stops_waiting_the_moment_its_assignment_ends() -> None:
    engine = Engine()
    engine.store.errors.extend([OUTAGE] * 100)
    one = batch(records(P0, 0))
    processing = asyncio.ensure_future(engine.pipeline.process(one))
    await asyncio.sleep(3.0)
    one.ended.set()
    ended = asyncio.get_running_loop().time()
    with pytest.raises(Abandoned):
        await processing
    assert asyncio.get_running_loop().time() == ended


@in_virtual_time
async def test_what_fails_after_its_assignment_ended_is_no_trouble_of_the_new_one() -> None:
    engine = Engine()
    engine.store.gate.clear()
    engine.store.errors.append(OUTAGE)
    one = batch(records(P0, 0))
    processing = asyncio.ensure_future(engine.pipeline.process(one))
    await asyncio.sleep(1.0)
    one.ended.set()
    engine.store.gate.set()
    with pytest.raises(Abandoned):
        await processing
    assert engine.observer.retries == []


@in_virtual_time
async def test_a_batch_that_was_applied_too_late_leaves_no_trace_but_the_writes() -> None:
    engine = Engine(breaker_share=0.1)
    engine.store.gate.clear()
    one = batch([*records(P0, 0), *records(P0, 1, value=BAD)])
    processing = asyncio.ensure_future(engine.pipeline.process(one))
    await asyncio.sleep(1.0)
    one.ended.set()
    engine.store.gate.set()
    with pytest.raises(Abandoned):
        await processing
    assert engine.letters.attempts == 0
    assert engine.observer.rejections == []
    assert engine.pipeline.breaker.tripped_by(P0, [False]) is None


@in_virtual_time
async def test_a_batch_of_an_ended_assignment_sends_no_further_dead_letter() -> None:
    engine = Engine()
    engine.letters.errors.extend([OUTAGE] * 100)
    one = batch(records(P0, 0, value=BAD))
    processing = asyncio.ensure_future(engine.pipeline.process(one))
    await asyncio.sleep(3.0)
    attempts = engine.letters.attempts
    one.ended.set()
    with pytest.raises(Abandoned):
        await processing
    assert engine.letters.attempts == attempts


# --- the breaker ----------------------------------------------------------------------------


@in_virtual_time
async def test_a_partition_over_the_breakers_share_is_held_and_the_others_go_on() -> None:
    engine = Engine(breaker_share=0.5)
    bad = records(P0, 0, 3, BAD)
    mixed = [*records(P1, 0, 3), *records(P1, 3, value=BAD)]
    report = await engine.pipeline.process(batch(bad, mixed))
    assert report.held == {P0: Hold(0, 1.0, {Reason.INVALID: 3}, HELD_AT)}
    assert outcomes(report) == {P1: {Outcome.APPLIED: 3, Outcome.DEAD_LETTERED: 1}}
    assert [sent.origin for sent in engine.letters.sent] == [mixed[3].position]
    assert engine.observer.rejections == [
        (bad[0], Rejected(Reason.INVALID, "bad")),
        (mixed[3], Rejected(Reason.INVALID, "bad")),
    ]


# --- planning a record -------------------------------------------------------------------------


def planner(policy: KeyPolicy = KeyPolicy.WARN, keep: timedelta | None = None) -> RecordPlanner:
    return RecordPlanner(policy, None if keep is None else Retention(keep), lambda: NOW)


def test_a_message_becomes_its_write() -> None:
    write, mismatch = planner()(builders.record(builders.event("s", "e")))
    assert isinstance(write, EventWrite)
    assert not mismatch
    assert isinstance(planner()(builders.record(builders.created()))[0], DocumentWrite)


def test_a_record_that_says_nothing_usable_is_dead_lettered() -> None:
    result, _ = planner()(builders.record(b"not json"))
    assert isinstance(result, Result)
    assert result.outcome is Outcome.DEAD_LETTERED
    assert result.rejected is not None
    assert result.rejected.reason is Reason.UNDECODABLE


def test_a_message_that_cannot_be_stored_is_dead_lettered() -> None:
    result, _ = planner()(builders.record(builders.event(payload={"n": 2**64})))
    assert isinstance(result, Result)
    assert result.rejected is not None
    assert result.rejected.reason is Reason.UNSTORABLE


def test_a_tombstone_is_skipped() -> None:
    assert planner()(builders.record(None)) == (Result(Outcome.SKIPPED), NO_MARK)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [(KeyPolicy.WARN, EventWrite), (KeyPolicy.DEAD_LETTER, Result)],
)
def test_another_key_is_counted_or_refused(policy: KeyPolicy, expected: type) -> None:
    write, marks = planner(policy)(builders.record(builders.event("s"), key=b"other"))
    assert isinstance(write, expected)
    assert marks is (Mark.KEY_MISMATCH if policy is KeyPolicy.WARN else NO_MARK)


def test_a_record_older_than_what_is_kept_is_skipped() -> None:
    keeping = planner(keep=timedelta(days=30))
    old = int((NOW - timedelta(days=40)).timestamp() * 1000)
    skipped = keeping(builders.record(builders.event(), timestamp_ms=old))
    assert skipped == (Result(Outcome.SKIPPED), Mark.EXPIRED), "and told apart from a tombstone"
    assert isinstance(keeping(builders.record(builders.event()))[0], EventWrite)


@pytest.mark.reliability("F50")
def test_a_record_whose_timestamp_cannot_be_right_is_stored_and_counted() -> None:
    keeping = planner(keep=timedelta(days=30))
    seconds = int(NOW.timestamp())
    write, marks = keeping(builders.record(builders.event(), timestamp_ms=seconds, key=b"other"))
    assert isinstance(write, EventWrite)
    assert write.expire_at is None
    assert marks == Mark.DOUBTFUL_TIMESTAMP | Mark.KEY_MISMATCH
    write, marks = planner()(builders.record(builders.event(), timestamp_ms=seconds))
    assert marks == NO_MARK, "where nothing expires it decides nothing anyway"
