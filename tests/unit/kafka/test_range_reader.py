"""Reading ranges survives failed fetches and gives up only when nothing comes any more."""

from __future__ import annotations

import pytest

from consumer.aio import Backoff
from consumer.contract.record import OffsetRange, TopicPartition
from consumer.errors import TransientError
from consumer.kafka import range_reader
from consumer.kafka.ranges import DELETED, ENDS_BEFORE, UnreadRange
from tests.unit.kafka.fake_reader import P0, P1, FakeReader


def hundreds() -> FakeReader:
    """Two partitions of a hundred records."""
    return FakeReader({P0: range(100), P1: range(100)})


async def read(client: FakeReader, *ranges: OffsetRange) -> dict[TopicPartition, list[int]]:
    found: dict[TopicPartition, list[int]] = {}
    async for partition, records in client.read(ranges, max_records=7, patience=0.05):
        assert 0 < len(records) <= 7
        found.setdefault(partition, []).extend(record.offset for record in records)
    return found


async def test_every_record_of_each_range_comes_once_and_in_order() -> None:
    client = hundreds()
    ranges = (OffsetRange(P0, 3, 50), OffsetRange(P1, 0, 100))
    assert await read(client, *ranges) == {P0: list(range(3, 50)), P1: list(range(100))}
    assert set(client.paused) == {P0, P1}


async def test_what_a_failed_fetch_dropped_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(range_reader, "PAUSES", Backoff(0.0, 0.0))
    ranges = (OffsetRange(P0, 0, 100), OffsetRange(P1, 0, 100))
    client = hundreds()
    client.trouble = [TransientError("CorruptRecord")] * 2
    found = await read(client, *ranges)
    assert found == {P0: list(range(100)), P1: list(range(100))}


async def test_a_partition_that_cannot_be_read_ends_the_reading(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(range_reader, "PAUSES", Backoff(0.01, 5.0))
    client = hundreds()
    client.trouble = [TransientError("CorruptRecord")] * 1_000
    with pytest.raises(TransientError, match="CorruptRecord"):
        await read(client, OffsetRange(P0, 0, 100))


async def test_a_broker_that_sends_nothing_ends_the_reading() -> None:
    client = hundreds()
    client.silent = True
    with pytest.raises(TransientError, match="no_records"):
        await read(client, OffsetRange(P0, 0, 100))


async def test_nothing_is_read_of_empty_ranges() -> None:
    client = hundreds()
    client.silent = True
    assert await read(client, OffsetRange(P0, 5, 5)) == {}
    assert client.positions == {}


async def unread_of(client: FakeReader, *ranges: OffsetRange) -> list[UnreadRange]:
    async for _ in client.read(ranges, max_records=7, patience=2.0):
        pass
    return client.unread


@pytest.mark.reliability("F59")
async def test_a_batch_that_cannot_be_decoded_keeps_nobody_from_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(range_reader, "PAUSES", Backoff(0.001, 5.0))
    ranges = (OffsetRange(P0, 0, 100), OffsetRange(P1, 0, 100))
    client = hundreds()
    client.undecodable = {P0: range(10, 17)}
    found = await read(client, *ranges)
    assert found == {P0: [*range(10), *range(17, 100)], P1: list(range(100))}
    assert client.unread == [UnreadRange(P0, 10, 17, "CorruptRecord")]


@pytest.mark.reliability("F59")
async def test_a_batch_whose_end_cannot_be_told_costs_the_rest_of_its_partition(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(range_reader, "PAUSES", Backoff(0.001, 5.0))
    client = hundreds()
    client.undecodable, client.end_is_told = {P0: range(10, 17)}, False
    ranges = (OffsetRange(P0, 0, 90), OffsetRange(P1, 0, 100))
    assert await unread_of(client, *ranges) == [UnreadRange(P0, 10, 90, "CorruptRecord")]


@pytest.mark.reliability("F48")
async def test_what_is_deleted_while_it_is_read_is_named() -> None:
    client = hundreds()
    client.beginning, client.moves_on_in_silence = 30, True
    unread = await unread_of(client, OffsetRange(P0, 5, 100), OffsetRange(P1, 30, 100))
    assert unread == [UnreadRange(P0, 5, 30, DELETED)]


@pytest.mark.reliability("F80")
async def test_a_log_that_ends_before_its_range_is_waited_for_no_longer_than_a_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(range_reader, "END_PATIENCE", 0.0)
    unread = await unread_of(hundreds(), OffsetRange(P0, 50, 150), OffsetRange(P1, 0, 100))
    assert unread == [UnreadRange(P0, 100, 150, ENDS_BEFORE)]
