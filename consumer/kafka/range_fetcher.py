"""What reading parts of topics needs of a client, and what a fetch of it has passed over."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from consumer.contract.record import Record, TopicPartition
from consumer.ports import OffsetGap


class RangeFetcher(Protocol):
    """The few methods of a client without a group that are used here."""

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """Read these partitions from these offsets on, and no others."""
        ...

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Fetch from ``offset`` next."""
        ...

    def pause(self, partition: TopicPartition) -> None:
        """Fetch no more of the partition."""
        ...

    def position(self, partition: TopicPartition) -> int | None:
        """The offset the client would fetch next, None where it has none."""
        ...

    def highwater(self, partition: TopicPartition) -> int | None:
        """The end of the partition as of the last fetch, None before it."""
        ...

    async def fetch(
        self, partitions: Collection[TopicPartition], max_records: int, timeout: float
    ) -> Mapping[TopicPartition, Sequence[Record]]:
        """Take what was fetched for ``partitions``. Raises ``TransientError``."""
        ...

    async def beginnings(
        self, partitions: Collection[TopicPartition]
    ) -> Mapping[TopicPartition, int]:
        """The offsets at which the logs begin now. Raises ``TransientError``."""
        ...


@dataclass(frozen=True, slots=True)
class Passed:
    """Where a fetch has left off, and what lies before that without having been handed out.

    ``reached``: the next offset of each partition that was asked for. Transaction markers and
    what was aborted have offsets, too, so that it may be further than any record.
    ``began_anew``: the partitions whose logs are not the ones any more that were read so far.
    """

    reached: Mapping[TopicPartition, int]
    deleted: Sequence[OffsetGap]
    began_anew: Collection[TopicPartition]


async def passed_over(
    client: RangeFetcher,
    expected: Mapping[TopicPartition, int],
    fetched: Mapping[TopicPartition, Sequence[Record]],
) -> Passed:
    """Tell a hole that retention made from one that transactions leave.

    The client goes on by itself at the beginning of a log that was deleted up to there: often
    in a fetch that brings no record yet, so that its position alone tells of it. ``expected``
    is where each partition was to be read from. Raises ``TransientError`` where the brokers
    cannot be asked.
    """
    # Taken before anything is awaited: the client moves its positions in the background.
    positions = {partition: client.position(partition) for partition in expected}
    begun: dict[TopicPartition, int] = {}
    reached: dict[TopicPartition, int] = {}
    for partition, due in expected.items():
        records, position = fetched.get(partition), positions[partition]
        at = due if position is None else position
        begun[partition] = records[0].offset if records else at
        reached[partition] = max(at, records[-1].offset + 1) if records else at
    jumped = [partition for partition, due in expected.items() if begun[partition] > due]
    beginnings = await client.beginnings(jumped) if jumped else {}
    gaps = [
        OffsetGap(partition, expected[partition], min(beginnings[partition], begun[partition]))
        for partition in jumped
    ]
    return Passed(
        reached,
        [gap for gap in gaps if gap.records > 0],
        [partition for partition, due in expected.items() if begun[partition] < due],
    )
