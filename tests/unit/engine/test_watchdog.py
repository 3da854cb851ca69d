"""Watching that work moves."""

from __future__ import annotations

import asyncio

import pytest

from consumer.engine.ledger import Ledger
from consumer.engine.watchdog import Watchdog
from consumer.ports import StartOffset
from tests.builders import STAMPED_MS
from tests.fakes.observer import RecordingObserver
from tests.simulation.loop import SimulationLoop, in_virtual_time
from tests.unit.engine.scripted import P0, P1, ScriptedSource


class Watched:
    """A watchdog that calls ten seconds without movement a stall."""

    def __init__(self) -> None:
        self.source, self.observer, self.ledger = ScriptedSource(), RecordingObserver(), Ledger()
        self.ledger.assign([P0, P1])
        clock = asyncio.get_running_loop().time
        self.watchdog = Watchdog(
            source=self.source,
            ledger=self.ledger,
            observer=self.observer,
            stall_after=10.0,
            now=lambda: STAMPED_MS / 1000 + clock(),
        )
        self.running = asyncio.ensure_future(self.watchdog.run())

    def moved(self, end: int) -> None:
        self.ledger.settle(self.ledger.take(P0, self.ledger.position(P0) or 0, end))


@in_virtual_time
async def test_lag_is_what_is_not_settled_yet() -> None:
    watched = Watched()
    watched.ledger.begin(P0, StartOffset(3, None))
    watched.ledger.begin(P1, StartOffset(0, None))
    watched.source.highwaters = {P0: 8}
    await asyncio.sleep(1.5)
    assert watched.observer.lags == {P0: 5}
    watched.ledger.take(P0, 3, 6)
    await asyncio.sleep(1.0)
    assert watched.observer.lags == {P0: 5}
    watched.source.highwaters = {P0: 2}
    await asyncio.sleep(1.0)
    assert watched.observer.lags == {P0: 0}


@in_virtual_time
@pytest.mark.reliability("F95")
async def test_what_is_not_fetched_meanwhile_is_lag_too() -> None:
    watched = Watched()
    watched.ledger.begin(P0, StartOffset(3, None))
    watched.source.highwaters = {P0: 8}
    watched.watchdog.learn_ends({P0: 100})
    await asyncio.sleep(1.5)
    assert watched.observer.lags == {P0: 97}
    watched.source.highwaters = {P0: 120}
    await asyncio.sleep(1.0)
    assert watched.observer.lags == {P0: 117}


@in_virtual_time
@pytest.mark.reliability("F95")
async def test_ends_that_are_not_told_again_stay_what_they_were() -> None:
    watched = Watched()
    watched.ledger.begin(P0, StartOffset(3, None))
    watched.watchdog.learn_ends({P0: 100})
    watched.watchdog.learn_ends({})
    await asyncio.sleep(1.5)
    assert watched.observer.lags == {P0: 97}


@in_virtual_time
@pytest.mark.reliability("F95")
async def test_lag_in_seconds_grows_with_nothing_fetched_and_is_zero_when_caught_up() -> None:
    watched = Watched()
    watched.ledger.begin(P0, StartOffset(8, None))
    watched.source.highwaters = {P0: 8}
    await asyncio.sleep(5.5)
    assert watched.observer.lag_seconds == {P0: 0.0}
    watched.watchdog.learn_ends({P0: 9})
    await asyncio.sleep(60.0)
    assert watched.observer.lag_seconds == pytest.approx({P0: 60.0})
    watched.moved(9)
    await asyncio.sleep(1.0)
    assert watched.observer.lag_seconds == {P0: 0.0}


@in_virtual_time
@pytest.mark.reliability("F95")
async def test_what_was_behind_from_the_start_waits_since_its_timestamp_or_since_then() -> None:
    watched = Watched()
    for partition in (P0, P1):
        watched.ledger.begin(partition, StartOffset(0, None))
    watched.source.highwaters = {P0: 8, P1: 8}
    watched.ledger[P0].oldest_unread_ms = STAMPED_MS - 3_600_000
    watched.ledger[P1].oldest_unread_ms = -1
    await asyncio.sleep(10.5)
    assert watched.observer.lag_seconds == pytest.approx({P0: 3610.0, P1: 9.0})


@in_virtual_time
@pytest.mark.reliability("F95")
async def test_a_record_that_was_stamped_long_before_it_arrived_waits_since_it_arrived() -> None:
    watched = Watched()
    watched.ledger.begin(P0, StartOffset(8, None))
    watched.source.highwaters = {P0: 8}
    await asyncio.sleep(5.5)
    watched.source.highwaters = {P0: 9}
    watched.ledger.take(P0, 8, 9)
    watched.ledger[P0].oldest_unread_ms = STAMPED_MS - 3_600_000
    await asyncio.sleep(2.0)
    assert watched.observer.lag_seconds == pytest.approx({P0: 2.0})


@in_virtual_time
async def test_lag_of_which_nothing_moves_is_a_stall_until_it_moves() -> None:
    watched = Watched()
    watched.ledger.begin(P0, StartOffset(0, None))
    watched.source.highwaters = {P0: 8}
    await asyncio.sleep(10.5)
    assert watched.observer.stalls == []
    await asyncio.sleep(2.0)
    assert watched.observer.stalls == pytest.approx([10.0, 11.0])
    watched.moved(1)
    await asyncio.sleep(1.0)
    assert watched.observer.progresses == 1
    await asyncio.sleep(5.0)
    assert watched.observer.progresses == 1


@in_virtual_time
async def test_work_that_moves_slowly_is_no_stall() -> None:
    watched = Watched()
    watched.ledger.begin(P0, StartOffset(0, None))
    watched.source.highwaters = {P0: 100}
    for end in range(1, 10):
        await asyncio.sleep(9.0)
        watched.moved(end)
    assert watched.observer.stalls == []


@in_virtual_time
async def test_what_an_open_transaction_holds_back_is_no_stall() -> None:
    watched = Watched()
    watched.ledger.begin(P0, StartOffset(8, None))
    watched.source.highwaters, watched.source.stables = {P0: 20}, {P0: 8}
    await asyncio.sleep(15.0)
    assert watched.observer.stalls == []
    assert watched.observer.lags == {P0: 12}
    assert watched.observer.hanging_transactions == [(P0, 8)]


@in_virtual_time
async def test_markers_behind_the_last_record_are_no_lag() -> None:
    watched = Watched()
    watched.ledger.begin(P0, StartOffset(8, None))
    watched.source.highwaters = {P0: 9}
    watched.ledger.pass_to(P0, 9)
    await asyncio.sleep(15.0)
    assert watched.observer.lags == {P0: 0}
    assert watched.observer.stalls == []


@in_virtual_time
async def test_nothing_to_do_is_no_stall() -> None:
    watched = Watched()
    watched.ledger.begin(P0, StartOffset(8, None))
    watched.source.highwaters = {P0: 8}
    await asyncio.sleep(100.0)
    assert watched.observer.stalls == []
    assert watched.observer.progresses == 0


@in_virtual_time
async def test_a_loop_that_is_late_is_told() -> None:
    watched = Watched()
    await asyncio.sleep(0.5)
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimulationLoop)
    loop._now += 2.0
    await asyncio.sleep(0.1)
    assert watched.observer.loop_lags == pytest.approx([1.5])


@in_virtual_time
async def test_how_long_unread_records_are_kept_is_told_four_times_a_minute() -> None:
    watched = Watched()
    watched.watchdog.retention_ms = {P0.topic: 3_600_000}
    watched.ledger.begin(P0, StartOffset(3, None))
    watched.ledger[P0].oldest_unread_ms = STAMPED_MS
    watched.source.highwaters = {P0: 8}
    await asyncio.sleep(61.0)
    assert [partition for partition, _ in watched.observer.margins] == [P0] * 4
