"""How many records a second are settled, partition by partition."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping

from consumer.contract.record import TopicPartition

SAMPLE_INTERVAL = 2.0
"""Seconds between two samples, and the shortest time over which a rate is measured."""

SAMPLES = 6
"""Samples that are kept: a rate is of the last ten seconds or so."""


class RecordRates:
    """Rates from samples of what was settled in all. Safe from any thread."""

    def __init__(
        self,
        settled: Callable[[], Mapping[TopicPartition, float]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``settled`` says how many records of each partition were; ``clock``: seconds."""
        self._settled, self._clock = settled, clock
        self._guard = threading.Lock()
        self._samples: deque[tuple[float, Mapping[TopicPartition, float]]] = deque(maxlen=SAMPLES)

    def sample(self) -> None:
        """Take a sample where one is due; to be called often."""
        with self._guard:
            now = self._clock()
            if not self._samples or now - self._samples[-1][0] >= SAMPLE_INTERVAL:
                self._samples.append((now, self._settled()))

    def rates(self) -> Mapping[TopicPartition, float] | None:
        """Return records per second of each partition; None where it is too early to say."""
        with self._guard:
            if len(self._samples) < 2:  # noqa: PLR2004 -- the two ends of a time
                return None
            (since, before), (until, after) = self._samples[0], self._samples[-1]
        return {
            partition: (count - before.get(partition, 0.0)) / (until - since)
            for partition, count in after.items()
        }
