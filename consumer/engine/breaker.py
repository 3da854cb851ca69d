"""When so much would be dead-lettered that the fault is not in single records. Pure.

A producer that is set up wrongly, or a consumer that is, turns every record into
a dead letter. Emptying a topic into the dead-letter topic helps nobody, so the
partition is held until a person has looked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from consumer.contract.record import Partitions, TopicPartition


@dataclass(frozen=True, slots=True)
class BreakerLimits:
    """Hold above ``share`` of the last ``window`` records, from ``minimum`` records on.

    A share of 1 never holds.
    """

    share: float
    window: int
    minimum: int


@dataclass(slots=True)
class _Window:
    """The last records: True for each that was, or would be, dead-lettered."""

    flags: deque[bool]
    dead: int = 0
    bypassed: bool = False

    @property
    def full(self) -> bool:
        return len(self.flags) == self.flags.maxlen

    @property
    def share(self) -> float:
        return self.dead / len(self.flags)

    def push(self, *, flag: bool) -> None:
        if self.full:
            self.dead -= self.flags[0]
        self.flags.append(flag)
        self.dead += flag


@dataclass(slots=True)
class Breaker:
    """One window for each partition, fed with whole batches in offset order."""

    limits: BreakerLimits
    _windows: dict[TopicPartition, _Window] = field(default_factory=dict)

    def tripped_by(self, partition: TopicPartition, flags: Sequence[bool]) -> float | None:
        """Return the share that trips the breaker within the batch, else None and remember it.

        A batch that trips leaves no trace in the window: it is given back and judged again. Of
        a partition that was let pass each batch passes whole, or the one that was given back
        could trip it for ever; it is armed again behind a batch that leaves a full and healthy
        window.
        """
        window = self._windows.get(partition) or _Window(deque(maxlen=self.limits.window))
        if not window.dead and not any(flags):
            # The usual case, and the hot path: nothing bad in sight.
            window.flags.extend(flags)
            window.bypassed = window.bypassed and not window.full
            self._windows[partition] = window
            return None
        after = _Window(window.flags.copy(), window.dead, window.bypassed)
        for flag in flags:
            after.push(flag=flag)
            if after.bypassed or len(after.flags) < self.limits.minimum:
                continue
            if after.share > self.limits.share:
                return after.share
        if after.full and after.share <= self.limits.share:
            after.bypassed = False
        self._windows[partition] = after
        return None

    def resume(self, partitions: Partitions) -> None:
        """Let the partitions pass until a batch leaves their windows full and healthy."""
        for partition in partitions:
            window = self._windows.setdefault(partition, _Window(deque(maxlen=self.limits.window)))
            window.bypassed = True

    def forget(self) -> None:
        """Begin with empty windows: after a rebalance the records come again."""
        self._windows.clear()
