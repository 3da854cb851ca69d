"""A partition that the breaker holds: nothing of it moves, and the others go on."""

from __future__ import annotations

import asyncio
from collections import deque

import pytest

from consumer.errors import TransientError
from consumer.ports import Polled, StartOffset
from tests.simulation.loop import in_virtual_time
from tests.unit.engine.scripted import (
    BAD,
    P0,
    P1,
    Engine,
    brought,
)


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
