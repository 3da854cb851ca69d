"""Reading ranges survives failed fetches and gives up only when nothing comes any more."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence

import pytest

from consumer.aio import Backoff
from consumer.contract.record import OffsetRange, Record, TopicPartition
from consumer.errors import TransientError, UndecodableError
from consumer.kafka import range_reader
from consumer.kafka.client import PartitionsError
from consumer.kafka.range_reader import RangeReader
from consumer.kafka.ranges import DELETED, ENDS_BEFORE, UnreadRange

P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)


class FakeClient(RangeReader):
    """Two partitions of a hundred records; fetches fail as often as they are told to."""

    def __init__(
        self,
        failures: int = 0,
        *,
        silent: bool = False,
        undecodable: range = range(0),
        end_is_told: bool = True,
        beginning: int = 0,
    ) -> None:
        self.unread = []
        self.failures = failures
        self.silent = silent
        self.undecodable = undecodable
        self.end_is_told = end_is_told
        self.beginning = beginning
        self.positions: dict[TopicPartition, int] = {}
        self.paused: set[TopicPartition] = set()

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        self.positions = dict(positions)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.positions[partition] = offset

    def pause(self, partition: TopicPartition) -> None:
        self.paused.add(partition)

    def position(self, partition: TopicPartition) -> int | None:
        return self.positions[partition]

    async def fetch(
        self, partitions: Collection[TopicPartition], max_records: int, timeout: float
    ) -> Mapping[TopicPartition, Sequence[Record]]:
        await asyncio.sleep(0)
        if self.silent:
            return {}
        found: dict[TopicPartition, Sequence[Record]] = {}
        for partition in partitions:
            first = self.positions[partition]
            if first < self.beginning:
                # Out of range: the client asks where the log begins, and the poll is over.
                self.positions[partition] = self.beginning
                continue
            end = first + max_records
            if partition == P0 and first in self.undecodable:
                known = self.undecodable.stop if self.end_is_told else None
                raise PartitionsError({P0: UndecodableError("CorruptRecord", first, known)})
            if partition == P0 and first < self.undecodable.start:
                end = min(end, self.undecodable.start)
            taken = range(first, min(end, 100))
            self.positions[partition] = taken.stop
            if taken:
                found[partition] = [Record(*partition, n, 0, None, None) for n in taken]
        if self.failures:
            self.failures -= 1
            raise TransientError("CorruptRecord")
        return found

    def highwater(self, partition: TopicPartition) -> int | None:
        return 100

    async def beginning_offsets(
        self, partitions: Collection[TopicPartition]
    ) -> Mapping[TopicPartition, int]:
        return dict.fromkeys(partitions, self.beginning)


async def read(client: FakeClient, *ranges: OffsetRange) -> dict[TopicPartition, list[int]]:
    found: dict[TopicPartition, list[int]] = {}
    async for partition, records in client.read(ranges, max_records=7, patience=0.05):
        assert 0 < len(records) <= 7
        found.setdefault(partition, []).extend(record.offset for record in records)
    return found


async def test_every_record_of_each_range_comes_once_and_in_order() -> None:
    client = FakeClient()
    ranges = (OffsetRange(P0, 3, 50), OffsetRange(P1, 0, 100))
    assert await read(client, *ranges) == {P0: list(range(3, 50)), P1: list(range(100))}
    assert client.paused == {P0, P1}


async def test_what_a_failed_fetch_dropped_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(range_reader, "PAUSES", Backoff(0.0, 0.0))
    ranges = (OffsetRange(P0, 0, 100), OffsetRange(P1, 0, 100))
    found = await read(FakeClient(failures=2), *ranges)
    assert found == {P0: list(range(100)), P1: list(range(100))}


async def test_a_partition_that_cannot_be_read_ends_the_reading(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(range_reader, "PAUSES", Backoff(0.01, 5.0))
    with pytest.raises(TransientError, match="CorruptRecord"):
        await read(FakeClient(failures=1_000), OffsetRange(P0, 0, 100))


async def test_a_broker_that_sends_nothing_ends_the_reading() -> None:
    with pytest.raises(TransientError, match="no_records"):
        await read(FakeClient(silent=True), OffsetRange(P0, 0, 100))


async def test_nothing_is_read_of_empty_ranges() -> None:
    client = FakeClient(silent=True)
    assert await read(client, OffsetRange(P0, 5, 5)) == {}
    assert client.positions == {}


async def unread_of(client: FakeClient, *ranges: OffsetRange) -> list[UnreadRange]:
    async for _ in client.read(ranges, max_records=7, patience=2.0):
        pass
    return client.unread


@pytest.mark.reliability("F59")
async def test_a_batch_that_cannot_be_decoded_keeps_nobody_from_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(range_reader, "PAUSES", Backoff(0.001, 5.0))
    ranges = (OffsetRange(P0, 0, 100), OffsetRange(P1, 0, 100))
    found = await read(FakeClient(undecodable=range(10, 17)), *ranges)
    assert found == {P0: [*range(10), *range(17, 100)], P1: list(range(100))}
    unread = await unread_of(FakeClient(undecodable=range(10, 17)), *ranges)
    assert unread == [UnreadRange(P0, 10, 17, "CorruptRecord")]


@pytest.mark.reliability("F59")
async def test_a_batch_whose_end_cannot_be_told_costs_the_rest_of_its_partition(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(range_reader, "PAUSES", Backoff(0.001, 5.0))
    client = FakeClient(undecodable=range(10, 17), end_is_told=False)
    ranges = (OffsetRange(P0, 0, 90), OffsetRange(P1, 0, 100))
    assert await unread_of(client, *ranges) == [UnreadRange(P0, 10, 90, "CorruptRecord")]


@pytest.mark.reliability("F48")
async def test_what_is_deleted_while_it_is_read_is_named() -> None:
    client = FakeClient(beginning=30)
    unread = await unread_of(client, OffsetRange(P0, 5, 100), OffsetRange(P1, 30, 100))
    assert unread == [UnreadRange(P0, 5, 30, DELETED)]


@pytest.mark.reliability("F80")
async def test_a_log_that_ends_before_its_range_is_waited_for_no_longer_than_a_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(range_reader, "END_PATIENCE", 0.0)
    unread = await unread_of(FakeClient(), OffsetRange(P0, 50, 150), OffsetRange(P1, 0, 100))
    assert unread == [UnreadRange(P0, 100, 150, ENDS_BEFORE)]
