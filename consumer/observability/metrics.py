"""Metrics, on a registry of their own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from contextlib import suppress

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.parser import text_string_to_metric_families

from consumer import __version__
from consumer.contract.record import TopicPartition
from consumer.contract.rejection import Reason
from consumer.ports import PartitionReport, Stage
from consumer.state.outcomes import Mark, Outcome

CONTENT_TYPE = CONTENT_TYPE_LATEST

# A batch of 2,000 records takes tens of milliseconds; one that retries takes as long as it takes.
STAGE_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

_BY_PARTITION = ("topic", "partition")


class Metrics:
    """Everything that is counted and measured: one metric each, and methods for what moves several.

    A partition's labels are its topic and number: ``labels(*partition)``.
    """

    def __init__(self) -> None:
        """Begin at zero."""
        # They would be a second series for each counter, which nobody asks for.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library gives no types here
        self._registry = CollectorRegistry()
        self._count_records()
        self._count_events()
        self._measure()
        for labelled, values in (
            (self.dead_letters, Reason),
            (self.commits, ("ok", "failed")),
            (self.rebalances, ("assigned", "revoked", "lost")),
            (self.batch_seconds, Stage),
        ):
            for value in values:
                labelled.labels(value)
        Info("consumer", "The running consumer.", registry=self._registry).info(
            {"version": __version__}
        )
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"consumer_{name}", text, labels, registry=self._registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"consumer_{name}", text, labels, registry=self._registry)

    def _count_records(self) -> None:
        counter, where = self._counter, _BY_PARTITION
        self.records = counter(
            "records", "Records settled, each in one outcome.", *where, "outcome"
        )
        self.abandoned = counter(
            "records_abandoned",
            "Records dropped with an older assignment; their new owner reads them.",
            *where,
        )
        self.late = counter(
            "late_events", "Events of sessions that had ended, stored all the same.", *where
        )
        self.marks = {
            Mark.KEY_MISMATCH: counter(
                "key_mismatches", "Records whose key is not their sessionId.", *where
            ),
            Mark.EXPIRED: counter(
                "records_expired",
                "Records skipped because they are older than mongo.retention_days allow.",
                *where,
            ),
            Mark.DOUBTFUL_TIMESTAMP: counter(
                "doubtful_timestamps",
                "Records whose timestamp cannot be right, so that they never expire.",
                *where,
            ),
        }
        self.lost = counter(
            "records_lost",
            "Offsets that the broker deleted before this group had read them.",
            *where,
        )
        self.resets = counter("log_resets", "Partitions whose log began anew.", *where)

    def _count_events(self) -> None:
        self.dead_letters = self._counter(
            "dead_letters", "Records settled by a dead letter, by reason.", "reason"
        )
        self.activities_refused = self._counter(
            "activities_refused",
            "Sessions whose first event could not be marked in them, by cause.",
            "cause",
        )
        self.retries = self._counter(
            "retries", "Attempts that failed in a way that passes.", "stage", "cause"
        )
        self.commits = self._counter("commits", "Commits of offsets.", "result")
        self.rebalances = self._counter("rebalances", "Rebalances of the group.", "event")
        self.batch_seconds = Histogram(
            "consumer_batch_seconds",
            "How long the steps of a batch took, retries included.",
            ("stage",),
            buckets=STAGE_BUCKETS,
            registry=self._registry,
        )

    def _measure(self) -> None:
        gauge, where = self._gauge, _BY_PARTITION
        self.lag = gauge("lag_records", "Records of a partition that are not settled yet.", *where)
        self.expiry = gauge(
            "oldest_unread_expires_seconds",
            "Seconds until the broker may delete the oldest unread record.",
            *where,
        )
        self.behind_transaction = gauge(
            "records_behind_open_transaction",
            "Offsets that cannot be read because a transaction before them is open.",
            *where,
        )
        self.partitions_assigned = gauge("partitions_assigned", "Partitions this process reads.")
        self.partitions_held = gauge(
            "partitions_held", "Partitions held because too many of their records were rejected."
        )
        self._held: set[TopicPartition] = set()
        self.held_since = gauge(
            "partition_held_since_timestamp_seconds",
            "Unix time since which a partition is held; absent while it is not.",
            *where,
        )
        self.unreadable = gauge("partitions_unreadable", "Partitions that cannot be read.")
        self.topics_missing = gauge(
            "topics_missing", "Subscribed topics that are not there or not read by the group."
        )
        self.in_flight = gauge("batches_in_flight", "Batches that are being written.")
        self.loop_lag = gauge(
            "event_loop_lag_seconds", "How late the event loop woke a task that was due."
        )
        self._ready = gauge("ready", "1 while the consumer is ready.")
        self._dropped = gauge("log_lines_dropped", "Log lines that could not be written.")

    def settled(self, partition: TopicPartition, report: PartitionReport) -> None:
        """Count the records of one partition in one batch."""
        for outcome, count in report.outcomes.items():
            self.records.labels(*partition, outcome).inc(count)
        for reason, count in report.reasons.items():
            self.dead_letters.labels(reason).inc(count)
        if report.late:
            self.late.labels(*partition).inc(report.late)
        for mark, count in report.marks.items():
            self.marks[mark].labels(*partition).inc(count)

    def assigned(self, partitions: Collection[TopicPartition]) -> None:
        """Take over a new assignment."""
        self.rebalances.labels("assigned").inc()
        self._forget_partitions()
        self.partitions_assigned.set(len(partitions))
        for partition in partitions:
            self._begin_at_zero(partition)

    def _begin_at_zero(self, partition: TopicPartition) -> None:
        """Let the counters of a partition be there: what appears with 1 shows no increase."""
        for outcome in Outcome:
            self.records.labels(*partition, outcome)
        for counter in (self.abandoned, self.late, self.lost, self.resets, *self.marks.values()):
            counter.labels(*partition)

    def revoked(self, *, lost: bool) -> None:
        """Let go of the whole assignment."""
        self.rebalances.labels("lost" if lost else "revoked").inc()
        self._forget_partitions()
        self.partitions_assigned.set(0)

    def _forget_partitions(self) -> None:
        """Drop what was measured of partitions: another member reports them from now on."""
        for gauge in (self.lag, self.expiry, self.behind_transaction):
            gauge.clear()
        self.resumed(frozenset(self._held))
        self.unreadable.set(0)

    def oldest_unread_expires(self, partition: TopicPartition, seconds: float | None) -> None:
        """Set in how many seconds the oldest unread record may be deleted; None: there is none."""
        if seconds is not None:
            self.expiry.labels(*partition).set(seconds)
            return
        with suppress(KeyError):  # gone with the assignment before
            self.expiry.remove(*partition)

    def held(self, partition: TopicPartition, since: float) -> None:
        """Set since when, in Unix time, the dead-letter breaker holds the partition."""
        self.held_since.labels(*partition).set(since)
        self._held.add(partition)
        self.partitions_held.set(len(self._held))

    def resumed(self, partitions: Collection[TopicPartition]) -> None:
        """Take back that these partitions are held."""
        for partition in self._held.intersection(partitions):
            self.held_since.remove(*partition)
        self._held.difference_update(partitions)
        self.partitions_held.set(len(self._held))

    def watch(self, *, ready: Callable[[], bool], log_lines_dropped: Callable[[], int]) -> None:
        """Ask these whenever the metrics are read."""
        self._ready.set_function(ready)
        self._dropped.set_function(log_lines_dropped)

    def exposition(self) -> bytes:
        """Everything in Prometheus' text format, see ``CONTENT_TYPE``. Safe from any thread."""
        return generate_latest(self._registry)

    def sample(self, name: str, **labels: str) -> float | None:
        """One sample's value by its full name, None where it is not there."""
        return self._registry.get_sample_value(name, labels)


def parse_exposition(text: str) -> Iterable[tuple[str, dict[str, str], float]]:
    """Read Prometheus' text format: each sample's name, labels and value."""
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value
