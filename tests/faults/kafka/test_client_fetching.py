"""Traps of aiokafka 0.14 about what a fetch brings, and what it throws away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiokafka.codec
import cramjam
import pytest
from aiokafka import TopicPartition as ClientPartition

from consumer.contract.record import TopicPartition
from consumer.errors import PreconditionError
from consumer.kafka import decompression
from consumer.kafka.decompression import (
    BoundedDecompressor,
    DecompressionLimitError,
    MalformedSnappyError,
    check_codecs,
)
from tests.faults.kafka import batches
from tests.faults.kafka.batches import batch, flipped, logs, refusing, replacing
from tests.faults.kafka.clusters import mocked
from tests.faults.kafka.engine import publish_events, running
from tests.faults.kafka.frames import Api
from tests.faults.kafka.reading import BRISK, ONE, TWO, eventually, quick, reading

KAFKA_STORAGE_ERROR = 56
MIB = 1024 * 1024
CODECS = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


@pytest.mark.reliability("A2")
async def test_a_partition_that_cannot_be_decoded_takes_no_record_of_another_with_it() -> None:
    async with (
        mocked(2, records=20) as (_, frames),
        reading(quick(frames.bootstrap_servers)) as reader,
    ):
        bad = frames.edit(Api.FETCH, replacing(TWO, 0, flipped))
        await reader.until(lambda: len(reader.starts) == 2)
        fetched = reader.consumer._fetcher._records
        await eventually(lambda: len(fetched) == 2)
        fetched.move_to_end(ClientPartition(*TWO))  # the good one is drained first
        await reader.until(lambda: len(reader.causes(TWO)) >= 2)
        assert reader.offsets(ONE) == list(range(20))
        assert reader.offsets(TWO) == []
        bad.end()
        await reader.until_read({TWO: 20})
        assert reader.offsets(ONE) == reader.offsets(TWO) == list(range(20))


@pytest.mark.reliability("A2")
async def test_what_stands_before_a_batch_that_cannot_be_decoded_is_read() -> None:
    fives = [batch([(None, b"value", ())] * 5, base=base) for base in (0, 5, 10, 15)]
    async with (
        mocked(1, records=20, batches=4) as (_, frames),
        reading(quick(frames.bootstrap_servers)) as reader,
    ):
        frames.edit(Api.FETCH, replacing(ONE, 0, lambda _: b"".join(fives)))
        frames.edit(Api.FETCH, replacing(ONE, 10, flipped))
        await reader.until(lambda: bool(reader.failed))
        assert reader.offsets(ONE) == list(range(10))
        _, error = reader.failed[0]
        assert error.cause == "CorruptRecordException"
        assert error.detail == "offsets 10 to 14 cannot be read"


@pytest.mark.reliability("A3")
async def test_a_fetch_that_failed_does_not_count_as_a_poll_that_goes_on_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = 0

    async def defective(*_: object, **__: object) -> None:
        nonlocal calls
        calls += 1
        raise AssertionError("a defect of the client")

    async with mocked(1) as (_, frames):
        kafka = quick(frames.bootstrap_servers, max_poll_interval=1.2)
        async with reading(kafka) as reader:
            await reader.until(lambda: bool(reader.assigned))
            with monkeypatch.context() as patched:
                patched.setattr(reader.consumer._fetcher, "fetched_records", defective)
                await reader.until(lambda: calls > 0)
            # Nobody polls any more: the client has to notice, and leave the group.
            await eventually(lambda: reader.consumer._coordinator.generation < 0, seconds=6.0)


@pytest.mark.reliability("A21")
async def test_a_record_that_the_client_finds_too_large_is_not_skipped() -> None:
    async with mocked(1, records=5) as (_, frames):
        short = frames.edit(Api.FETCH, logs(lambda _, log: log[:40]), times=2)
        async with reading(quick(frames.bootstrap_servers)) as reader:
            await reader.until(lambda: 4 in reader.offsets(ONE))
            assert short.count == 2
            assert "RecordTooLargeError" in reader.causes(ONE)
            assert reader.offsets(ONE) == list(range(5))


@pytest.mark.reliability("A22")
async def test_a_broker_that_answers_with_errors_is_asked_again_with_pauses() -> None:
    async with mocked(2, records=5) as (_, frames):
        failing = frames.edit(Api.FETCH, refusing(KAFKA_STORAGE_ERROR, TWO))
        async with reading(quick(frames.bootstrap_servers)) as reader:
            await reader.until(lambda: len(reader.causes(TWO)) >= 5)
            assert set(reader.causes(TWO)) == {"KafkaStorageError"}
            assert reader.offsets(ONE) == list(range(5))
            # Without a pause thousands of requests would have been sent meanwhile.
            assert frames.seen[Api.FETCH] < 100
            failing.end()
            await reader.until_read({TWO: 5})


@pytest.mark.reliability("A22")
async def test_a_partition_that_can_be_read_again_is_said_before_any_record_comes() -> None:
    async with mocked(1) as (_, frames):
        await publish_events(frames.bootstrap_servers, {ONE: 5})
        async with running(quick(frames.bootstrap_servers)) as member:
            await member.until(lambda: member.committed == {ONE: 5})
            failing = frames.edit(Api.FETCH, refusing(KAFKA_STORAGE_ERROR))
            await member.until(lambda: not member.is_ready(), seconds=6.0)
            assert member.said("partition_unreadable")[0]["cause"] == "KafkaStorageError"
            failing.end()
            await member.until(member.is_ready)
            assert member.seen.readables == [ONE]


@pytest.mark.reliability("A22")
async def test_a_client_whose_fetching_has_died_is_replaced() -> None:
    async with (
        mocked(1, records=5) as (_, frames),
        reading(quick(frames.bootstrap_servers, **BRISK)) as reader,
    ):
        await reader.until_read({ONE: 5})
        reader.consumer._fetcher._fetch_task.cancel()
        await reader.until(lambda: len(reader.clients) == 2)
        assert reader.errors[-1].cause == "fetching_ended"
        await reader.until_read({ONE: 10})


def compressed(codec: str, content: bytes) -> bytes:
    return bytes(getattr(aiokafka.codec, f"{codec}_encode")(content))


def decompressor(codec: str, max_bytes: int) -> Callable[[bytes], bytes]:
    function: Callable[[bytes], bytes] = getattr(BoundedDecompressor(max_bytes), codec)
    return function


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("size", [0, 1, 1000, 3 * MIB])
@pytest.mark.reliability("A23")
def test_within_the_limit_everything_is_unpacked(codec: str, size: int) -> None:
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    assert decompressor(codec, 3 * MIB)(compressed(codec, content)) == content


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.reliability("A23")
def test_beyond_the_limit_nothing_is_unpacked(codec: str) -> None:
    bomb = compressed(codec, bytes(3 * MIB + 1))
    with pytest.raises(DecompressionLimitError):
        decompressor(codec, 3 * MIB)(bomb)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.reliability("A23")
def test_what_is_damaged_is_not_taken_for_too_large(codec: str) -> None:
    damaged = compressed(codec, b"hello " * 1000)[:-20]
    with pytest.raises((cramjam.DecompressionError, MalformedSnappyError)):
        decompressor(codec, 3 * MIB)(damaged)


@pytest.mark.reliability("A23")
def test_snappy_without_its_framing_is_bounded_too() -> None:
    raw = bytes(cramjam.snappy.compress_raw(bytes(MIB)))
    assert decompressor("snappy", MIB)(raw) == bytes(MIB)
    with pytest.raises(DecompressionLimitError):
        decompressor("snappy", MIB - 1)(raw)


@pytest.mark.parametrize("length", [-4, 0, 2**31 - 1])
@pytest.mark.reliability("A23")
def test_a_snappy_block_of_an_impossible_length_is_refused(length: int) -> None:
    """With minus four the client's own way would go round for ever."""
    whole = bytearray(compressed("snappy", b"hello " * 10))
    whole[16:20] = (length & 0xFFFFFFFF).to_bytes(4, "big")
    with pytest.raises(MalformedSnappyError):
        decompressor("snappy", MIB)(bytes(whole))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.reliability("A23")
async def test_a_batch_that_unpacks_to_more_than_is_allowed_stops_its_partition_only(
    codec: str,
) -> None:
    bomb = batch([(b"key", bytes(2 * MIB), ())], codec=CODECS[codec])
    assert len(bomb) < MIB / 2
    async with mocked(2, records=6, batches=2) as (_, frames):
        frames.edit(Api.FETCH, replacing(TWO, 3, lambda _: batches.at(bomb, 3)))
        kafka = quick(frames.bootstrap_servers, max_decompressed_bytes=MIB)
        async with reading(kafka) as reader:
            await reader.until_read({ONE: 6})
            await reader.until(lambda: bool(reader.failed))
            assert set(reader.causes(TWO)) == {"DecompressionLimitError"}
            assert reader.offsets(TWO) == [0, 1, 2]


@pytest.mark.reliability("A23")
async def test_one_fetch_of_many_large_batches_hands_out_no_more_than_the_limit() -> None:
    large = batch([(None, bytes(MIB), ())], codec=CODECS["zstd"])

    def all_from_here_on(_: TopicPartition, log: bytes) -> bytes:
        first = next(batches.split(log), None)
        bases = range(first[0], 40) if first else ()
        return b"".join(batches.at(large, base) for base in bases)

    async with mocked(1, records=40, batches=40) as (_, frames):
        frames.edit(Api.FETCH, logs(all_from_here_on))
        kafka = quick(frames.bootstrap_servers, max_decompressed_bytes=2 * MIB)
        async with reading(kafka, max_batch_bytes=64 * MIB) as reader:
            most = 0
            while len(reader.records[ONE]) < 40:
                before = len(reader.records[ONE])
                await reader.poll()
                most = max(most, len(reader.records[ONE]) - before)
            assert reader.offsets(ONE) == list(range(40))
            assert 2 <= most <= 3


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.reliability("A24")
def test_a_codec_whose_library_is_missing_is_found_before_a_record_is_read(
    codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_codecs()
    _, encode, decode = decompression._ROUND_TRIPS[codec]
    monkeypatch.setitem(decompression._ROUND_TRIPS, codec, (lambda: False, encode, decode))
    with pytest.raises(PreconditionError, match=f"the {codec} codec does not work here"):
        check_codecs()


@pytest.mark.reliability("A24")
def test_a_codec_that_gives_back_something_else_is_found_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    available, encode, _ = decompression._ROUND_TRIPS["lz4"]
    monkeypatch.setitem(decompression._ROUND_TRIPS, "lz4", (available, encode, lambda _: b"else"))
    with pytest.raises(PreconditionError, match="the lz4 codec does not work here"):
        check_codecs()


@pytest.mark.reliability("F110")
async def test_nothing_is_fetched_before_it_is_known_where_reading_begins() -> None:
    async with (
        mocked(2, records=5) as (_, frames),
        reading(quick(frames.bootstrap_servers)) as reader,
    ):
        fetches = frames.edit(Api.FETCH, lambda reply: reply)
        async with asyncio.timeout(10):
            while not reader.assigned:
                await reader.source.poll((), 1, 0.05)
        positions = [
            reader.consumer._subscription.subscription.assignment.state_value(
                ClientPartition(*partition)
            )
            for partition in (ONE, TWO)
        ]
        await eventually(lambda: all(position.has_valid_position for position in positions))
        await reader.client.end_offsets([ONE, TWO])  # the client has had its time to begin
        assert fetches.count == 0
        await reader.until_read({ONE: 5, TWO: 5})
