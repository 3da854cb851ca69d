"""Records that are gone unread, and logs that begin anew, are told of, or end the run."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from consumer.contract.record import OffsetRange
from consumer.engine.runner import StopReason
from consumer.errors import IncidentError, TransientError
from consumer.ports import LogReset, Polled, StartOffset
from tests.simulation.loop import in_virtual_time
from tests.unit.engine.scripted import (
    P0,
    P1,
    Engine,
    brought,
    records,
)


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
