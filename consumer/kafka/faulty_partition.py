"""Which partition cannot be read, found out by reading one at a time. Pure.

A client fails a fetch as a whole and does not say for which partition. After a failure each
is read alone once; the one that fails alone is to blame, and the others go on together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from consumer.contract.record import TopicPartition


class Isolation:
    """Remembers who is under suspicion, and who is known to fail."""

    def __init__(self) -> None:
        """Begin with no suspicion."""
        self._suspects: deque[TopicPartition] = deque()
        self._failing: set[TopicPartition] = set()

    def forget(self) -> None:
        """Begin anew: the assignment is another one."""
        self._suspects.clear()
        self._failing.clear()

    def choose(self, ready: Sequence[TopicPartition]) -> tuple[Sequence[TopicPartition], bool]:
        """Return what to fetch, and whether that is one partition on trial.

        One that is known to fail is never fetched together with others: it would throw away
        what the client has read of them.
        """
        if not ready:
            return ready, False
        while self._suspects and self._suspects[0] not in ready:
            self._suspects.popleft()
        if not self._suspects:
            self._suspects.extend(partition for partition in ready if partition in self._failing)
        return ([self._suspects[0]], True) if self._suspects else (ready, False)

    def failed(self, tried: Sequence[TopicPartition]) -> TopicPartition | None:
        """A fetch failed; return who is to blame, None while that is not known."""
        if len(tried) > 1:
            self._suspects = deque(tried)
            return None
        blamed = tried[0]
        self._acquit(blamed)
        self._failing.add(blamed)
        return blamed

    def succeeded(self, tried: Sequence[TopicPartition]) -> TopicPartition | None:
        """A fetch did not fail; return who is known thereby to be readable again."""
        if len(tried) != 1:
            return None
        self._acquit(tried[0])
        if tried[0] not in self._failing:
            return None
        self._failing.discard(tried[0])
        return tried[0]

    def _acquit(self, partition: TopicPartition) -> None:
        if self._suspects and self._suspects[0] == partition:
            self._suspects.popleft()
