"""Which partitions are ours, and which of them may be polled now. Pure: the clock is handed in."""

from __future__ import annotations

from collections.abc import Collection, Container

from consumer.contract.record import TopicPartition


class Assignment:
    """The partitions of the present epoch with what keeps each from being polled.

    Busy partitions outlive an epoch: two batches of one partition side by side, be they of
    two epochs, would let the second by offset come first.
    """

    def __init__(self) -> None:
        """Begin with no partition."""
        self._partitions: tuple[TopicPartition, ...] = ()
        self._busy: set[TopicPartition] = set()
        self._held: set[TopicPartition] = set()
        self._aside: dict[TopicPartition, tuple[int, float]] = {}

    def begin(self, partitions: Collection[TopicPartition]) -> None:
        """These are ours from now on; only what is busy is remembered."""
        self._partitions = tuple(sorted(partitions))
        self._held.clear()
        self._aside.clear()

    def idle(self, now: float) -> list[TopicPartition]:
        """Return the partitions with nothing in flight, not held, and due to be read again."""
        return [
            partition
            for partition in self._partitions
            if partition not in self._busy
            and partition not in self._held
            and self._aside.get(partition, (0, now))[1] <= now
        ]

    def occupy(self, partitions: Collection[TopicPartition]) -> None:
        """A batch of these partitions is in flight."""
        self._busy.update(partitions)

    def release(self, partitions: Collection[TopicPartition]) -> None:
        """Their batch has ended, in whichever epoch."""
        self._busy.difference_update(partitions)

    def busy(self, partition: TopicPartition) -> bool:
        """Tell whether a batch of the partition is in flight."""
        return partition in self._busy

    def hold(self, partition: TopicPartition) -> None:
        """Poll the partition no more until ``resume``."""
        self._held.add(partition)

    def resume(self, but: Container[TopicPartition] = ()) -> frozenset[TopicPartition]:
        """Let every held partition go on, ``but`` these; return which those are."""
        released = frozenset(one for one in self._held if one not in but)
        self._held -= released
        return released

    def failures(self, partition: TopicPartition) -> int:
        """How often in a row the partition could not be read."""
        return self._aside.get(partition, (0, 0.0))[0]

    def set_aside(self, partition: TopicPartition, until: float) -> None:
        """The partition could not be read once more: leave it alone ``until`` then."""
        self._aside[partition] = (self.failures(partition) + 1, until)

    def readable(self, partition: TopicPartition) -> bool:
        """The partition was read; tell whether it could not be before."""
        return self._aside.pop(partition, None) is not None
