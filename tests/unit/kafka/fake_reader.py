"""A reader of ranges without a broker: a log for each partition, and what goes wrong."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence

from consumer.contract.record import Record, TopicPartition
from consumer.errors import TransientError, UndecodableError
from consumer.kafka.client import PartitionsError
from consumer.kafka.range_reader import RangeReader

P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)


class FakeReader(RangeReader):
    """A log for each partition; what a fetch brings, and what goes wrong, is scripted."""

    def __init__(self, log: Mapping[TopicPartition, Iterable[int]]) -> None:
        self.unread = []
        self.log = {
            partition: [Record(*partition, offset, 0, b"k", b"v") for offset in offsets]
            for partition, offsets in log.items()
        }
        self.ends = {
            p: max((r.offset + 1 for r in some), default=0) for p, some in self.log.items()
        }
        self.positions: dict[TopicPartition, int] = {}
        self.beginning = 0
        self.paused: list[TopicPartition] = []
        self.seeks: list[tuple[TopicPartition, int]] = []
        self.fetched = 0
        self.trouble: list[TransientError] = []
        self.trouble_with_beginnings: list[TransientError] = []
        self.moves_on_in_silence = False
        self.resetting: set[TopicPartition] = set()
        self.silent = False
        self.undecodable: dict[TopicPartition, range] = {}
        self.end_is_told = True
        self.refused: dict[TopicPartition, TransientError] = {}
        self.fetches = 0

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        self.positions = dict(positions)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.seeks.append((partition, offset))
        self.positions[partition] = offset

    def pause(self, partition: TopicPartition) -> None:
        self.paused.append(partition)

    def position(self, partition: TopicPartition) -> int | None:
        return None if partition in self.resetting else self.positions.get(partition)

    def highwater(self, partition: TopicPartition) -> int | None:
        return self.ends[partition]

    async def fetch(
        self, partitions: Collection[TopicPartition], max_records: int, timeout: float
    ) -> Mapping[TopicPartition, Sequence[Record]]:
        await asyncio.sleep(0)
        self.fetches += 1
        if self.silent:
            return {}
        self._fail(partitions)
        found: dict[TopicPartition, Sequence[Record]] = {}
        for partition in partitions:
            log, position = self.log[partition], self.positions[partition]
            if self.moves_on_in_silence and position < self.beginning:
                # Out of range: the client asks where the log begins, and the poll is over.
                if partition in self.resetting:
                    self.positions[partition] = self.beginning
                self.resetting ^= {partition}
                continue
            first = bisect_left(log, position, key=lambda record: record.offset)
            records = log[first : first + max_records]
            bad = self.undecodable.get(partition, range(0))
            if bad and position < bad.start:
                records = [record for record in records if record.offset < bad.start]
                if not records:
                    # Up to there is nothing but markers.
                    self.positions[partition] = bad.start
                    continue
            if records:
                self.positions[partition] = records[-1].offset + 1
                self.fetched += len(records)
                found[partition] = records
            else:
                self.positions[partition] = self.ends[partition]
        if self.trouble:
            # As the real one: what was taken before the error came is gone.
            raise self.trouble.pop(0)
        return found

    def _fail(self, partitions: Collection[TopicPartition]) -> None:
        failed: dict[TopicPartition, TransientError] = {}
        for partition in partitions:
            bad = self.undecodable.get(partition, range(0))
            if self.positions[partition] in bad:
                end = bad.stop if self.end_is_told else None
                failed[partition] = UndecodableError("CorruptRecord", bad.start, end)
            elif partition in self.refused:
                failed[partition] = self.refused[partition]
        if failed:
            raise PartitionsError(failed)

    async def beginning_offsets(
        self, partitions: Collection[TopicPartition]
    ) -> Mapping[TopicPartition, int]:
        if self.trouble_with_beginnings:
            raise self.trouble_with_beginnings.pop(0)
        return dict.fromkeys(partitions, self.beginning)
