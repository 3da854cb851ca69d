"""Record batches as they lie in a log, and what can be wrong with them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from consumer.contract.record import Headers, TopicPartition

_FRONT = struct.Struct(">qi")
_CRC_AT = struct.calcsize(">qiib")
_ATTRIBUTES_AT = struct.calcsize(">qiibI")
CODEC_MASK = 0x07
CONTENT_AT = struct.calcsize(">qiibIhiqqqhii")
"""Where the records begin, compressed or not."""

ROOM = 2**30

Change = Callable[[bytes], bytes]
"""Returns the batch that stands in the place of another."""


def batch(
    records: Sequence[tuple[bytes | None, bytes | None, Headers]],
    *,
    base: int = 0,
    codec: int = 0,
    timestamps: Sequence[int] | None = None,
) -> bytes:
    """A batch of these keys, values and headers; ``codec`` by its number in Kafka's format."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=codec,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=ROOM,
    )
    for offset, (key, value, headers) in enumerate(records):
        stamp = timestamps[offset] if timestamps is not None else 1_772_618_400_000
        builder.append(offset, stamp, key, value, list(headers))
    return at(bytes(builder.build()), base)


def at(content: bytes, base: int) -> bytes:
    """The same batch at another place of the log; its checksum does not cover that."""
    return struct.pack(">q", base) + content[8:]


def checked(content: bytes) -> bytes:
    """The batch with its length and its checksum made right."""
    length = struct.pack(">i", len(content) - _FRONT.size)
    content = content[:8] + length + content[12:]
    checksum = struct.pack(">I", calc_crc32c(content[_ATTRIBUTES_AT:]))
    return content[:_CRC_AT] + checksum + content[_ATTRIBUTES_AT:]


def flipped(content: bytes) -> bytes:
    """The last byte another one: the checksum is wrong."""
    return content[:-1] + bytes([content[-1] ^ 0xFF])


def marked(codec: int) -> Change:
    """Return what claims that the records are compressed with ``codec``, and checks that well."""

    def change(content: bytes) -> bytes:
        (attributes,) = struct.unpack_from(">h", content, _ATTRIBUTES_AT)
        attributes = attributes & ~CODEC_MASK | codec
        head = content[:_ATTRIBUTES_AT] + struct.pack(">h", attributes)
        return checked(head + content[_ATTRIBUTES_AT + 2 :])

    return change


def cut_short(content: bytes) -> bytes:
    """Half of the compressed records, well checked."""
    return checked(content[: CONTENT_AT + (len(content) - CONTENT_AT) // 2])


def split(log: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the batches of a part of a log, each with its first offset."""
    position = 0
    while position + _FRONT.size <= len(log):
        base, length = _FRONT.unpack_from(log, position)
        end = position + _FRONT.size + length
        if end > len(log):
            return
        yield base, log[position:end]
        position = end


def replacing(partition: TopicPartition, base: int, change: Change) -> Callable[[Any], Any]:
    """Return the edit of fetch replies that changes one batch of one partition."""

    def changed(log: bytes) -> bytes:
        return b"".join(
            change(content) if found == base else content for found, content in split(log)
        )

    return logs(lambda read, log: changed(log) if read == partition else log)


def logs(change: Callable[[TopicPartition, bytes], bytes]) -> Callable[[Any], Any]:
    """Return the edit of fetch replies that changes what was read of each partition."""

    def edit(reply: Any) -> Any:
        reply.topics = [
            (
                topic,
                [
                    (number, *facts, change(TopicPartition(topic, number), log or b""))
                    for number, *facts, log in parts
                ],
            )
            for topic, parts in reply.topics
        ]
        return reply

    return edit


def refusing(code: int, *partitions: TopicPartition) -> Callable[[Any], Any]:
    """Return the edit of fetch replies that says an error of these partitions, or of all."""

    def edit(reply: Any) -> Any:
        reply.topics = [
            (
                topic,
                [
                    (number, code, *facts, b"")
                    if not partitions or TopicPartition(topic, number) in partitions
                    else (number, error, *facts, log)
                    for number, error, *facts, log in parts
                ],
            )
            for topic, parts in reply.topics
        ]
        return reply

    return edit


def ending_at(end: int) -> Callable[[Any], Any]:
    """Return the edit of replies about offsets that lets no log reach beyond ``end``."""

    def edit(reply: Any) -> Any:
        reply.topics = [
            (
                topic,
                [
                    (number, code, stamp, min(offset, end), *rest)
                    for number, code, stamp, offset, *rest in parts
                ],
            )
            for topic, parts in reply.topics
        ]
        return reply

    return edit


def held_back(records: int) -> Callable[[Any], Any]:
    """Return the edit of fetch replies that puts so many records of an open transaction behind."""

    def edit(reply: Any) -> Any:
        reply.topics = [
            (
                topic,
                [
                    (number, error, end + records, end, *facts)
                    for number, error, end, _, *facts in parts
                ],
            )
            for topic, parts in reply.topics
        ]
        return reply

    return edit
