"""What aiokafka has fetched of one partition, handed out without its losses and its excesses.

Its own way, an undecodable batch takes with it every record that was read before, and a
fetch of a few megabytes may become as many records as memory holds.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

from aiokafka import AIOKafkaConsumer
from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import FetchResult, PartitionRecords
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

from consumer.contract.record import HEADER_NAME_ERRORS, NO_TIMESTAMP, Record, size_of
from consumer.errors import drop_tracebacks

_LENGTH = struct.Struct(">i")
_LENGTH_AT = struct.calcsize(">q")
"""Every format of batches says its length there, of what follows it."""


BEYOND_BOUND = 256 * 1024
"""Bytes that a fetch may bring although as much is kept as may be."""


class UnreadableBatchError(Exception):
    """A batch cannot be decoded. ``cause``: the class name of what is wrong."""

    def __init__(self, cause: str, first: int, end: int | None) -> None:
        """The batch has the offsets ``first`` to ``end`` (exclusive); None: not to be told."""
        super().__init__(f"the batch at offset {first} cannot be read ({cause})")
        self.cause = cause
        self.first = first
        self.end = end


class _Bytes(bytearray):
    """Bytes whose parts become text whatever they are."""

    def __getitem__(self, key: Any) -> Any:  # noqa: ANN401 -- an index or a slice
        part = super().__getitem__(key)
        return _Bytes(part) if isinstance(key, slice) else part

    def decode(self, *_: str) -> str:
        return super().decode("utf-8", HEADER_NAME_ERRORS)


class _AnyNamesBatch(_DefaultRecordBatchPy):  # type: ignore[misc]  # aiokafka ships no types
    """A batch of which the client decodes nothing but headers' names, and that always."""

    _buffer: bytearray

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer = _Bytes(self._buffer)


class RecordBatches:
    """The client's ``MemoryRecords``, which can give once more what was last taken from them."""

    def __init__(self, content: bytes) -> None:
        """Take the batches as they came."""
        self._content = content
        self._batches = MemoryRecords(content)
        self._first = self._end = 0
        self._again: Any = None
        self.last: Any = None

    def size_in_bytes(self) -> int:
        """Return how much there is."""
        return len(self._content)

    def has_next(self) -> bool:
        """Whether another batch is there whole."""
        return self._again is not None or self._batches.has_next()

    def next_batch(self) -> Any:  # noqa: ANN401 -- aiokafka ships no types
        """Return the next batch. Raises where it is none."""
        self.last, self._again = self._again, None
        if self.last is None:
            self.last = self._batches.next_batch()
            self._first = self._end
            (length,) = _LENGTH.unpack_from(self._content, self._first + _LENGTH_AT)
            self._end = self._first + _LENGTH_AT + _LENGTH.size + length
        return self.last

    def repeat(self) -> bool:
        """Give the last batch once more, with any names of headers; False where it had them."""
        if self.last is None or isinstance(self.last, _AnyNamesBatch):
            return False
        self._again = _AnyNamesBatch(self._content[self._first : self._end])
        return True


def as_our_record(key: bytes) -> bytes:
    """Mark a consumer by its ``key_deserializer``, that it makes our records and not the client's.

    Those would have to be made again, one by one. Other consumers of the process keep theirs.
    """
    return key


class NamedPartitionRecords(PartitionRecords):  # type: ignore[misc]  # aiokafka ships no types
    """Makes our own records, and says which batch cannot be read. Over ``RecordBatches``."""

    _records: RecordBatches
    _records_iterator: Any

    def __iter__(self) -> Iterator[Any]:
        """Yield the records. Raises ``UnreadableBatchError``.

        The client's own iterator, which is not closed by whoever takes no more for now.
        """
        while True:
            try:
                for record in self._records_iterator:  # noqa: UP028 -- that would close it, too
                    yield record
            except Exception as error:
                if isinstance(error, UnicodeDecodeError) and self._records.repeat():
                    # Nothing but the name of a header is decoded, and it is not worth a partition.
                    self._records_iterator = self._unpack_records()
                    continue
                # Any class may come out of it: a codec's, a CRC's, an assertion.
                first = self.next_fetch_offset
                end = getattr(self._records.last, "next_offset", 0)
                known = end if end > first else None
                raise UnreadableBatchError(type(error).__name__, first, known) from error
            return

    def __next__(self) -> Any:  # noqa: ANN401 -- aiokafka ships no types
        """Return the next record. Raises ``UnreadableBatchError``."""
        return next(iter(self))

    def _consumer_record(self, partition: Any, record: Any) -> Any:  # noqa: ANN401 -- as above
        if self._key_deserializer is not as_our_record:
            return super()._consumer_record(partition, record)
        timestamp = record.timestamp
        fields = (
            partition.topic,
            partition.partition,
            record.offset,
            NO_TIMESTAMP if timestamp is None else timestamp,
            record.key,
            record.value,
            tuple(record.headers),
        )
        return tuple.__new__(Record, fields)  # by name it takes twice as long


class BoundedFetchResult(FetchResult):  # type: ignore[misc]  # aiokafka ships no types
    """Hands out what is readable before what is not, and no more bytes than ``room``.

    It never raises: what the client had drained of other partitions would be lost.
    """

    max_bytes = 64 * 1024 * 1024
    room = max_bytes
    """Bytes that the fetch of this moment may still take, all partitions together."""
    failures: ClassVar = WeakKeyDictionary[Any, dict[Any, UnreadableBatchError]]()
    """By the client's assignment, then by partition: what could not be read."""

    @property
    def fetched_bytes(self) -> int:
        """What is kept in memory of this fetch."""
        if self._partition_records is None:
            return 0
        batches: RecordBatches = self._partition_records._records  # noqa: SLF001 -- nothing else has it
        return batches.size_in_bytes()

    def getall(self, max_records: int | None = None) -> list[Record]:
        """Return records in order, none where the first cannot be read: see ``failures``."""
        if not self.check_assignment(self._topic_partition) or not self.has_more():
            return []
        if BoundedFetchResult.room <= 0:
            return []
        room, taken = BoundedFetchResult.room, list[Record]()
        try:
            for record in self._partition_records:
                taken.append(record)
                room -= size_of(record.key, record.value, record.headers)
                if room <= 0 or len(taken) == max_records:
                    break
            else:
                self._end()
        except UnreadableBatchError as error:
            # What came before it is good. It is fetched again, and then it comes first.
            drop_tracebacks(error)  # they hold the fetch, and this call the error, in a circle
            if not taken:
                failures = BoundedFetchResult.failures.setdefault(self._assignment, {})
                failures[self._topic_partition] = error
            self._end()
        BoundedFetchResult.room = room
        if self.has_more():
            self._update_position()
        return taken

    def _end(self) -> None:
        self._update_position()
        self._partition_records: Any = None


def use_bounded_results(max_bytes: int) -> None:
    """Let every consumer of this process hand out its records so."""
    BoundedFetchResult.max_bytes = max_bytes
    fetcher.MemoryRecords = RecordBatches
    fetcher.PartitionRecords = NamedPartitionRecords
    fetcher.FetchResult = BoundedFetchResult


def bound_buffers(consumer: AIOKafkaConsumer, max_bytes: int) -> None:
    """Let a started consumer keep about ``max_bytes`` of all its partitions together.

    Its own way, that bounds one reply, and what is kept is as much of every partition as one
    reply may bring. A reply is in memory twice while it is taken apart, so that it may be half of
    what there is room for. Beyond the bound a fetch still brings ``BEYOND_BOUND``: partitions that
    nobody polls must not keep the others from being read, nor slow them down to a batch at a time.
    """
    fetcher = consumer._fetcher  # noqa: SLF001 -- nothing public tells what is kept
    actions = fetcher._get_actions_per_node  # noqa: SLF001 -- as above

    least = min(max_bytes, BEYOND_BOUND)

    def within_bounds(assignment: Any) -> Any:  # noqa: ANN401 -- aiokafka ships no types
        kept = sum(
            one.fetched_bytes
            for one in fetcher._records.values()  # noqa: SLF001 -- as above
            if isinstance(one, BoundedFetchResult)
        )
        # Each broker is asked for a part, since they are asked side by side.
        brokers = max(len(consumer._client.cluster.brokers()), 1)  # noqa: SLF001 -- as above
        fetcher._fetch_max_bytes = max((max_bytes - kept) // (2 * brokers), least)  # noqa: SLF001 -- as above
        return actions(assignment)

    fetcher._get_actions_per_node = within_bounds  # noqa: SLF001 -- as above


def failures_of(consumer: AIOKafkaConsumer) -> dict[Any, UnreadableBatchError]:
    """Return what could not be read since the consumer's assignment, for the caller to empty."""
    subscription = consumer._subscription.subscription  # noqa: SLF001 -- the public way raises
    assignment = subscription.assignment if subscription is not None else None
    return BoundedFetchResult.failures.get(assignment, {}) if assignment is not None else {}


def begin_fetch() -> None:
    """Give the next fetch its room. What one poll drains, it drains without a pause."""
    BoundedFetchResult.room = BoundedFetchResult.max_bytes
