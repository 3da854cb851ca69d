"""When the group takes its partitions back, what is in flight ends, and no more is taken."""

from __future__ import annotations

import asyncio

import pytest

from consumer.contract.record import OffsetRange
from consumer.engine.runner import DRAIN_SHARE, REVOKE_SHARE
from consumer.ports import Polled
from tests.simulation.loop import in_virtual_time
from tests.unit.engine.scripted import (
    BAD,
    OUTAGE,
    P0,
    P1,
    Engine,
    brought,
    now,
    records,
)


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
