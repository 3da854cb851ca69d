"""The drive: what is polled when, what is committed when, and how a run ends."""

from __future__ import annotations

import asyncio

import pytest

from consumer.contract.record import OffsetRange
from consumer.engine.in_flight import CANCEL_AGAIN
from consumer.engine.runner import BUSY_POLL, IDLE_POLL, StopReason
from consumer.errors import IncidentError, PreconditionError, TaskDiedError, TransientError
from consumer.ports import Polled, Stage
from tests.simulation.loop import in_virtual_time
from tests.unit.engine.scripted import (
    BAD,
    OUTAGE,
    P0,
    P1,
    P2,
    UNREADABLE,
    Engine,
    brought,
    now,
)

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
