"""What is counted and measured: each metric is named, explained and given its labels here."""

from __future__ import annotations

import platform
from collections.abc import Collection
from contextlib import suppress
from functools import partial
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder

from consumer import __version__
from consumer.contract.record import TopicPartition
from consumer.contract.rejection import Reason
from consumer.ports import BatchReport, PartitionReport, Stage
from consumer.state.outcomes import Mark, Outcome

# A batch of 2,000 records takes tens of milliseconds; one that retries takes as long as it takes.
STAGE_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
# From a record that is applied at once to a backlog of days.
LATENCY_BUCKETS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 1800, 7200, 86400)
BATCH_RECORDS_BUCKETS: Final = (1, 10, 50, 100, 500, 1000, 2000, 5000, 10000)
BATCH_BYTES_BUCKETS: Final = tuple(1024 * 4**power for power in range(9))  # 1 KiB to 64 MiB

NAMESPACE: Final = "consumer"
BY_PARTITION: Final = ("topic", "partition")


class Metrics:
    """Everything that is counted and measured: one metric each, and methods for what moves several.

    What can be known of labels is there from the start, those of a partition from its
    assignment on: a counter that appears with 1 shows no increase. A partition's labels are its
    topic and number: ``labels(*partition)``.
    """

    def __init__(self) -> None:
        """Begin at zero, beside the metrics of the process and of Python."""
        # They would be a second series for each counter, which nobody asks for.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library gives no types here
        self.registry = registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        self._counter = partial(Counter, namespace=NAMESPACE, registry=registry)
        self._gauge = partial(Gauge, namespace=NAMESPACE, registry=registry)
        self._histogram = partial(Histogram, namespace=NAMESPACE, registry=registry)
        self._count_records()
        self._count_events()
        self._measure_batches()
        self._measure_partitions()
        self._measure_process()
        for labelled, values in (
            (self.dead_letters, Reason),
            (self.commits, ("ok", "failed")),
            (self.rebalances, ("assigned", "revoked", "lost")),
            (self.stage_seconds, Stage),
            (self.failing, Stage),
        ):
            for value in values:
                labelled.labels(value)

    # --- what there is ----------------------------------------------------------

    def _count_records(self) -> None:
        counter, where = self._counter, BY_PARTITION
        self.taken = counter(
            "records_consumed",
            "Records taken into a batch. Without those in flight, each has been settled in one "
            "outcome or abandoned.",
            where,
        )
        self.records = counter(
            "records", "Records settled, each in one outcome.", (*where, "outcome")
        )
        self.abandoned = counter(
            "records_abandoned",
            "Records taken and not settled, since their assignment ended or their partition is "
            "held; they are consumed again, here or elsewhere.",
            where,
        )
        self.records_in_flight = self._gauge(
            "records_in_flight", "Records taken that are neither settled nor abandoned.", where
        )
        self.late = counter(
            "late_events", "Events of sessions that had ended, stored all the same.", where
        )
        self.marks = {
            Mark.KEY_MISMATCH: counter(
                "key_mismatches", "Records whose key is not their sessionId.", where
            ),
            Mark.EXPIRED: counter(
                "records_expired",
                "Records skipped because they are older than mongo.retention_days allow.",
                where,
            ),
            Mark.DOUBTFUL_TIMESTAMP: counter(
                "doubtful_timestamps",
                "Records whose timestamp cannot be right, so that they never expire.",
                where,
            ),
        }
        self.lost = counter(
            "records_lost",
            "Offsets that the broker deleted before this group had read them: at most so many "
            "records.",
            where,
        )
        self.resets = counter("log_resets", "Logs that began anew under this consumer.", where)

    def _count_events(self) -> None:
        counter = self._counter
        self.dead_letters = counter(
            "dead_letters", "Records settled by a dead letter, by reason.", ("reason",)
        )
        self.activities_refused = counter(
            "activities_refused",
            "Sessions whose first event could not be marked in them; the log names the causes.",
        )
        self.retries = counter(
            "retries",
            "Attempts that failed in a way that passes. Causes appear with their first failure: "
            "alert on consumer_stage_failing.",
            ("stage", "cause"),
        )
        self.failing = self._gauge(
            "stage_failing", "1 while a stage has failed and is being tried again.", ("stage",)
        )
        self.commits = counter("commits", "Commits of offsets.", ("result",))
        self.rebalances = counter("rebalances", "Rebalances of the group.", ("event",))

    def _measure_batches(self) -> None:
        self.stage_seconds = self._histogram(
            "stage_duration_seconds",
            "How long the stages of a batch took, retries included.",
            ("stage",),
            buckets=STAGE_BUCKETS,
        )
        self.latency = self._histogram(
            "latency_seconds",
            "From a record's timestamp until it was applied: of a partition's records in a batch "
            "the first and every hundredth.",
            buckets=LATENCY_BUCKETS,
        )
        self.batch_records = self._histogram(
            "batch_records", "Records in a batch.", buckets=BATCH_RECORDS_BUCKETS
        )
        self.batch_bytes = self._histogram(
            "batch_bytes", "Bytes of the values in a batch.", buckets=BATCH_BYTES_BUCKETS
        )
        self.in_flight = self._gauge("batches_in_flight", "Batches that are being written.")

    def _measure_partitions(self) -> None:
        gauge, where = self._gauge, BY_PARTITION
        self.lag = gauge("lag_records", "Records of a partition that are not settled yet.", where)
        self.lag_seconds = gauge(
            "lag_seconds",
            "For how long the oldest record that is not settled has been waiting; 0 without lag.",
            where,
        )
        self.margin = gauge(
            "retention_margin_seconds",
            "Until the broker may delete the oldest unread record; absent where none is unread.",
            where,
        )
        self.kept = gauge(
            "retention_seconds",
            "How long the topic keeps records; there whenever the margin is.",
            where,
        )
        self.behind_transaction = gauge(
            "records_behind_open_transaction",
            "Offsets that cannot be read because a transaction before them is open.",
            where,
        )
        self.partition_held = gauge(
            "partition_held",
            "1 while a partition is held because too many of its records were rejected.",
            where,
        )
        self.held_since = gauge(
            "partition_held_since_timestamp_seconds",
            "Unix time since which a partition is held; absent while it is not.",
            where,
        )
        self.partition_unreadable = gauge(
            "partition_unreadable", "1 while a partition cannot be read.", where
        )

    def _measure_process(self) -> None:
        gauge = self._gauge
        self.partitions_assigned = gauge("partitions_assigned", "Partitions this process reads.")
        self.topics_missing = gauge(
            "topics_missing", "Subscribed topics that are not there or not read by the group."
        )
        self.mongodb_up = gauge("mongodb_up", "1 while MongoDB answers and takes what is written.")
        self.kafka_up = gauge("kafka_up", "1 while the brokers say where the partitions end.")
        self.loop_lag = gauge(
            "event_loop_lag_seconds", "How late the event loop woke a task that was due."
        )
        self.ready = gauge("ready", "1 while the consumer is ready.")
        self.log_lines_dropped = self._counter(
            "log_lines_dropped", "Log lines that could not be written."
        )
        build = gauge("build_info", "1; what is running.", ("version", "python"))
        build.labels(__version__, platform.python_version()).set(1)

    # --- what moves several -------------------------------------------------------

    def consumed(self, partition: TopicPartition, records: int) -> None:
        """Count what was taken into a batch."""
        self.taken.labels(*partition).inc(records)
        self.records_in_flight.labels(*partition).inc(records)

    def not_settled(self, partition: TopicPartition, records: int) -> None:
        """Count what was taken and given up."""
        self.abandoned.labels(*partition).inc(records)
        self.records_in_flight.labels(*partition).dec(records)

    def settled(self, report: BatchReport) -> None:
        """Count and measure one batch."""
        for partition, part in report.partitions.items():
            self._settled(partition, part)
        for stage, seconds in report.seconds.items():
            self.stage_seconds.labels(stage).observe(seconds)
        if report.partitions:
            records = sum(part.outcomes.total() for part in report.partitions.values())
            self.batch_records.observe(records)
            self.batch_bytes.observe(report.value_bytes)

    def _settled(self, partition: TopicPartition, report: PartitionReport) -> None:
        for outcome, count in report.outcomes.items():
            self.records.labels(*partition, outcome).inc(count)
        self.records_in_flight.labels(*partition).dec(report.outcomes.total())
        for reason, count in report.reasons.items():
            self.dead_letters.labels(reason).inc(count)
        if report.late:
            self.late.labels(*partition).inc(report.late)
        for mark, count in report.marks.items():
            self.marks[mark].labels(*partition).inc(count)
        for seconds in report.latencies:
            self.latency.observe(seconds)

    def assigned(self, partitions: Collection[TopicPartition]) -> None:
        """Take over a new assignment."""
        self.rebalances.labels("assigned").inc()
        self._forget_partitions()
        self.partitions_assigned.set(len(partitions))
        for partition in partitions:
            self._begin_at_zero(partition)

    def _begin_at_zero(self, partition: TopicPartition) -> None:
        for outcome in Outcome:
            self.records.labels(*partition, outcome)
        for counter in (
            *(self.taken, self.abandoned, self.late, self.lost, self.resets),
            *self.marks.values(),
        ):
            counter.labels(*partition)
        for gauge in (self.records_in_flight, self.partition_held, self.partition_unreadable):
            gauge.labels(*partition)

    def revoked(self, *, lost: bool) -> None:
        """Let go of the whole assignment."""
        self.rebalances.labels("lost" if lost else "revoked").inc()
        self._forget_partitions()
        self.partitions_assigned.set(0)

    def _forget_partitions(self) -> None:
        """Drop what was measured of partitions: another member reports them from now on.

        What is in flight of them is taken off as it ends.
        """
        for gauge in (
            *(self.lag, self.lag_seconds, self.margin, self.kept, self.behind_transaction),
            *(self.partition_held, self.held_since, self.partition_unreadable),
        ):
            gauge.clear()

    def lags(self, partition: TopicPartition, records: int, seconds: float) -> None:
        """Set how many records are not settled, and how long the oldest has been waiting."""
        self.lag.labels(*partition).set(records)
        self.lag_seconds.labels(*partition).set(seconds)

    def retention_margin(
        self, partition: TopicPartition, seconds: float | None, kept: float
    ) -> None:
        """Set in how many seconds the oldest unread record may be deleted; None: there is none."""
        if seconds is None:
            _remove(self.margin, partition)
            _remove(self.kept, partition)
            return
        self.margin.labels(*partition).set(seconds)
        self.kept.labels(*partition).set(kept)

    def held(self, partition: TopicPartition, since: float) -> None:
        """Set since when, in Unix time, the dead-letter breaker holds the partition."""
        self.partition_held.labels(*partition).set(1)
        self.held_since.labels(*partition).set(since)

    def resumed(self, partitions: Collection[TopicPartition]) -> None:
        """Take back that these partitions are held."""
        for partition in partitions:
            self.partition_held.labels(*partition).set(0)
            _remove(self.held_since, partition)

    # --- what others read ---------------------------------------------------------

    def exposition(self, accept: str = "") -> tuple[str, bytes]:
        """Return the content type and everything there is. Safe from any thread.

        ``accept``: the header that says which formats the reader takes; OpenMetrics where it is
        among them, else Prometheus' own text.
        """
        encode, content_type = choose_encoder(accept)
        return content_type, encode(self.registry)

    def sample(self, name: str, **labels: str) -> float | None:
        """One sample's value by its full name, None where it is not there."""
        return self.registry.get_sample_value(name, labels)


def _remove(gauge: Gauge, partition: TopicPartition) -> None:
    with suppress(KeyError):  # gone with the assignment before
        gauge.remove(*partition)
