"""Up to where the group has consumed: nothing has to account yet for what lies beyond."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from consumer.contract.record import Record, TopicPartition
from consumer.kafka.groups import describe_group
from consumer.kafka.topics import open_admin
from consumer.settings import KafkaSettings


@dataclass(frozen=True, slots=True)
class Consumed:
    """The offsets that the group has committed.

    A group that has none at all may have been replaced by a replay, or its offsets have
    expired: then every record is taken as read.
    """

    offsets: Mapping[TopicPartition, int]

    def end(self, partition: TopicPartition, end: int) -> int:
        """Return where the consumed part of a partition ends, at most ``end``."""
        return min(end, self.offsets.get(partition, 0)) if self.offsets else end

    def covers(self, record: Record) -> bool:
        """Tell whether the group has read a record."""
        partition = TopicPartition(record.topic, record.partition)
        return self.end(partition, record.offset + 1) > record.offset


async def consumed_by_group(kafka: KafkaSettings) -> Consumed:
    """Ask for the committed offsets of the group. Raises ``TransientError``."""
    async with open_admin(kafka) as admin:
        group = await describe_group(admin, kafka.group_id)
    return Consumed(group.offsets)
