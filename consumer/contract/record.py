"""What Kafka delivered, in our own words: no client type crosses this line."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int

    @property
    def name(self) -> str:
        """What logs, health and reports call it."""
        return f"{self.topic}-{self.partition}"


Partitions = Collection[TopicPartition]

Offsets = Mapping[TopicPartition, int]
"""One offset of each of some partitions."""


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """The offsets ``first`` to ``end`` (exclusive) of one partition; not each has a record."""

    partition: TopicPartition
    first: int
    end: int

    @property
    def offsets(self) -> int:
        """How many offsets it covers: at most so many records."""
        return max(self.end - self.first, 0)


class Position(NamedTuple):
    """Where a record lies in the log. Proves identity only together with equal content."""

    topic: str
    partition: int
    offset: int


Headers = tuple[tuple[str, bytes | None], ...]

HEADER_NAME_ERRORS = "surrogateescape"
"""How bytes of a header's name that are no UTF-8 stand in the text, and come out of it again."""

NO_TIMESTAMP = -1
"""What Kafka says where the producer or an old message format gave no timestamp."""


def last_header(headers: Headers, wanted: str) -> bytes | None:
    """Return the value of the last header of that name, None where it is null or absent."""
    return next((value for name, value in reversed(headers) if name == wanted), None)


HEADER_OVERHEAD = 128
"""Bytes that a header takes in memory besides its name and value."""


def size_of(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """Return about how many bytes a record takes in memory: what every bound on bytes counts.

    Headers weigh, too: a producer can put as much into them as into a value, or so many of them
    that they take far more in memory than they took on their way.
    """
    size = len(key or b"") + len(value or b"")
    for name, content in headers:
        size += len(name) + len(content or b"") + HEADER_OVERHEAD
    return size


class Record(NamedTuple):
    """One record as the broker delivered it: undecoded bytes.

    ``timestamp_ms`` is the record's timestamp in milliseconds since the epoch, or
    ``NO_TIMESTAMP``. Headers keep their order, repetitions and nulls, and their names every byte:
    see ``HEADER_NAME_ERRORS``.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()

    @property
    def topic_partition(self) -> TopicPartition:
        """The partition this record was read from."""
        return TopicPartition(self.topic, self.partition)

    @property
    def size(self) -> int:
        """About how many bytes it takes in memory, see ``size_of``."""
        return size_of(self.key, self.value, self.headers)

    @property
    def position(self) -> Position:
        """The record's place in the log."""
        return Position(self.topic, self.partition, self.offset)


def bytes_of(records: Iterable[Record]) -> int:
    """Return the sum of the records' sizes, without a call for each where none has headers."""
    return sum(
        size_of(key, value, headers) if headers else len(key or b"") + len(value or b"")
        for _, _, _, _, key, value, headers in records
    )


Records = Mapping[TopicPartition, Sequence[Record]]
"""The records of each of some partitions, in order."""
