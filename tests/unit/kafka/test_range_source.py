"""Parts of topics are read once, in order, and nothing of them is missed, whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from random import Random

import pytest

from consumer.aio import RateLimiter
from consumer.commands.common.record_selection import MessageFilter
from consumer.contract.decode import MAX_VALUE_BYTES
from consumer.contract.record import OffsetRange, Record, TopicPartition
from consumer.errors import TransientError
from consumer.kafka import range_reader
from consumer.kafka.range_source import WORTH_A_SEEK, RangeSource
from consumer.kafka.ranges import (
    BEGAN_ANEW,
    DECODING_ATTEMPTS,
    DELETED,
    ENDS_BEFORE,
    TOPIC_GONE,
    RecordFilter,
    UnreadRange,
)
from consumer.ports import StartOffset
from tests.fakes.positions import Positions
from tests.unit.kafka.fake_reader import P0, P1, FakeReader

AT_ONCE = 0.01
"""Seconds for a poll that brings nothing, or may come back with nothing."""


class Listener(Positions):
    """Remembers the assignment."""

    def __init__(self) -> None:
        super().__init__()
        self.assigned: list[Collection[TopicPartition]] = []

    async def on_revoked(self) -> None:
        raise AssertionError("there is no group that could revoke")

    async def on_assigned(self, partitions: Collection[TopicPartition]) -> None:
        self.assigned.append(list(partitions))

    def on_lost(self) -> None:
        raise AssertionError("there is no group that could be lost")


class Only:
    """Wants some offsets, and may tell which."""

    def __init__(self, offsets: Iterable[int], *, tells: bool = False) -> None:
        self.offsets = sorted(offsets)
        self.tells = tells

    def matches(self, record: Record) -> bool:
        return record.offset in self.offsets

    def next_match(self, partition: TopicPartition, offset: int) -> int | None:
        if not self.tells:
            return offset
        return next((wanted for wanted in self.offsets if wanted >= offset), None)


class Reading:
    """A source over a fake client, driven as the engine drives it."""

    def __init__(
        self,
        client: FakeReader,
        *ranges: OffsetRange,
        record_filter: RecordFilter | None = None,
        rate: float | None = None,
        max_batch_bytes: int = 1_000_000,
    ) -> None:
        self.kept: list[dict[TopicPartition, int]] = []
        self.gaps: list[OffsetRange] = []
        self.failed: list[TransientError] = []
        self.source = RangeSource(
            client,
            ranges,
            max_batch_bytes=max_batch_bytes,
            record_filter=record_filter or MessageFilter(MAX_VALUE_BYTES),
            rate_limiter=RateLimiter(rate),
            on_progress=self._keep,
        )
        self.listener = Listener()
        self.source.listen(self.listener)

    def _keep(self) -> None:
        self.kept.append(dict(self.source.positions))

    async def begin(self) -> Mapping[TopicPartition, StartOffset]:
        assert (await self.source.poll((), 10, 0.0)).records == {}
        return (await self.source.poll(list(self.source.ends), 10, 0.0)).starts

    async def poll(
        self, idle: Collection[TopicPartition] | None = None, timeout: float = 5.0
    ) -> dict[int, list[int]]:
        partitions = list(self.source.ends) if idle is None else idle
        polled = await self.source.poll(partitions, 10, timeout)
        self.gaps += polled.gaps
        self.failed += polled.failed.values()
        return {p.partition: [r.offset for r in some] for p, some in polled.records.items()}

    async def all(self) -> dict[int, list[int]]:
        await self.begin()
        return await self.rest()

    async def rest(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        async with asyncio.timeout(10):
            ends = self.source.ends
            while not all((self.source.position(p) or 0) >= end for p, end in ends.items()):
                for number, offsets in (await self.poll(timeout=AT_ONCE)).items():
                    found.setdefault(number, []).extend(offsets)
        return found


async def test_each_range_is_read_from_its_first_offset_up_to_its_end() -> None:
    client = FakeReader({P0: range(50), P1: range(50)})
    reading = Reading(client, OffsetRange(P0, 5, 32), OffsetRange(P1, 0, 50))
    assert await reading.all() == {0: list(range(5, 32)), 1: list(range(50))}


async def test_the_engine_is_told_of_its_partitions_and_where_each_begins() -> None:
    client = FakeReader({P0: range(50), P1: range(50)})
    reading = Reading(client, OffsetRange(P0, 5, 32), OffsetRange(P1, 7, 7))
    assert await reading.begin() == {P0: StartOffset(5, 5)}
    assert reading.listener.assigned == [[P0]]


async def test_a_partition_that_is_done_is_fetched_no_more() -> None:
    client = FakeReader({P0: range(500)})
    await Reading(client, OffsetRange(P0, 0, 10)).all()
    assert client.paused == [P0]


async def test_a_range_ends_behind_transaction_markers_too() -> None:
    client = FakeReader({P0: [0, 1, 2]})
    client.ends[P0] = 6
    reading = Reading(client, OffsetRange(P0, 0, 6))
    assert await reading.all() == {0: [0, 1, 2]}
    assert reading.gaps == []


async def test_after_a_failed_fetch_nothing_is_missing() -> None:
    client = FakeReader({P0: range(40), P1: range(40)})
    reading = Reading(client, OffsetRange(P0, 0, 40), OffsetRange(P1, 0, 40))
    await reading.begin()
    client.trouble = [TransientError("CorruptRecord")]
    with pytest.raises(TransientError):
        await reading.poll()
    found: dict[int, list[int]] = {}
    while len(found.get(0, [])) + len(found.get(1, [])) < 80:
        for number, offsets in (await reading.poll()).items():
            found.setdefault(number, []).extend(offsets)
    assert found == {0: list(range(40)), 1: list(range(40))}


async def test_a_hole_that_retention_made_is_reported_and_read_over() -> None:
    client = FakeReader({P0: range(20, 40)})
    client.beginning = 20
    reading = Reading(client, OffsetRange(P0, 5, 40))
    assert await reading.all() == {0: list(range(20, 40))}
    assert reading.gaps == [OffsetRange(P0, 5, 20)]


async def test_a_hole_that_compaction_or_a_transaction_left_is_no_gap() -> None:
    client = FakeReader({P0: [3, 4, 9]})
    reading = Reading(client, OffsetRange(P0, 0, 10))
    assert await reading.all() == {0: [3, 4, 9]}
    assert reading.gaps == []


async def test_records_are_kept_when_it_cannot_be_asked_what_made_a_hole() -> None:
    client = FakeReader({P0: range(20, 40)})
    client.trouble_with_beginnings = [TransientError("timeout")]
    reading = Reading(client, OffsetRange(P0, 5, 40))
    await reading.begin()
    with pytest.raises(TransientError):
        await reading.poll()
    assert await reading.poll() == {0: list(range(20, 30))}


async def test_a_topic_that_was_made_again_is_not_read_on() -> None:
    client = FakeReader({P0: range(40), P1: range(40)})
    reading = Reading(client, OffsetRange(P0, 20, 40), OffsetRange(P1, 0, 40))
    await reading.begin()
    client.positions[P0] = 0
    assert await reading.rest() == {1: list(range(40))}
    assert reading.source.unread == [UnreadRange(P0, 20, 40, BEGAN_ANEW)]


@pytest.mark.parametrize("beginning", [40, 60])
@pytest.mark.reliability("F48")
async def test_what_is_deleted_is_told_though_no_record_comes_to_tell_of_it(
    beginning: int,
) -> None:
    client = FakeReader({P0: range(60)})
    client.beginning, client.moves_on_in_silence = beginning, True
    reading = Reading(client, OffsetRange(P0, 5, 60))
    assert await reading.all() == ({0: list(range(40, 60))} if beginning == 40 else {})
    assert reading.gaps == [OffsetRange(P0, 5, beginning)]
    assert reading.source.unread == [UnreadRange(P0, 5, beginning, DELETED)]


@pytest.mark.reliability("F48")
async def test_of_deleted_offsets_only_those_of_the_range_are_missed() -> None:
    client = FakeReader({P0: range(60)})
    client.beginning, client.moves_on_in_silence = 60, True
    reading = Reading(client, OffsetRange(P0, 5, 20))
    assert await reading.all() == {}
    assert reading.source.unread == [UnreadRange(P0, 5, 20, DELETED)]


@pytest.mark.reliability("F48")
async def test_what_nobody_wanted_is_not_missed() -> None:
    client = FakeReader({P0: range(60)})
    client.beginning, client.moves_on_in_silence = 40, True
    reading = Reading(client, OffsetRange(P0, 0, 60), record_filter=Only([50], tells=True))
    assert await reading.all() == {0: [50]}
    assert (reading.gaps, reading.source.unread) == ([], [])


@pytest.mark.reliability("F80")
async def test_a_log_that_ends_before_its_range_ends_the_reading(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(range_reader, "END_PATIENCE", 0.0)
    client = FakeReader({P0: range(30)})
    reading = Reading(client, OffsetRange(P0, 10, 50))
    assert await reading.all() == {0: list(range(10, 30))}
    assert reading.source.unread == [UnreadRange(P0, 30, 50, ENDS_BEFORE)]


@pytest.mark.reliability("F59")
async def test_a_batch_that_cannot_be_decoded_is_named_and_read_over() -> None:
    client = FakeReader({P0: range(40), P1: range(40)})
    client.undecodable[P0] = range(10, 17)
    reading = Reading(client, OffsetRange(P0, 0, 40), OffsetRange(P1, 0, 40))
    good = [*range(10), *range(17, 40)]
    assert await reading.all() == {0: good, 1: list(range(40))}
    assert reading.source.unread == [UnreadRange(P0, 10, 17, "CorruptRecord")]
    assert [error.cause for error in reading.failed] == ["CorruptRecord"] * (DECODING_ATTEMPTS - 1)


@pytest.mark.reliability("F59")
async def test_a_batch_that_was_spoilt_on_its_way_is_read_after_all() -> None:
    client = FakeReader({P0: range(40)})
    client.undecodable[P0] = range(10, 17)
    reading = Reading(client, OffsetRange(P0, 0, 40))
    await reading.begin()
    found = (await reading.poll()).get(0, [])
    while not reading.failed:
        found += (await reading.poll(timeout=AT_ONCE)).get(0, [])
    client.undecodable.clear()
    assert found + (await reading.rest())[0] == list(range(40))
    assert reading.source.unread == []


@pytest.mark.reliability("F59")
async def test_a_partition_that_is_refused_keeps_no_other_from_being_read() -> None:
    client = FakeReader({P0: range(40), P1: range(40)})
    client.refused[P0] = TransientError("KafkaStorageError")
    reading = Reading(client, OffsetRange(P0, 0, 40), OffsetRange(P1, 0, 40))
    await reading.begin()
    found: list[int] = []
    while (reading.source.position(P1) or 0) < 40:
        # As the engine does: what has failed is left alone for a while.
        idle = [P1] if reading.failed else None
        found += (await reading.poll(idle, timeout=AT_ONCE)).get(1, [])
    assert found == list(range(40))
    assert reading.source.unread == []


async def test_what_is_not_wanted_is_left_out_and_passed() -> None:
    client = FakeReader({P0: range(30_000)})
    reading = Reading(client, OffsetRange(P0, 0, 30_000), record_filter=Only([15_000]))
    await reading.begin()
    assert await reading.poll() == {0: [15_000]}
    assert reading.source.position(P0) == 15_010
    while not (reading.source.position(P0) or 0) >= 30_000:
        assert await reading.poll(timeout=AT_ONCE) == {}
    assert reading.source.positions == {P0: 0}
    await reading.source.commit({P0: 15_001})
    assert reading.source.positions == await reading.source.committed([P0]) == {P0: 30_000}


async def test_progress_is_what_is_committed() -> None:
    client = FakeReader({P0: range(20)})
    reading = Reading(client, OffsetRange(P0, 0, 20))
    await reading.begin()
    await reading.poll()
    assert reading.source.positions == {P0: 0}
    await reading.source.commit({P0: 10})
    assert reading.source.positions == await reading.source.committed([P0]) == {P0: 10}
    assert reading.kept == [{P0: 10}]


async def test_what_is_in_flight_is_not_read_on() -> None:
    client = FakeReader({P0: range(40), P1: range(40)})
    reading = Reading(client, OffsetRange(P0, 0, 40), OffsetRange(P1, 0, 40))
    await reading.begin()
    assert await reading.poll(idle=[P1]) == {1: list(range(10))}
    assert await reading.poll(idle=(), timeout=AT_ONCE) == {}
    assert await reading.poll(idle=[P0]) == {0: list(range(10))}


async def test_a_batch_is_bounded_in_bytes_and_has_one_record_at_least() -> None:
    client = FakeReader({P0: range(20), P1: range(20)})
    size = client.log[P0][0].size
    for bound, count in ((1, 1), (3 * size, 3)):
        reading = Reading(
            client, OffsetRange(P0, 0, 20), OffsetRange(P1, 0, 20), max_batch_bytes=bound
        )
        await reading.begin()
        first = await reading.poll()
        assert sum(map(len, first.values())) == count
        rest = await reading.rest()
        assert [first.get(n, []) + rest[n] for n in (0, 1)] == [list(range(20))] * 2


@pytest.mark.reliability("F70")
async def test_headers_count_for_what_is_read_at_once() -> None:
    client = FakeReader({P0: range(5)})
    client.log[P0] = [one._replace(headers=(("h", b"x" * 4_000),)) for one in client.log[P0]]
    reading = Reading(client, OffsetRange(P0, 0, 5), max_batch_bytes=10_000)
    await reading.begin()
    assert await reading.poll() == {0: [0, 1]}


async def test_single_records_far_apart_are_sought() -> None:
    wanted = [3, 2 * WORTH_A_SEEK, 90_000]
    client = FakeReader({P0: range(100_000)})
    reading = Reading(client, OffsetRange(P0, 0, 100_000), record_filter=Only(wanted, tells=True))
    assert await reading.all() == {0: wanted}
    assert client.fetched < 100
    assert (P0, 90_000) in client.seeks


async def test_behind_the_last_wanted_record_nothing_is_fetched() -> None:
    client = FakeReader({P0: range(100_000)})
    reading = Reading(client, OffsetRange(P0, 0, 100_000), record_filter=Only([3], tells=True))
    await reading.all()
    assert client.fetched <= 10
    assert reading.source.position(P0) == 100_000


async def test_a_rate_makes_batches_small_and_spaces_them() -> None:
    client = FakeReader({P0: range(40)})
    reading = Reading(client, OffsetRange(P0, 0, 40), rate=4)
    await reading.begin()
    assert await reading.poll() == {0: [0, 1, 2, 3]}
    assert await reading.poll(timeout=AT_ONCE) == {}
    assert await reading.poll(timeout=AT_ONCE) == {}


async def test_what_is_given_back_is_read_again() -> None:
    client = FakeReader({P0: range(40)})
    reading = Reading(client, OffsetRange(P0, 0, 40))
    await reading.begin()
    assert await reading.poll() == {0: list(range(10))}
    reading.source.seek(P0, 4)
    assert await reading.poll() == {0: list(range(4, 14))}


async def test_the_end_is_reached_only_when_its_last_records_are_handed_out() -> None:
    client = FakeReader({P0: range(10)})
    reading = Reading(client, OffsetRange(P0, 0, 10))
    await reading.begin()
    polling = asyncio.ensure_future(reading.poll())
    while not polling.done():
        assert (reading.source.position(P0) or 0) < 10
        await asyncio.sleep(0)
    assert await polling == {0: list(range(10))}
    assert reading.source.position(P0) == 10


class HostileLog:
    """One log with holes that transactions left, of which parts are deleted or spoilt."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.offsets = {offset for offset in range(LOG_END) if rng.random() < 0.8}
        self.client = FakeReader({P0: sorted(self.offsets)})
        self.client.ends[P0] = LOG_END
        self.client.moves_on_in_silence = True
        if rng.random() < 0.5:
            first = rng.randrange(LOG_END)
            self.client.undecodable[P0] = range(first, first + rng.randrange(1, 20))

    def go_on(self) -> None:
        """Delete, now and then, the beginning of what is left."""
        if self.rng.random() < 0.15:
            beginning = self.rng.randrange(LOG_END + 1)
            self.client.beginning = max(self.client.beginning, beginning)
            log = self.client.log[P0]
            self.client.log[P0] = [one for one in log if one.offset >= self.client.beginning]


LOG_END = 80


@pytest.mark.parametrize("number", range(40))
@pytest.mark.reliability("F48", "F59")
async def test_whatever_becomes_of_a_log_each_offset_is_read_or_named(
    rng: Random, number: int
) -> None:
    world = HostileLog(Random(f"{rng.random()} {number}"))
    reading = Reading(world.client, OffsetRange(P0, 3, LOG_END), rate=world.rng.choice([None, 400]))
    await reading.begin()
    read: list[int] = []
    async with asyncio.timeout(10):
        while (reading.source.position(P0) or 0) < LOG_END:
            read += (await reading.poll(timeout=0.001)).get(0, [])
            world.go_on()
    named = [offset for part in reading.source.unread for offset in range(part.first, part.end)]
    assert read == sorted(set(read))
    assert len(named) == len(set(named))
    assert not set(read) & set(named)
    assert {offset for offset in world.offsets if offset >= 3} <= {*read, *named}


@pytest.mark.reliability("F80")
async def test_of_a_topic_that_is_gone_nothing_more_is_waited_for() -> None:
    other = TopicPartition("u", 1)
    client = FakeReader({P0: range(40), other: range(40)})
    reading = Reading(client, OffsetRange(P0, 0, 40), OffsetRange(other, 0, 40))
    await reading.begin()
    assert await reading.poll([P0]) == {0: list(range(10))}
    reading.source.abandon("t", TOPIC_GONE)
    assert await reading.rest() == {1: list(range(40))}
    assert reading.source.unread == [UnreadRange(P0, 10, 40, TOPIC_GONE)]
