"""Batches that no well-meaning producer sends: one partition may stop, the process may not."""

from __future__ import annotations

import resource
import struct
from collections.abc import Sequence
from typing import Any

import cramjam
import pytest
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder

from consumer.contract.record import Headers, OffsetRange, TopicPartition
from consumer.kafka.range_reader import open_range_reader
from consumer.kafka.ranges import UnreadRange
from tests import builders
from tests.faults.kafka import batches
from tests.faults.kafka.batches import (
    Change,
    batch,
    checked,
    cut_short,
    flipped,
    logs,
    marked,
    replacing,
)
from tests.faults.kafka.clusters import mocked
from tests.faults.kafka.engine import Letters, event_keys, publish_events, running, session_of
from tests.faults.kafka.frames import Api
from tests.faults.kafka.reading import ONE, TWO, quick, reading

CODECS = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
GOOD = [(b"key", b"value" * 200, ())] * 5
CONTROL, TRANSACTIONAL, LOG_APPEND_TIME = 0x20, 0x10, 0x08
MIB = 1024 * 1024


def damaged(codec: int) -> Change:
    """A batch whose compressed records break off in the middle."""
    return lambda content: batches.at(
        cut_short(batch(GOOD, codec=codec)), struct.unpack(">q", content[:8])[0]
    )


def too_long(content: bytes) -> bytes:
    """The first record says that it is longer than the batch."""
    whole = bytearray(content)
    whole[batches.CONTENT_AT : batches.CONTENT_AT + 2] = b"\xfe\x7f"
    return checked(bytes(whole))


def of_no_length(content: bytes) -> bytes:
    """The batch says that it is as long as its length field: nothing."""
    return content[:8] + struct.pack(">i", -12) + content[12:]


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        pytest.param(flipped, "CorruptRecordException", id="a bad checksum"),
        *[
            pytest.param(marked(number), "UnsupportedCodecError", id=f"codec {number}")
            for number in (5, 6, 7)
        ],
        pytest.param(damaged(CODECS["gzip"]), "DecompressionError", id="half a gzip"),
        pytest.param(damaged(CODECS["snappy"]), "MalformedSnappyError", id="half a snappy"),
        pytest.param(damaged(CODECS["lz4"]), "DecompressionError", id="half an lz4"),
        pytest.param(damaged(CODECS["zstd"]), "DecompressionError", id="half a zstd"),
        pytest.param(too_long, "CorruptRecordException", id="a record too long"),
        pytest.param(of_no_length, "CorruptRecordException", id="a batch of no length"),
    ],
)
@pytest.mark.reliability("B19")
async def test_a_batch_that_cannot_be_decoded_stops_its_partition_and_no_other(
    change: Change, cause: str
) -> None:
    async with mocked(2, records=20, batches=4) as (_, frames):
        bad = frames.edit(Api.FETCH, replacing(TWO, 10, change))
        async with reading(quick(frames.bootstrap_servers)) as reader:
            await reader.until_read({ONE: 20, TWO: 10})
            await reader.until(lambda: len(reader.failed) >= 2)
            assert set(reader.causes(TWO)) == {cause}
            assert reader.offsets(ONE) == list(range(20))
            assert reader.offsets(TWO) == list(range(10))
            assert reader.errors == []
            bad.end()
            await reader.until_read({TWO: 20})
            assert reader.offsets(TWO) == list(range(20))


@pytest.mark.parametrize(
    ("change", "cause", "end"),
    [
        pytest.param(flipped, "CorruptRecordException", 15, id="a bad checksum"),
        pytest.param(marked(5), "UnsupportedCodecError", 15, id="codec 5"),
        pytest.param(of_no_length, "CorruptRecordException", 20, id="a batch of no length"),
    ],
)
@pytest.mark.reliability("F59")
async def test_readers_of_ranges_go_on_behind_a_batch_that_cannot_be_decoded(
    change: Change, cause: str, end: int
) -> None:
    async with mocked(2, records=20, batches=4) as (_, frames):
        frames.edit(Api.FETCH, replacing(TWO, 10, change))
        found: dict[TopicPartition, list[int]] = {ONE: [], TWO: []}
        async with open_range_reader(quick(frames.bootstrap_servers)) as reader:
            ranges = [OffsetRange(ONE, 0, 20), OffsetRange(TWO, 0, 20)]
            async for partition, records in reader.read(ranges):
                found[partition] += [record.offset for record in records]
            assert found == {ONE: list(range(20)), TWO: [*range(10), *range(end, 20)]}
            assert reader.unread == [UnreadRange(TWO, 10, end, cause)]


def bomb(unpacked: int) -> bytes:
    """A batch of a few kilobytes that unpacks to so much."""
    compressor = cramjam.zstd.Compressor()
    for _ in range(unpacked // MIB):
        compressor.compress(bytes(MIB))
    head = batch([(None, b"", ())], codec=CODECS["zstd"])[: batches.CONTENT_AT]
    return checked(head + bytes(compressor.finish()))


@pytest.mark.reliability("B20")
async def test_a_bomb_stops_its_partition_and_costs_neither_the_memory_nor_the_process() -> None:
    gibibyte = bomb(1024 * MIB)
    assert len(gibibyte) < MIB
    async with mocked(2) as (_, frames):
        await publish_events(frames.bootstrap_servers, {ONE: 10, TWO: 10})
        frames.edit(Api.FETCH, replacing(TWO, 0, lambda _: gibibyte))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        async with running(quick(frames.bootstrap_servers)) as member:
            await member.until(lambda: len(member.seen.unreadables) >= 2)
            await member.until(lambda: member.committed == {ONE: 10})
            assert member.store.events == event_keys({ONE: 10})
            line = member.said("partition_unreadable")[0]
            assert line["partition"] == "events-1"
            assert line["cause"] == "DecompressionLimitError"
            assert line["detail"] == "offsets 0 to 0 cannot be read"
            assert not member.is_ready()
            assert not member.health.unhealthy_reasons()
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown * 1024 < 256 * MIB


@pytest.mark.reliability("B20")
async def test_a_batch_of_very_many_records_is_handed_out_in_portions() -> None:
    count = 100_000
    many = batch([(None, b"", ())] * count, codec=CODECS["lz4"])
    async with mocked(1, records=1) as (_, frames):
        frames.edit(Api.FETCH, replacing(ONE, 0, lambda _: many))
        async with reading(quick(frames.bootstrap_servers)) as reader:
            await reader.until(lambda: bool(reader.starts))
            most = 0
            while len(reader.records[ONE]) < count:
                before = len(reader.records[ONE])
                await reader.poll(max_records=2000)
                most = max(most, len(reader.records[ONE]) - before)
            assert most == 2000
            assert reader.offsets(ONE)[:count] == list(range(count))


ODD_HEADERS: Sequence[Headers] = (
    tuple((f"h{number}", b"x") for number in range(10_000)),
    (("", None), ("", b""), ("twice", b"1"), ("twice", None)),
    (("ключ", b"\xff\x00"),),
)


@pytest.mark.parametrize("headers", ODD_HEADERS, ids=["10 000", "null and repeated", "no ASCII"])
@pytest.mark.reliability("B21")
async def test_odd_headers_are_read_as_they_are(headers: Headers) -> None:
    odd = batch([(b"key", b"value", headers)])
    async with mocked(1, records=1) as (_, frames):
        frames.edit(Api.FETCH, replacing(ONE, 0, lambda _: odd))
        async with reading(quick(frames.bootstrap_servers)) as reader:
            await reader.until_read({ONE: 1})
            assert reader.records[ONE][0].headers == headers


ODD_NAME = b"\xff\xfe\xfd\xfc".decode(errors="surrogateescape")


def with_an_odd_name(codec: int) -> bytes:
    """Five records, none of which can be decoded; the third has a header with an odd name."""
    named = batch([(b"key", b"value", (("name", b"x"),))] * 5)
    third = named.replace(b"name", b"NAME", 2).replace(b"name", b"\xff\xfe\xfd\xfc", 1)
    head, content = third[: batches.CONTENT_AT], third[batches.CONTENT_AT :]
    return marked(codec)(head + (bytes(cramjam.gzip.compress(content)) if codec else content))


@pytest.mark.parametrize("codec", [0, CODECS["gzip"]])
@pytest.mark.reliability("B21", "F59")
async def test_a_header_whose_name_is_not_utf_8_costs_nothing_and_its_letter_has_it(
    codec: int,
) -> None:
    letters = Letters()
    async with mocked(1, records=5) as (_, frames):
        frames.edit(Api.FETCH, replacing(ONE, 0, lambda _: with_an_odd_name(codec)))
        async with running(quick(frames.bootstrap_servers), letters=letters) as member:
            await member.until(lambda: member.committed == {ONE: 5})
            assert [letter.origin.offset for letter in letters.sent] == list(range(5))
            names = [letter.headers[0][0] for letter in letters.sent]
            assert names == ["NAME", "NAME", ODD_NAME, "name", "name"]
            assert member.seen.unreadables == []


def event(number: int, said: str, **fields: Any) -> bytes:
    says = builders.event(session_of(ONE), f"e-{number}", payload={"text": said}, **fields)
    return builders.encoded(says)


FAR_FUTURE = 253_402_300_800_000
"""The first millisecond of the year 10000."""


@pytest.mark.reliability("B22")
async def test_a_records_timestamp_decides_nothing_about_order() -> None:
    timestamps = [2_000_000_000_000, 1_000_000_000_000, FAR_FUTURE, -1]
    values = [event(0, "first"), event(0, "second"), event(1, "x"), event(2, "x")]
    said = batch([(b"key", value, ()) for value in values], timestamps=timestamps)
    letters = Letters()
    async with mocked(1, records=4) as (_, frames):
        frames.edit(Api.FETCH, replacing(ONE, 0, lambda _: said))
        async with running(quick(frames.bootstrap_servers), letters=letters) as member:
            await member.until(lambda: member.committed == {ONE: 4})
            events = member.store.collections.events
            assert {key[1] for key in events} == {"e-0", "e-1", "e-2"}
            assert events[(session_of(ONE), "e-0")]["payload"]["text"] == "first"
            assert [letter.origin.offset for letter in letters.sent] == [1]


GO_ZERO = -62_135_596_800_000
"""The zero time of Go."""


@pytest.mark.parametrize("timestamp", [-1, -2, GO_ZERO, -(2**63), FAR_FUTURE])
@pytest.mark.reliability("B22")
async def test_a_timestamp_that_is_none_does_not_stand_in_for_a_missing_one(
    timestamp: int,
) -> None:
    said = batch([(b"key", event(0, "x", timestamp=None), ())], timestamps=[timestamp])
    letters = Letters()
    async with mocked(1, records=1) as (_, frames):
        frames.edit(Api.FETCH, replacing(ONE, 0, lambda _: said))
        async with running(quick(frames.bootstrap_servers), letters=letters) as member:
            await member.until(lambda: member.committed == {ONE: 1})
            (letter,) = letters.sent
            assert dict(letter.headers)["dlq-reason"] == b"invalid"


def with_attributes(content: bytes, bits: int) -> bytes:
    at = batches.CONTENT_AT - struct.calcsize(">hiqqqhii")
    (attributes,) = struct.unpack_from(">h", content, at)
    return checked(content[:at] + struct.pack(">h", attributes | bits) + content[at + 2 :])


@pytest.mark.reliability("B22")
async def test_a_topic_that_stamps_records_itself_is_read_like_any_other() -> None:
    stamped = with_attributes(batch(GOOD, timestamps=[5, 4, 3, 2, 9]), LOG_APPEND_TIME)
    async with mocked(1, records=5) as (_, frames):
        frames.edit(Api.FETCH, replacing(ONE, 0, lambda _: stamped))
        async with reading(quick(frames.bootstrap_servers)) as reader:
            await reader.until_read({ONE: 5})
            assert [record.timestamp_ms for record in reader.records[ONE]] == [9] * 5
            assert reader.offsets(ONE) == list(range(5))


def legacy(magic: int, codec: int, count: int) -> bytes:
    """A log in one of the formats before headers; version 0 knows no timestamps either."""
    builder = LegacyRecordBatchBuilder(magic, codec, batch_size=MIB)
    for offset in range(count):
        builder.append(offset, 1000 + offset, b"key", b"%d" % offset)
    return bytes(builder.build())


@pytest.mark.parametrize("codec", [0, *(CODECS[name] for name in ("gzip", "snappy", "lz4"))])
@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.reliability("B23")
async def test_records_of_the_old_formats_are_read(magic: int, codec: int) -> None:
    if magic == 0 and codec == CODECS["lz4"]:
        codec = CODECS["gzip"]  # its framing was wrong in version 0, and nobody reads it
    old = legacy(magic, codec, 5)
    async with mocked(1, records=5) as (_, frames):
        frames.edit(Api.FETCH, logs(lambda _, log: old if log else log))
        async with reading(quick(frames.bootstrap_servers)) as reader:
            await reader.until_read({ONE: 5})
            read = reader.records[ONE]
            assert reader.offsets(ONE) == list(range(5))
            assert [record.value for record in read] == [b"%d" % number for number in range(5)]
            stamps = [-1] * 5 if magic == 0 else list(range(1000, 1005))
            assert [record.timestamp_ms for record in read] == stamps
            assert {record.headers for record in read} == {()}


@pytest.mark.reliability("B23")
async def test_offsets_may_jump_and_the_one_behind_the_last_record_is_committed() -> None:
    whole = batch([(b"key", event(number, "x"), ()) for number in range(8)])
    kept = [record for record in split_records(whole) if record[0] in {2, 3, 6}]
    holes = with_records(whole, [content for _, content in kept])
    async with mocked(1, records=8) as (_, frames):
        frames.edit(Api.FETCH, replacing(ONE, 0, lambda _: holes))
        async with running(quick(frames.bootstrap_servers)) as member:
            await member.until(lambda: member.committed == {ONE: 7})
            assert {key[1] for key in member.store.events} == {"e-2", "e-3", "e-6"}
            assert member.seen.gaps == []
            await member.until(lambda: member.seen.lags.get(ONE) == 0)


@pytest.mark.reliability("B23")
async def test_a_control_batch_is_no_record() -> None:
    commit = struct.pack(">hh", 0, 1)
    marker = with_attributes(batch([(commit, b"", ())]), CONTROL | TRANSACTIONAL)
    async with mocked(1, records=3, batches=3) as (_, frames):
        frames.edit(Api.FETCH, replacing(ONE, 1, lambda _: batches.at(marker, 1)))
        async with reading(quick(frames.bootstrap_servers)) as reader:
            await reader.until_read({ONE: 2})
            assert reader.offsets(ONE) == [0, 2]
            assert reader.gaps == []


def split_records(content: bytes) -> list[tuple[int, bytes]]:
    """The records of an uncompressed batch of small records, each with its place in it."""
    found: list[tuple[int, bytes]] = []
    position = batches.CONTENT_AT
    while position < len(content):
        length, size, shift = 0, 0, 0
        while True:
            byte = content[position + size]
            length |= (byte & 0x7F) << shift
            size, shift = size + 1, shift + 7
            if not byte & 0x80:
                break
        end = position + size + (length >> 1)
        found.append((len(found), content[position:end]))
        position = end
    return found


def with_records(content: bytes, records: Sequence[bytes]) -> bytes:
    """The batch with other records, as compaction leaves it: its last offset stays."""
    head = content[: batches.CONTENT_AT - 4] + struct.pack(">i", len(records))
    return checked(head + b"".join(records))
