"""What lies between records is told for what it is: markers, deleted records, a log begun anew."""

from __future__ import annotations

import pytest

from consumer.contract.record import OffsetRange
from consumer.errors import TransientError
from consumer.ports import LogReset, StartOffset
from tests.simulation.loop import in_virtual_time
from tests.unit.kafka.scripted_client import BAD_BATCH, P0, P1, Setting, records


@in_virtual_time
async def test_a_hole_that_transactions_leave_is_no_gap() -> None:
    setting = Setting()
    client = await setting.reading(P0)
    client.fetches.append({P0: records(P0, 12, 13)})
    polled = await setting.poll([P0], 100, 0.1)
    assert polled.records == {P0: records(P0, 12, 13)}
    assert not polled.gaps
    assert not polled.resets


@in_virtual_time
async def test_a_hole_that_retention_makes_is_a_gap() -> None:
    setting = Setting()
    client = await setting.reading(P0)
    client.log_starts = {P0: 15}
    client.fetches.append({P0: records(P0, 17)})
    polled = await setting.poll([P0], 100, 0.1)
    assert polled.gaps == [OffsetRange(P0, 10, 15)]
    assert polled.records == {P0: records(P0, 17)}


@in_virtual_time
async def test_a_gap_is_told_before_a_record_has_come_of_behind_it() -> None:
    setting = Setting()
    client = await setting.reading(P0)
    client.log_starts = {P0: 15}
    client.positions = {P0: 15}
    assert (await setting.poll([P0], 100, 0.1)).gaps == [OffsetRange(P0, 10, 15)]
    assert (await setting.poll([P0], 100, 0.1)).gaps == []


@in_virtual_time
async def test_a_hole_that_nobody_can_explain_is_read_again() -> None:
    setting = Setting()
    client = await setting.reading(P0, P1)
    client.beginnings_error = TransientError("KafkaTimeoutError")
    client.fetches.append({P0: records(P0, 17), P1: records(P1, 10)})
    polled = await setting.poll([P0, P1], 100, 0.1)
    assert polled.records == {P1: records(P1, 10)}
    assert (P0, 10) in client.sought
    client.beginnings_error, client.log_starts = None, {P0: 17}
    client.fetches.append({P0: records(P0, 17)})
    assert (await setting.poll([P0, P1], 100, 0.1)).gaps == [OffsetRange(P0, 10, 17)]


@in_virtual_time
async def test_what_is_sought_while_a_hole_is_explained_is_read_from_there() -> None:
    setting = Setting()
    client = await setting.reading(P0, P1)
    client.before_answer = lambda: setting.seek(P1, 20)
    client.fetches.append({P0: records(P0, 17), P1: records(P1, 10)})
    polled = await setting.poll([P0, P1], 100, 0.1)
    assert polled.records == {P0: records(P0, 17)}
    client.fetches.append({P1: records(P1, 20)})
    assert (await setting.poll([P1], 100, 0.1)).records == {P1: records(P1, 20)}


@in_virtual_time
async def test_a_log_that_begins_anew_is_read_from_where_it_begins() -> None:
    setting = Setting()
    client = await setting.reading(P0)
    client.fetches.append({P0: records(P0, 0, 1)})
    assert (await setting.poll([P0], 100, 0.1)).gone == [P0]
    polled = await setting.poll([P0], 100, 0.1)
    assert (polled.starts, polled.resets) == ({P0: StartOffset(0, None)}, [LogReset(P0, 10, 0)])
    client.fetches.append({P0: records(P0, 0, 1)})
    assert (await setting.poll([P0], 100, 0.1)).records == {P0: records(P0, 0, 1)}


@in_virtual_time
async def test_an_error_does_not_seek_back_into_a_log_that_is_no_more() -> None:
    setting = Setting()
    client = await setting.reading(P0)
    client.positions = {P0: 0}
    assert (await setting.poll([P0], 100, 0.1)).gone == [P0]
    assert (await setting.poll([P0], 100, 0.1)).resets == [LogReset(P0, 10, 0)]
    client.fetches.append(BAD_BATCH)
    with pytest.raises(TransientError):
        await setting.poll([P0], 100, 0.1)
    assert client.sought == [(P0, 0), (P0, 0)]


@in_virtual_time
async def test_the_end_is_reached_over_markers_but_not_over_records_that_were_not_handed_out() -> (
    None
):
    setting = Setting()
    client = await setting.reading(P0)
    client.fetches.append(BAD_BATCH)
    with pytest.raises(TransientError):
        await setting.poll([P0], 100, 0.1)
    assert setting.listener.ledger.position(P0) == 10
    client.positions = {P0: 12}
    await setting.poll([P0], 100, 0.1)
    assert setting.listener.ledger.position(P0) == 12
    assert setting.listener.ledger.position(P1) is None


@in_virtual_time
async def test_the_end_is_not_reached_while_records_are_still_in_hand() -> None:
    setting = Setting()
    client = await setting.reading(P0)
    reached: list[int | None] = []
    client.before_answer = lambda: reached.append(setting.listener.ledger.position(P0))
    client.fetches.append({P0: records(P0, 17)})
    await setting.poll([P0], 100, 0.1)
    assert reached == [10]
    assert setting.listener.ledger.position(P0) == 18
