"""The drive: what is polled when, what is committed when, and how a run ends."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import replace

import pytest

from consumer.contract.record import OffsetRange
from consumer.engine.in_flight import CANCEL_AGAIN
from consumer.engine.runner import BUSY_POLL, DRAIN_SHARE, IDLE_POLL, REVOKE_SHARE, StopReason
from consumer.errors import IncidentError, PreconditionError, TaskDiedError, TransientError
from consumer.ports import LogReset, Polled, Stage, StartOffset
from tests.simulation.loop import in_virtual_time
from tests.unit.engine.scripted import BAD, OUTAGE, P0, P1, P2, Engine, brought, records

UNREADABLE = TransientError("CorruptRecordException")


def now() -> float:
    return asyncio.get_running_loop().time()


# --- polling and committing --------------------------------------------------------


@in_virtual_time
async def test_what_is_applied_is_committed_and_nothing_before() -> None:
    engine = Engine()
    engine.store.gate.clear()
    engine.source.scripts.append(brought(P0, 0, 3))
    await engine.start(P0)
    await asyncio.sleep(5.0)
    assert engine.source.commits == []
    engine.store.gate.set()
    await asyncio.sleep(1.5)
    assert engine.source.commits == [{P0: 3}]
    assert await engine.end() is StopReason.STOPPED


@in_virtual_time
async def test_a_partition_is_not_polled_while_its_batch_is_in_flight_and_the_others_are() -> None:
    engine = Engine()
    engine.store.gate.clear()
    engine.source.scripts.append(brought(P0, 0))
    await engine.start(P0, P1)
    await asyncio.sleep(0.1)
    asked = [partitions for partitions, _ in engine.source.asked[2:]]
    assert asked
    assert set(asked) == {(P1,)}
    engine.store.gate.set()
    await asyncio.sleep(0.1)
    assert engine.source.asked[-1][0] == (P0, P1)


@in_virtual_time
async def test_no_more_batches_are_in_flight_than_may_be_and_membership_is_kept() -> None:
    engine = Engine(batches_in_flight=2)
    engine.store.gate.clear()
    engine.source.scripts += [brought(P0, 0), brought(P1, 0), brought(P2, 0)]
    await engine.start(P0, P1, P2)
    await asyncio.sleep(10.0)
    assert len(engine.store.attempts) == 2
    assert max(engine.observer.batches_in_flight) == 2
    liveness = [ask for ask in engine.source.asked if ask == ((), 0.0)]
    assert 10.0 / IDLE_POLL - 2 <= len(liveness) <= 10.0 / IDLE_POLL
    engine.store.gate.set()
    await asyncio.sleep(0.1)
    assert len(engine.store.attempts) == 3


@in_virtual_time
async def test_liveness_that_cannot_be_proved_ends_nothing() -> None:
    engine = Engine(batches_in_flight=1)
    engine.store.gate.clear()
    engine.source.scripts.append(brought(P0, 0))
    await engine.start(P0)
    await asyncio.sleep(0.1)

    async def fail(*_: object) -> Polled:
        raise OUTAGE

    engine.source.poll = fail  # type: ignore[method-assign,assignment]  # one test's script
    await asyncio.sleep(5.0)
    assert engine.running is not None
    assert not engine.running.done()


@in_virtual_time
async def test_a_poll_is_short_while_batches_are_in_flight() -> None:
    engine = Engine()
    engine.store.gate.clear()
    engine.source.scripts.append(brought(P0, 0))
    await engine.start(P0, P1)
    await asyncio.sleep(0.1)
    busy: tuple[object, float] = engine.source.asked[-1]
    assert busy == ((P1,), BUSY_POLL)
    engine.store.gate.set()
    await asyncio.sleep(0.1)
    idle: tuple[object, float] = engine.source.asked[-1]
    assert idle == ((P0, P1), IDLE_POLL)


@in_virtual_time
async def test_partitions_are_read_as_soon_as_they_are_assigned() -> None:
    engine = Engine()
    await engine.start()
    await asyncio.sleep(2.5 * IDLE_POLL)
    assert [ask for ask in engine.source.asked if ask[0]] == []
    assert len(engine.source.asked) <= 6, "without partitions it looks about once in an idle poll"
    engine.source.scripts.append(brought(P0, 0))
    await engine.assign(P0)
    await asyncio.sleep(IDLE_POLL / 50)
    assert engine.store.offsets == [(0, 0)]


@in_virtual_time
async def test_poll_trouble_is_backed_off_from_and_its_end_is_told() -> None:
    engine = Engine()
    engine.source.scripts += [OUTAGE, OUTAGE, OUTAGE, brought(P0, 0)]
    await engine.start(P0)
    await asyncio.sleep(10.0)
    delays = [delay for stage, _, _, delay in engine.observer.retries if stage is Stage.POLL]
    assert delays == pytest.approx([0.55, 1.1, 2.2])
    assert engine.observer.recoveries == [(Stage.POLL, 3)]
    assert engine.store.offsets == [(0, 0)]


@in_virtual_time
async def test_a_partition_that_cannot_be_read_is_set_aside_longer_and_longer() -> None:
    engine = Engine()
    failed = Polled(failed={P0: UNREADABLE})
    engine.source.scripts += [failed, failed, failed]
    await engine.start(P0, P1)
    await asyncio.sleep(60.0)
    assert [(p, attempt) for p, _, attempt in engine.observer.unreadables] == [
        (P0, 1),
        (P0, 2),
        (P0, 3),
    ]
    asked = [partitions for partitions, _ in engine.source.asked]
    assert asked.count((P1,)) >= (0.55 + 1.1 + 2.2) // IDLE_POLL - 3
    assert engine.observer.readables == []


@in_virtual_time
async def test_a_partition_that_can_be_read_again_is_told_so_even_without_records() -> None:
    engine = Engine()
    engine.source.scripts += [Polled(failed={P0: UNREADABLE}), Polled(records={P0: ()})]
    await engine.start(P0)
    await asyncio.sleep(5.0)
    assert engine.observer.readables == [P0]
    assert engine.store.attempts == []


# --- gaps and logs that begin anew ----------------------------------------------------


@in_virtual_time
async def test_a_gap_is_told_and_passed_over() -> None:
    engine = Engine()
    engine.source.scripts.append(Polled({P0: records(P0, 7)}, gaps=[OffsetRange(P0, 0, 7)]))
    await engine.start(P0)
    await asyncio.sleep(2.0)
    assert engine.observer.gaps == [OffsetRange(P0, 0, 7)]
    assert engine.source.commits == [{P0: 8}]


@in_virtual_time
async def test_a_gap_without_a_record_behind_it_is_told_once_and_passed_over() -> None:
    engine = Engine()
    engine.source.scripts.append(Polled(gaps=[OffsetRange(P0, 0, 7)]))
    await engine.start(P0)
    await asyncio.sleep(2.0)
    assert engine.observer.gaps == [OffsetRange(P0, 0, 7)]
    assert engine.runner.ledger.position(P0) == 7
    assert engine.source.commits == [{P0: 7}]


@in_virtual_time
async def test_a_gap_ends_the_run_where_the_settings_say_so() -> None:
    engine = Engine(stop_on_gap=True)
    engine.source.scripts.append(Polled({P0: records(P0, 7)}, gaps=[OffsetRange(P0, 0, 7)]))
    await engine.start(P0)
    assert engine.running is not None
    with pytest.raises(IncidentError, match=r"at most 7 records, offsets 0 to 6, were"):
        await engine.running
    assert engine.store.attempts == []


@in_virtual_time
@pytest.mark.reliability("F96")
async def test_a_run_that_ends_for_gaps_names_every_one() -> None:
    engine = Engine(stop_on_gap=True)
    engine.source.scripts.append(Polled(gaps=[OffsetRange(P0, 0, 7), OffsetRange(P1, 3, 5)]))
    await engine.start(P0, P1)
    assert engine.running is not None
    with pytest.raises(IncidentError) as ended:
        await engine.running
    first, second = str(ended.value).splitlines()
    assert "offsets 0 to 6" in first
    assert "offsets 3 to 4" in second
    assert engine.observer.gaps == [OffsetRange(P0, 0, 7), OffsetRange(P1, 3, 5)]


@in_virtual_time
async def test_a_log_that_began_anew_is_committed_from_its_beginning() -> None:
    engine = Engine()
    engine.source.scripts += [
        brought(P0, 10),
        Polled(gone=[P0]),
        Polled(starts={P0: StartOffset(0, None)}, resets=[LogReset(P0, 11, 0)]),
        brought(P0, 0),
    ]
    await engine.start(P0, offset=10)
    await asyncio.sleep(2.0)
    assert engine.observer.resets == [LogReset(P0, 11, 0)]
    assert engine.source.commits[-1] == {P0: 1}


@in_virtual_time
async def test_a_commit_under_way_when_a_log_begins_anew_is_no_defect() -> None:
    engine = Engine()
    engine.source.commit_gate.clear()
    engine.source.scripts.append(brought(P0, 10))
    await engine.start(P0, offset=10)
    await asyncio.sleep(1.5)
    engine.source.scripts += [
        Polled(gone=[P0]),
        Polled(starts={P0: StartOffset(0, None)}, resets=[LogReset(P0, 11, 0)]),
    ]
    await asyncio.sleep(1.0)
    engine.source.commit_gate.set()
    engine.source.scripts.append(brought(P0, 0))
    await asyncio.sleep(2.0)
    assert engine.source.commits[-1] == {P0: 1}
    assert await engine.end() is StopReason.STOPPED


@in_virtual_time
@pytest.mark.reliability("F47")
async def test_what_was_in_flight_of_a_log_that_is_no_more_is_not_committed() -> None:
    engine = Engine()
    engine.source.scripts.append(brought(P0, 10))
    engine.store.gate.clear()
    await engine.start(P0, P1, offset=10)
    await asyncio.sleep(1.0)
    engine.source.scripts.append(Polled(gone=[P0]))
    await asyncio.sleep(1.0)
    engine.store.gate.set()
    await asyncio.sleep(2.0)
    assert engine.source.commits == []
    assert engine.observer.abandoned_records[P0] == 1
    engine.source.scripts += [
        Polled(starts={P0: StartOffset(0, None)}, resets=[LogReset(P0, 11, 0)]),
        brought(P0, 0),
    ]
    await asyncio.sleep(2.0)
    assert engine.source.commits == [{P0: 1}]


@in_virtual_time
@pytest.mark.reliability("F47")
async def test_a_log_that_is_gone_is_noticed_while_there_is_no_room_for_more() -> None:
    engine = Engine(batches_in_flight=1)
    engine.source.scripts.append(brought(P0, 10))
    engine.store.gate.clear()
    await engine.start(P0, offset=10)
    await asyncio.sleep(0.5)
    engine.source.gone = [P0]
    await asyncio.sleep(1.0)
    assert engine.runner.ledger.position(P0) is None


@in_virtual_time
@pytest.mark.reliability("F47")
async def test_unread_records_of_a_topic_made_again_end_the_run_where_the_settings_say_so() -> None:
    engine = Engine(stop_on_gap=True)
    engine.source.scripts.append(
        Polled(starts={P0: StartOffset(0, None)}, resets=[LogReset(P0, 11, 0, unread=3)])
    )
    await engine.start(P0, offset=11)
    assert engine.running is not None
    with pytest.raises(IncidentError, match=r"at most 3 records of the old one were unread"):
        await engine.running


@in_virtual_time
@pytest.mark.reliability("F49")
async def test_what_is_passed_without_a_record_is_committed_and_no_gap_afterwards() -> None:
    engine = Engine(stop_on_gap=True)
    engine.source.scripts.append(brought(P0, 0, 10))
    await engine.start(P0)
    await asyncio.sleep(2.0)
    engine.source.reached = {P0: 11}
    await asyncio.sleep(2.0)
    assert engine.source.commits == [{P0: 10}, {P0: 11}]
    assert engine.runner.ledger.position(P0) == 11


@in_virtual_time
@pytest.mark.reliability("F49")
async def test_what_is_passed_behind_records_in_flight_waits_for_them() -> None:
    engine = Engine()
    engine.store.gate.clear()
    engine.source.scripts.append(brought(P0, 0, 10))
    await engine.start(P0, P1)
    await asyncio.sleep(1.0)
    engine.source.reached = {P0: 11}
    await asyncio.sleep(2.0)
    assert engine.runner.ledger.uncommitted() == {}
    engine.store.gate.set()
    await asyncio.sleep(2.0)
    assert engine.source.commits[-1] == {P0: 11}


@in_virtual_time
@pytest.mark.reliability("F60")
async def test_a_partition_that_was_looked_up_can_be_read_again_though_it_is_idle() -> None:
    engine = Engine()
    engine.source.scripts += [
        Polled(failed={P0: TransientError("KafkaTimeoutError")}),
        Polled(starts={P0: StartOffset(0, 0)}),
    ]
    await engine.start(P0)
    await asyncio.sleep(5.0)
    assert len(engine.observer.unreadables) == 1
    assert engine.observer.readables == [P0]


@in_virtual_time
@pytest.mark.reliability("F60")
async def test_passing_over_aborted_records_is_progress() -> None:
    engine = Engine()
    await engine.start(P0)
    engine.source.highwaters = {P0: 5_000_000}
    watchdog = replace(engine.watchdog, stall_after=3.0)
    watching = asyncio.ensure_future(watchdog.run())
    for passed in range(1, 10):
        engine.source.reached = {P0: passed * 500_000}
        await asyncio.sleep(1.0)
    assert engine.observer.stalls == []
    await asyncio.sleep(5.0)
    assert engine.observer.stalls, "then nothing moves, and half a million are left"
    watching.cancel()


# --- the breaker ----------------------------------------------------------------------


@in_virtual_time
async def test_a_held_partition_waits_until_it_is_resumed() -> None:
    engine = Engine(breaker_share=0.5)
    engine.source.scripts.append(brought(P0, 0, 4, BAD))
    await engine.start(P0, P1)
    await asyncio.sleep(10.0)
    ((partition, hold),) = engine.observer.holds
    assert (partition, hold.share) == (P0, 1.0)
    assert engine.source.sought == [(P0, 0)]
    assert engine.letters.sent == []
    assert engine.source.told == [({P0: 0}, {P0: hold})]
    assert engine.source.asked[-1][0] == (P1,)
    engine.runner.resume()
    engine.source.scripts.append(brought(P0, 0, 4, BAD))
    await asyncio.sleep(2.0)
    assert engine.observer.resumptions == [frozenset({P0})]
    assert len(engine.letters.sent) == 4
    assert engine.observer.consumed_records == {P0: 8}
    assert engine.observer.held_records == {P0: 4}
    assert engine.observer.outcomes.total() == 4
    assert engine.source.told[-1] == ({P0: 4}, {})


@in_virtual_time
@pytest.mark.reliability("F57")
async def test_a_hold_is_taken_back_though_nothing_progresses() -> None:
    engine = Engine(breaker_share=0.5)
    engine.source.scripts.append(brought(P0, 7, 4, BAD))
    await engine.start(P0, offset=7)
    await asyncio.sleep(2.0)
    engine.runner.resume()
    await asyncio.sleep(5.0)
    ((_, hold),) = engine.observer.holds
    assert engine.source.told == [({P0: 7}, {P0: hold}), ({P0: 7}, {})]


@in_virtual_time
@pytest.mark.reliability("F57")
async def test_a_hold_that_is_taken_back_while_its_commit_is_under_way_is_committed_over() -> None:
    engine = Engine(breaker_share=0.5)
    engine.source.commit_gate.clear()
    engine.source.scripts.append(brought(P0, 7, 4, BAD))
    await engine.start(P0, offset=7)
    await asyncio.sleep(2.0)
    engine.runner.resume()
    engine.source.commit_gate.set()
    await asyncio.sleep(2.0)
    ((_, hold),) = engine.observer.holds
    assert engine.source.told == [({P0: 7}, {P0: hold}), ({P0: 7}, {})]


@in_virtual_time
@pytest.mark.reliability("F57")
async def test_a_hold_whose_commit_is_refused_is_committed_by_the_next() -> None:
    engine = Engine(breaker_share=0.5)
    engine.source.commit_errors.append(TransientError("CommitFailedError"))
    engine.source.scripts.append(brought(P0, 7, 4, BAD))
    await engine.start(P0, offset=7)
    await asyncio.sleep(5.0)
    ((_, hold),) = engine.observer.holds
    assert engine.source.commit_errors == deque()
    assert engine.source.told == [({P0: 7}, {P0: hold})]


@in_virtual_time
@pytest.mark.reliability("F57")
async def test_whoever_is_assigned_a_partition_that_was_held_commits_that_it_is_not() -> None:
    engine = Engine(breaker_share=0.5)
    engine.source.scripts.append(brought(P0, 7, 4, BAD))
    await engine.start(P0, offset=7)
    await asyncio.sleep(0.1)
    await engine.runner.on_revoked()
    ((_, hold),) = engine.observer.holds
    assert engine.source.told == [({P0: 7}, {P0: hold})]
    await engine.runner.on_assigned([P0])
    engine.source.scripts.append(Polled(starts={P0: StartOffset(7, 7, held=True)}))
    await asyncio.sleep(5.0)
    assert engine.source.told == [({P0: 7}, {P0: hold}), ({P0: 7}, {})]


@in_virtual_time
@pytest.mark.reliability("F47")
async def test_a_partition_is_held_no_longer_than_its_log_lasts() -> None:
    engine = Engine(breaker_share=0.5)
    engine.source.scripts.append(brought(P0, 0, 4, BAD))
    await engine.start(P0, P1)
    await asyncio.sleep(2.0)
    assert P0 not in engine.source.asked[-1][0]
    engine.source.scripts.append(Polled(gone=[P0]))
    await asyncio.sleep(2.0)
    assert P0 in engine.source.asked[-1][0]
    assert engine.observer.resumptions == [frozenset({P0})]
    engine.source.scripts.append(Polled(starts={P0: StartOffset(0, None, held=True)}))
    await asyncio.sleep(2.0)
    ((_, hold),) = engine.observer.holds
    assert engine.source.told == [({P0: 0}, {P0: hold}), ({P0: 0}, {})]


# --- revocation -------------------------------------------------------------------------


@in_virtual_time
async def test_a_revocation_lets_what_is_in_flight_end_and_commits_it() -> None:
    engine = Engine()
    engine.store.gate.clear()
    engine.source.scripts.append(brought(P0, 0))
    await engine.start(P0)
    await asyncio.sleep(0.1)
    revoking = asyncio.ensure_future(engine.runner.on_revoked())
    await asyncio.sleep(0.9)
    assert not revoking.done()
    engine.store.gate.set()
    await revoking
    assert engine.source.commits == [{P0: 1}]
    assert engine.observer.revocations == [(True, False)]
    await asyncio.sleep(10.0)
    assert engine.source.commits == [{P0: 1}]


@in_virtual_time
async def test_nothing_more_is_taken_while_partitions_are_revoked() -> None:
    engine = Engine()
    engine.store.gate.clear()
    engine.source.scripts.append(brought(P0, 0))
    await engine.start(P0, P1)
    await asyncio.sleep(0.1)
    revoking = asyncio.ensure_future(engine.runner.on_revoked())
    await asyncio.sleep(0)
    asked = len(engine.source.asked)
    await asyncio.sleep(3.0)
    assert {partitions for partitions, _ in engine.source.asked[asked:]} == {()}
    engine.store.gate.set()
    await revoking
    assert engine.store.offsets == [(0, 0)]


@in_virtual_time
async def test_what_a_poll_brings_during_a_revocation_does_not_count_as_taken() -> None:
    engine = Engine()
    engine.store.gate.clear()
    engine.source.scripts.append(brought(P0, 0))
    await engine.start(P0, P1)
    await asyncio.sleep(0.1)
    revocations: list[asyncio.Future[None]] = []

    def revoked_meanwhile() -> Polled:
        revocations.append(asyncio.ensure_future(engine.runner.on_revoked()))
        engine.runner._revoking = True
        return Polled({P1: records(P1, 5)}, gaps=[OffsetRange(P1, 0, 4)])

    engine.source.scripts.append(revoked_meanwhile)
    await asyncio.sleep(0.1)
    assert engine.source.sought == [(P1, 0)]
    assert engine.store.offsets == [(0, 0)]
    assert engine.observer.gaps == []


@in_virtual_time
async def test_a_batch_that_is_late_is_abandoned_and_sends_no_dead_letter() -> None:
    engine = Engine()
    engine.store.gate.clear()
    mixed = [*records(P0, 0), *records(P0, 1, value=BAD)]
    engine.source.scripts.append(Polled({P0: mixed}))
    await engine.start(P0)
    await asyncio.sleep(0.1)
    begun = now()
    await engine.runner.on_revoked()
    assert now() - begun == pytest.approx(20.0 * REVOKE_SHARE * DRAIN_SHARE)
    assert engine.observer.revocations == [(False, False)]
    engine.store.gate.set()
    await asyncio.sleep(10.0)
    assert engine.observer.abandoned_records == {P0: 2}
    assert (engine.observer.started, engine.observer.ended) == (1, [None])
    assert engine.observer.rejections == []
    assert engine.letters.attempts == 0
    assert engine.source.commits == []


@in_virtual_time
async def test_a_batch_of_an_older_assignment_stops_at_its_next_retry() -> None:
    engine = Engine()
    engine.store.errors.extend([OUTAGE] * 100)
    engine.source.scripts.append(brought(P0, 0))
    await engine.start(P0)
    await asyncio.sleep(1.0)
    engine.runner.on_lost()
    attempts = len(engine.store.attempts)
    await asyncio.sleep(60.0)
    assert len(engine.store.attempts) == attempts
    assert engine.observer.abandoned_records == {P0: 1}


@in_virtual_time
async def test_a_partition_is_not_polled_again_before_its_old_batch_has_ended() -> None:
    engine = Engine()
    engine.store.gate.clear()
    engine.source.scripts.append(brought(P0, 0))
    await engine.start(P0, P1)
    await asyncio.sleep(0.1)
    engine.runner.on_lost()
    asked = len(engine.source.asked)
    await engine.assign(P0, P1)
    await asyncio.sleep(5.0)
    assert {partitions for partitions, _ in engine.source.asked[asked + 1 :]} == {(P1,)}
    engine.store.gate.set()
    await asyncio.sleep(0.1)
    assert engine.source.asked[-1][0] == (P0, P1)


@in_virtual_time
async def test_batches_of_older_assignments_hold_up_no_revocation() -> None:
    engine = Engine()
    engine.store.gate.clear()
    engine.source.scripts.append(brought(P0, 0))
    await engine.start(P0)
    await asyncio.sleep(0.1)
    engine.runner.on_lost()
    await engine.assign(P0)
    await asyncio.sleep(0.1)
    begun = now()
    await engine.runner.on_revoked()
    assert now() == begun
    assert engine.observer.revocations[-1] == (True, False)


@in_virtual_time
async def test_what_is_lost_is_forgotten_and_not_committed() -> None:
    engine = Engine()
    engine.source.scripts.append(brought(P0, 0))
    await engine.start(P0)
    await asyncio.sleep(0.1)
    engine.runner.on_lost()
    await asyncio.sleep(5.0)
    assert engine.source.commits == []
    assert engine.observer.revocations == [(False, True)]
    assert engine.source.asked[-1][0] == ()


@in_virtual_time
async def test_a_revocation_overtaken_by_a_new_assignment_takes_nothing_from_it() -> None:
    engine = Engine()
    engine.store.gate.clear()
    engine.source.scripts.append(brought(P0, 0))
    await engine.start(P0)
    await asyncio.sleep(0.1)
    revoking = asyncio.ensure_future(engine.runner.on_revoked())
    await asyncio.sleep(1.0)
    engine.runner.on_lost()
    await engine.assign(P1)
    await revoking
    await asyncio.sleep(1.0)
    assert engine.source.asked[-1][0] == (P1,)
    assert engine.observer.revocations == [(False, True)]


@in_virtual_time
async def test_a_callback_that_fails_ends_the_run() -> None:
    engine = Engine()
    await engine.start(P0)
    engine.store.forget_error = ValueError("a defect")
    await engine.runner.on_revoked()
    assert engine.running is not None
    with pytest.raises(ValueError, match="a defect"):
        await engine.running


# --- the end of a run ---------------------------------------------------------------------


@in_virtual_time
async def test_a_stop_drains_and_commits() -> None:
    engine = Engine()
    engine.store.gate.clear()
    engine.source.scripts.append(brought(P0, 0))
    await engine.start(P0)
    await asyncio.sleep(0.1)
    engine.stop.set()
    await asyncio.sleep(1.0)
    asked = len(engine.source.asked)
    await asyncio.sleep(5.0)
    assert len(engine.source.asked) == asked
    engine.store.gate.set()
    assert await engine.end() is StopReason.STOPPED
    assert engine.source.commits == [{P0: 1}]


@in_virtual_time
async def test_a_stop_ends_at_its_deadline_and_leaves_nothing_running() -> None:
    engine = Engine()
    engine.store.gate.clear()
    engine.source.scripts.append(brought(P0, 0))
    await engine.start(P0)
    await asyncio.sleep(0.1)
    begun = now()
    assert await engine.end() is StopReason.DEADLINE
    assert now() - begun <= 20.0
    assert engine.source.commits == []
    assert engine.observer.abandoned_records == {P0: 1}
    assert asyncio.all_tasks() == {asyncio.current_task()}


@in_virtual_time
async def test_a_stop_waits_for_the_commit_that_is_under_way() -> None:
    engine = Engine()
    engine.source.commit_gate.clear()
    engine.source.scripts.append(brought(P0, 0))
    await engine.start(P0)
    await asyncio.sleep(1.5)
    engine.stop.set()
    await asyncio.sleep(1.0)
    engine.source.commit_gate.set()
    assert await engine.end() is StopReason.STOPPED
    assert engine.source.commits == [{P0: 1}]


@pytest.mark.reliability("F171")
@in_virtual_time
async def test_a_cancel_that_is_lost_on_its_way_holds_up_no_end() -> None:
    engine = Engine()

    async def tidying_up(*_: object) -> None:
        try:
            await asyncio.Event().wait()
        finally:  # as a driver may, of a server that keeps silent
            await asyncio.Event().wait()

    engine.letters.send = tidying_up  # type: ignore[method-assign,assignment]  # one test's script
    engine.source.scripts.append(brought(P0, 0, value=BAD))
    await engine.start(P0)
    await asyncio.sleep(0.1)
    begun = now()
    assert await engine.end() is StopReason.DEADLINE
    assert now() - begun <= engine.runner.config.drain_deadline + CANCEL_AGAIN
    assert asyncio.all_tasks() == {asyncio.current_task()}


@in_virtual_time
async def test_a_commit_refused_at_the_end_is_tried_again() -> None:
    engine = Engine()
    engine.source.commit_errors.extend([TransientError("CommitFailedError")] * 3)
    engine.source.scripts.append(brought(P0, 0))
    await engine.start(P0)
    await asyncio.sleep(0.1)
    assert await engine.end() is StopReason.STOPPED
    assert engine.source.commits == [{P0: 1}]


@in_virtual_time
async def test_a_commit_that_hangs_at_the_end_is_given_up_at_the_deadline() -> None:
    engine = Engine()
    engine.source.commit_gate.clear()
    engine.source.scripts.append(brought(P0, 0))
    await engine.start(P0)
    await asyncio.sleep(0.1)
    begun = now()
    assert await engine.end() is StopReason.DEADLINE
    assert now() - begun == pytest.approx(20.0)


@in_virtual_time
async def test_a_poll_that_never_returns_holds_up_no_stop() -> None:
    engine = Engine()
    engine.source.hangs = True
    await engine.start(P0)
    await asyncio.sleep(5.0)
    begun = now()
    assert await engine.end() is StopReason.STOPPED
    assert now() == begun


@in_virtual_time
async def test_a_run_ends_when_the_group_has_committed_the_ends() -> None:
    engine = Engine()
    engine.source.scripts.append(brought(P0, 0, 4))
    engine.source.group_offsets = {P1: 7}
    await engine.start(P0, until={P0: 4, P1: 9})
    await asyncio.sleep(5.0)
    assert engine.running is not None
    assert not engine.running.done()
    engine.source.group_offsets[P1] = 9
    assert await engine.running is StopReason.CAUGHT_UP


@in_virtual_time
async def test_a_run_until_ends_of_no_partition_ends_at_once() -> None:
    engine = Engine()
    await engine.start(until={})
    assert engine.running is not None
    assert await engine.running is StopReason.CAUGHT_UP


@pytest.mark.parametrize("stopping", [False, True])
@in_virtual_time
async def test_what_kills_a_batch_ends_the_run_also_while_it_drains(stopping: bool) -> None:
    engine = Engine()
    engine.store.gate.clear()
    engine.store.errors.append(PreconditionError("another unique index"))
    engine.source.scripts.append(brought(P0, 0))
    await engine.start(P0)
    await asyncio.sleep(0.1)
    if stopping:
        engine.stop.set()
        await asyncio.sleep(0.1)
    engine.store.gate.set()
    assert engine.running is not None
    with pytest.raises(PreconditionError, match="another unique index") as raised:
        await engine.running
    assert engine.source.commits == []
    assert (engine.observer.started, engine.observer.ended) == (1, [raised.value])


@in_virtual_time
async def test_a_batch_that_somebody_else_cancels_ends_the_run() -> None:
    engine = Engine()

    async def cancelled(*_: object) -> None:
        raise asyncio.CancelledError

    engine.letters.send = cancelled  # type: ignore[method-assign,assignment]  # one test's script
    engine.source.scripts.append(brought(P0, 0, value=BAD))
    await engine.start(P0)
    assert engine.running is not None
    with pytest.raises(TaskDiedError, match="cancelled"):
        await engine.running


@in_virtual_time
async def test_a_failure_ends_what_else_is_in_flight() -> None:
    engine = Engine(stop_on_gap=True)
    engine.store.gate.clear()
    engine.source.scripts += [brought(P0, 0), Polled(gaps=[OffsetRange(P1, 0, 1)])]
    await engine.start(P0, P1)
    assert engine.running is not None
    with pytest.raises(IncidentError):
        await engine.running
    assert engine.observer.abandoned_records == {P0: 1}
    assert asyncio.all_tasks() == {asyncio.current_task()}


@in_virtual_time
async def test_a_poll_that_somebody_else_cancels_is_a_failure_and_no_end() -> None:
    engine = Engine()

    async def cancelled(*_: object) -> Polled:
        raise asyncio.CancelledError

    engine.source.poll = cancelled  # type: ignore[method-assign,assignment]  # one test's script
    await engine.start(P0)
    assert engine.running is not None
    with pytest.raises(TaskDiedError):
        await engine.running
