"""Reading without losing a record, whatever the client does."""

from __future__ import annotations

import asyncio

import pytest

from consumer.contract.record import OffsetRange
from consumer.errors import TransientError
from consumer.kafka.client import ClientLostError, MembershipError, PartitionsError
from consumer.kafka.source import FAILURES_UNTIL_REPLACED
from consumer.ports import StartOffset
from tests.simulation.loop import in_virtual_time
from tests.unit.kafka.scripted_client import BAD_BATCH, P0, P1, Setting, nothing, records

# --- where reading begins --------------------------------------------------------


@in_virtual_time
async def test_a_partition_is_sought_before_its_first_fetch() -> None:
    setting = Setting()
    client = await setting.assigned(P0)
    client.asked.clear()
    client.offsets = {P0: 7}
    polled = await setting.poll([P0], 100, 0.1)
    assert polled.starts == {P0: StartOffset(7, 7)}
    assert not polled.records
    assert client.sought == [(P0, 7)]
    assert client.asked == []
    await setting.poll([P0], 100, 0.1)
    assert client.asked == [((P0,), 0.1)]


@in_virtual_time
async def test_where_nothing_is_committed_reading_begins_at_the_logs_beginning() -> None:
    setting = Setting()
    client = await setting.assigned(P0)
    client.log_starts = {P0: 5}
    polled = await setting.poll([P0], 100, 0.1)
    assert polled.starts == {P0: StartOffset(5, None)}
    assert not polled.gaps


@in_virtual_time
async def test_records_deleted_behind_the_committed_offset_are_a_gap() -> None:
    setting = Setting()
    client = await setting.assigned(P0)
    client.offsets, client.log_starts = {P0: 5}, {P0: 9}
    polled = await setting.poll([P0], 100, 0.1)
    assert polled.starts == {P0: StartOffset(9, 5)}
    assert polled.gaps == [OffsetRange(P0, 5, 9)]


@in_virtual_time
async def test_nothing_is_read_while_the_committed_offsets_are_unknown() -> None:
    setting = Setting()
    client = await setting.assigned(P0)
    client.asked.clear()
    client.committed_error = TransientError("GroupLoadInProgressError")
    with pytest.raises(TransientError):
        await setting.poll([P0], 100, 0.1)
    assert client.asked == []
    client.committed_error, client.offsets = None, {P0: 3}
    assert (await setting.poll([P0], 100, 0.1)).starts == {P0: StartOffset(3, 3)}


@in_virtual_time
async def test_a_partition_without_a_leader_keeps_no_other_waiting() -> None:
    setting = Setting()
    client = await setting.assigned(P0, P1)
    client.offline = {P1}
    polled = await setting.poll([P0, P1], 100, 0.1)
    assert polled.starts == {P0: StartOffset(0, None)}
    begun = asyncio.get_running_loop().time()
    client.fetches.append({P0: records(P0, 0)})
    polled = await setting.poll([P0, P1], 100, 0.1)
    assert polled.records == {P0: records(P0, 0)}
    assert asyncio.get_running_loop().time() - begun < 0.1


@in_virtual_time
async def test_a_partition_without_a_leader_is_reported_and_asked_for_again() -> None:
    setting = Setting()
    client = await setting.assigned(P0)
    client.offline = {P0}
    while not (polled := await setting.poll([P0], 100, 1.0)).failed:
        pass
    assert polled.failed[P0].cause == "timeout"
    client.offline = set()
    assert (await setting.poll([P0], 100, 0.1)).starts == {P0: StartOffset(0, None)}


@in_virtual_time
async def test_only_assigned_partitions_are_read() -> None:
    setting = Setting()
    client = await setting.reading(P0)
    polled = await setting.poll([P0, P1], 100, 0.1)
    assert nothing(polled)
    assert client.asked == [((P0,), 0.1)]


# --- errors of a fetch ------------------------------------------------------------


@in_virtual_time
async def test_after_an_error_everything_is_sought_back_to_what_was_handed_out() -> None:
    setting = Setting()
    client = await setting.reading(P0, P1)
    client.fetches.append({P0: records(P0, 10, 11)})
    await setting.poll([P0, P1], 100, 0.1)
    client.fetches.append(BAD_BATCH)
    with pytest.raises(TransientError):
        await setting.poll([P0, P1], 100, 0.1)
    assert dict(client.sought) == {P0: 12, P1: 10}


@in_virtual_time
async def test_the_partition_that_cannot_be_read_is_named_and_the_others_go_on() -> None:
    setting = Setting()
    client = await setting.reading(P0, P1)
    client.fetches.extend([PartitionsError({P1: BAD_BATCH}), {P0: records(P0, 10)}])
    assert (await setting.poll([P0, P1], 100, 0.1)).failed == {P1: BAD_BATCH}
    assert client.sought == [(P1, 10)]
    assert (await setting.poll([P0], 100, 0.1)).records == {P0: records(P0, 10)}


# --- the group fails ------------------------------------------------------------------


@in_virtual_time
async def test_a_client_that_is_lost_is_replaced_at_once() -> None:
    setting = Setting()
    client = await setting.reading(P0)
    client.fetches.append(ClientLostError("coordination_ended"))
    with pytest.raises(ClientLostError):
        await setting.poll([P0], 100, 0.1)
    assert client.closed
    assert setting.listener.calls == [{P0}, "lost"]
    await setting.poll([P0], 100, 0.1)
    assert len(setting.clients) == 2
    assert setting.client.asked == [((), 0.1)]


@in_virtual_time
async def test_a_client_whose_group_keeps_failing_is_replaced() -> None:
    setting = Setting()
    client = await setting.reading(P0)
    for _ in range(FAILURES_UNTIL_REPLACED):
        assert not client.closed
        client.fetches.append(MembershipError("KafkaError"))
        with pytest.raises(MembershipError):
            await setting.poll([P0], 100, 0.1)
    assert client.closed
    assert setting.listener.calls == [{P0}, "lost"]


@in_virtual_time
async def test_a_group_that_recovers_in_time_keeps_its_client() -> None:
    setting = Setting()
    client = await setting.reading(P0)
    for _ in range(3 * FAILURES_UNTIL_REPLACED):
        client.fetches.append(MembershipError("KafkaError"))
        with pytest.raises(MembershipError):
            await setting.poll([P0], 100, 0.1)
        assert client.sought[-1] == (P0, 10)
        await setting.poll([P0], 100, 0.1)
    assert not client.closed


@in_virtual_time
async def test_a_client_that_was_given_up_is_not_listened_to_any_more() -> None:
    setting = Setting()
    old = await setting.reading(P0)
    old.close_gate.clear()
    old.fetches.append(ClientLostError("coordination_ended"))
    with pytest.raises(ClientLostError):
        await setting.poll([P0], 100, 0.1)
    await setting.reading(P1)
    setting.listener.calls.clear()
    await old.callbacks.on_revoked()
    await old.callbacks.on_assigned([P0])
    assert setting.listener.calls == []
    await setting.poll([P1], 100, 0.1)
    assert setting.client.asked == [((P1,), 0.1)]


@in_virtual_time
async def test_a_revocation_that_ends_after_the_client_was_lost_forgets_nothing_new() -> None:
    setting = Setting()
    old = await setting.reading(P0)
    setting.listener.gate.clear()
    revoking = asyncio.ensure_future(old.callbacks.on_revoked())
    old.fetches.append(ClientLostError("coordination_ended"))
    with pytest.raises(ClientLostError):
        await setting.poll([P0], 100, 0.1)
    client = await setting.reading(P1)
    setting.listener.gate.set()
    await revoking
    await setting.poll([P1], 100, 0.1)
    assert client.asked == [((P1,), 0.1)]


@in_virtual_time
async def test_a_failure_to_connect_is_told_and_tried_again() -> None:
    setting = Setting()
    setting.open_errors.append(TransientError("KafkaConnectionError"))
    with pytest.raises(TransientError):
        await setting.poll((), 1, 0.0)
    assert nothing(await setting.poll((), 1, 0.0))
    assert setting.opens == 2


@in_virtual_time
async def test_two_that_need_a_client_at_once_open_one() -> None:
    setting = Setting()
    await asyncio.gather(setting.poll((), 1, 0.0), setting.source.committed([P0]))
    assert setting.opens == 1


# --- rebalances --------------------------------------------------------------------


@in_virtual_time
async def test_what_a_fetch_brings_after_a_rebalance_is_dropped_and_read_again() -> None:
    setting = Setting()
    client = await setting.reading(P0)

    async def fetch_through_a_rebalance(*_: object) -> dict[object, object]:
        await client.callbacks.on_revoked()
        await client.callbacks.on_assigned([P0])
        return {P0: records(P0, 500)}

    client.fetch = fetch_through_a_rebalance  # type: ignore[method-assign,assignment]  # one test's script
    assert nothing(await setting.poll([P0], 100, 0.1))
    assert (await setting.poll([P0], 100, 0.1)).starts == {P0: StartOffset(10, 10)}
    assert client.sought == [(P0, 10)]


@in_virtual_time
async def test_offsets_that_were_asked_for_before_a_rebalance_are_not_used_after_it() -> None:
    setting = Setting()
    client = await setting.assigned(P0)
    rebalances: list[asyncio.Future[None]] = []
    client.offsets = {P0: 10}
    client.before_answer = lambda: rebalances.append(
        asyncio.ensure_future(client.callbacks.on_assigned([P0]))
    )
    assert nothing(await setting.poll([P0], 100, 0.1))
    client.offsets = {P0: 20}
    assert (await setting.poll([P0], 100, 0.1)).starts == {P0: StartOffset(20, 20)}


@in_virtual_time
async def test_an_error_of_a_fetch_across_a_rebalance_blames_no_partition() -> None:
    setting = Setting()
    client = await setting.reading(P0)

    async def fail_through_a_rebalance(*_: object) -> dict[object, object]:
        await client.callbacks.on_assigned([P0])
        raise BAD_BATCH

    client.fetch = fail_through_a_rebalance  # type: ignore[method-assign,assignment]  # one test's script
    with pytest.raises(TransientError):
        await setting.poll([P0], 100, 0.1)


# --- bounds ----------------------------------------------------------------------------


@in_virtual_time
async def test_no_more_bytes_are_handed_out_than_a_batch_may_have() -> None:
    setting = Setting(max_batch_bytes=25)
    client = await setting.reading(P0, P1)
    ten = b"0123456789"
    client.fetches.append({P0: records(P0, 10, 11, 12, value=ten), P1: records(P1, 10, value=ten)})
    polled = await setting.poll([P0, P1], 100, 0.1)
    assert polled.records == {P0: records(P0, 10, 11, value=ten)}
    assert client.sought == [(P0, 12), (P1, 10)]


@in_virtual_time
async def test_one_record_is_handed_out_however_large_it_is() -> None:
    setting = Setting(max_batch_bytes=5)
    client = await setting.reading(P0)
    large = records(P0, 10, 11, value=b"0123456789")
    client.fetches.append({P0: large})
    assert (await setting.poll([P0], 100, 0.1)).records == {P0: large[:1]}
    assert client.sought == [(P0, 11)]


@in_virtual_time
@pytest.mark.reliability("F70")
async def test_headers_count_for_what_a_batch_may_have() -> None:
    setting = Setting(max_batch_bytes=1000)
    client = await setting.reading(P0)
    heavy = [one._replace(headers=(("h", b"x" * 400),)) for one in records(P0, 10, 11, 12)]
    client.fetches.append({P0: heavy})
    assert (await setting.poll([P0], 100, 0.1)).records == {P0: heavy[:1]}
    assert client.sought == [(P0, 11)]


# --- the rest --------------------------------------------------------------------------


@in_virtual_time
async def test_what_is_given_back_is_read_again() -> None:
    setting = Setting()
    client = await setting.reading(P0)
    client.fetches.append({P0: records(P0, 10, 11)})
    await setting.poll([P0], 100, 0.1)
    setting.seek(P0, 10)
    setting.source.seek(P1, 10)
    assert client.sought == [(P0, 10)]
    client.fetches.append({P0: records(P0, 10, 11)})
    assert (await setting.poll([P0], 100, 0.1)).records == {P0: records(P0, 10, 11)}


@in_virtual_time
async def test_closing_takes_no_longer_than_it_may() -> None:
    setting = Setting()
    client = await setting.reading(P0)
    client.close_gate.clear()
    begun = asyncio.get_running_loop().time()
    await setting.source.close(2.0)
    assert asyncio.get_running_loop().time() - begun == pytest.approx(2.0)
    assert setting.listener.calls == [{P0}]


@in_virtual_time
async def test_closing_a_client_that_fails_to_leave_is_no_error() -> None:
    setting = Setting()
    client = await setting.reading(P0)
    client.close_error = TransientError("KafkaError")
    await setting.source.close(2.0)
    assert client.closed


@in_virtual_time
async def test_the_highwater_is_the_clients() -> None:
    setting = Setting()
    assert setting.source.highwater(P0) is None
    await setting.reading(P0)
    assert setting.source.highwater(P0) == 1_000
