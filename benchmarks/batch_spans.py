"""``python -m benchmarks.batch_spans``: what the span of a batch costs, off and on. Needs ``otel``.

CPU time of the observer's calls around a batch of 2,000 records, the least of several rounds: made
and linked, not exported.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from opentelemetry.sdk.trace import TracerProvider

from consumer.contract.record import Headers, Record, Records, TopicPartition
from consumer.observability.health import Health
from consumer.observability.metrics import Metrics
from consumer.observability.observer import EngineObserver
from consumer.observability.tracing import TracingObserver
from consumer.settings.model import KafkaSettings

PARTITIONS, RECORDS = 10, 200
ROUNDS = 7


def batch(headers: Callable[[int], Headers]) -> Records:
    """Return a batch whose records have the headers of their number in it."""
    return {
        TopicPartition("conversation.events", partition): [
            Record("conversation.events", partition, n, 0, b"k", b"v", headers(partition * 200 + n))
            for n in range(RECORDS)
        ]
        for partition in range(PARTITIONS)
    }


def traced(number: int) -> Headers:
    """Return the header of a span with that number."""
    return (("traceparent", f"00-{number + 1:032x}-{number + 1:016x}-01".encode()),)


def least(observer: EngineObserver, records: Records, batches: int) -> float:
    """Return the CPU microseconds of one batch."""
    seconds = float("inf")
    for _ in range(ROUNDS):
        begun = time.process_time()
        for _ in range(batches):
            observer.batch_started(records)
            observer.batch_ended(None)
        seconds = min(seconds, time.process_time() - begun)
    return seconds / batches * 1e6


def main() -> None:
    """Print a line for each kind of batch."""
    off = EngineObserver(Metrics(), Health(), KafkaSettings())
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("benchmark")
    on = TracingObserver(Metrics(), Health(), KafkaSettings(), tracer)
    for name, observer, headers, batches in (
        ("off", off, traced, 100_000),
        ("on, without headers", on, lambda _: (), 200),
        ("on, 50 distinct headers", on, lambda number: traced(number // 40), 200),
        ("on, 2000 distinct headers", on, traced, 100),
    ):
        cpu = least(observer, batch(headers), batches)
        print(f"{name:26} {cpu:10.3f} us a batch {cpu / PARTITIONS / RECORDS:8.5f} us a record")


if __name__ == "__main__":
    main()
