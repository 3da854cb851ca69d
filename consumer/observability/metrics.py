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
    """Everything that is counted, one method for each thing that happens."""

    def __init__(self) -> None:
        """Begin at zero."""
        # They would be a second series for each counter, which nobody asks for.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library gives no types here
        self._registry = CollectorRegistry()
        self._count_records()
        self._count_group()
        self._measure()
        for labelled, values in (
            (self._dead_letters, Reason),
            (self._commits, ("ok", "failed")),
            (self._rebalances, ("assigned", "revoked", "lost")),
            (self._stages, Stage),
        ):
            for value in values:
                labelled.labels(value)
        Info("consumer", "The running consumer.", registry=self._registry).info(
            {"version": __version__}
        )
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)

    def _counter(self, name: str, text: str, labels: Iterable[str] = ()) -> Counter:
        return Counter(f"consumer_{name}", text, labels, registry=self._registry)

    def _gauge(self, name: str, text: str, labels: Iterable[str] = ()) -> Gauge:
        return Gauge(f"consumer_{name}", text, labels, registry=self._registry)

    def _count_records(self) -> None:
        self._records = self._counter(
            "records", "Records settled, each in one outcome.", (*_BY_PARTITION, "outcome")
        )
        self._abandoned = self._counter(
            "records_abandoned",
            "Records dropped with an older assignment; their new owner reads them.",
            _BY_PARTITION,
        )
        self._late = self._counter(
            "late_events", "Events of sessions that had ended, stored all the same.", _BY_PARTITION
        )
        self._marks = {
            Mark.KEY_MISMATCH: self._counter(
                "key_mismatches", "Records whose key is not their sessionId.", _BY_PARTITION
            ),
            Mark.EXPIRED: self._counter(
                "records_expired",
                "Records skipped because they are older than mongo.retention_days allow.",
                _BY_PARTITION,
            ),
            Mark.DOUBTFUL_TIMESTAMP: self._counter(
                "doubtful_timestamps",
                "Records whose timestamp cannot be right, so that they never expire.",
                _BY_PARTITION,
            ),
        }
        self._dead_letters = self._counter(
            "dead_letters", "Records settled by a dead letter, by reason.", ("reason",)
        )
        self._activities_refused = self._counter(
            "activities_refused",
            "Sessions whose first event could not be marked in them, by cause.",
            ("cause",),
        )
        self._lost = self._counter(
            "records_lost",
            "Offsets that the broker deleted before this group had read them.",
            _BY_PARTITION,
        )

    def _count_group(self) -> None:
        self._retries = self._counter(
            "retries", "Attempts that failed in a way that passes.", ("stage", "cause")
        )
        self._commits = self._counter("commits", "Commits of offsets.", ("result",))
        self._rebalances = self._counter("rebalances", "Rebalances of the group.", ("event",))
        self._resets = self._counter(
            "log_resets", "Partitions whose log began anew.", _BY_PARTITION
        )

    def _measure(self) -> None:
        self._lag = self._gauge(
            "lag_records", "Records of a partition that are not settled yet.", _BY_PARTITION
        )
        self._expiry = self._gauge(
            "oldest_unread_expires_seconds",
            "Seconds until the broker may delete the oldest unread record.",
            _BY_PARTITION,
        )
        self._behind_transaction = self._gauge(
            "records_behind_open_transaction",
            "Offsets that cannot be read because a transaction before them is open.",
            _BY_PARTITION,
        )
        self._assigned = self._gauge("partitions_assigned", "Partitions this process reads.")
        self._held = self._gauge(
            "partitions_held", "Partitions held because too many of their records were rejected."
        )
        self._held_now: set[TopicPartition] = set()
        self._held_since = self._gauge(
            "partition_held_since_timestamp_seconds",
            "Unix time since which a partition is held; absent while it is not.",
            _BY_PARTITION,
        )
        self._unreadable = self._gauge("partitions_unreadable", "Partitions that cannot be read.")
        self._topics_missing = self._gauge(
            "topics_missing", "Subscribed topics that are not there or not read by the group."
        )
        self._in_flight = self._gauge("batches_in_flight", "Batches that are being written.")
        self._loop_lag = self._gauge(
            "event_loop_lag_seconds", "How late the event loop woke a task that was due."
        )
        self._ready = self._gauge("ready", "1 while the consumer is ready.")
        self._log_lines_dropped = self._gauge(
            "log_lines_dropped", "Log lines that could not be written."
        )
        self._stages = Histogram(
            "consumer_batch_seconds",
            "How long the steps of a batch took, retries included.",
            ("stage",),
            buckets=STAGE_BUCKETS,
            registry=self._registry,
        )

    # --- what happens ---------------------------------------------------------

    def settled(self, partition: TopicPartition, report: PartitionReport) -> None:
        """Count the records of one partition in one batch."""
        where = _labels(partition)
        for outcome, count in report.outcomes.items():
            self._records.labels(*where, outcome).inc(count)
        for reason, count in report.reasons.items():
            self._dead_letters.labels(reason).inc(count)
        if report.late:
            self._late.labels(*where).inc(report.late)
        for mark, count in report.marks.items():
            self._marks[mark].labels(*where).inc(count)

    def activity_refused(self, cause: str) -> None:
        """Count an activity write that the database refused for good."""
        self._activities_refused.labels(cause).inc()

    def took(self, stage: Stage, seconds: float) -> None:
        """Observe how long a step of a batch, or a commit, took."""
        self._stages.labels(stage).observe(seconds)

    def abandoned(self, partition: TopicPartition, records: int) -> None:
        """Count records that were dropped with an older assignment."""
        self._abandoned.labels(*_labels(partition)).inc(records)

    def retried(self, stage: Stage, cause: str) -> None:
        """Count an attempt that failed in a way that passes."""
        self._retries.labels(stage, cause).inc()

    def committed(self) -> None:
        """Count a commit that the brokers acknowledged."""
        self._commits.labels("ok").inc()

    def commit_failed(self) -> None:
        """Count a commit that was refused or not answered."""
        self._commits.labels("failed").inc()

    def assigned(self, partitions: Collection[TopicPartition]) -> None:
        """Take over a new assignment."""
        self._rebalances.labels("assigned").inc()
        self._forget_partitions()
        self._assigned.set(len(partitions))
        for partition in partitions:
            self._begin_at_zero(_labels(partition))

    def _begin_at_zero(self, where: tuple[str, str]) -> None:
        """Let the counters of a partition be there: what appears with 1 shows no increase."""
        for outcome in Outcome:
            self._records.labels(*where, outcome)
        for counter in (
            self._abandoned, self._late, self._lost, self._resets, *self._marks.values()
        ):  # fmt: skip
            counter.labels(*where)

    def revoked(self, *, lost: bool) -> None:
        """Let go of the whole assignment."""
        self._rebalances.labels("lost" if lost else "revoked").inc()
        self._forget_partitions()
        self._assigned.set(0)

    def _forget_partitions(self) -> None:
        """Drop what was measured of partitions: another member reports them from now on."""
        self._lag.clear()
        self._expiry.clear()
        self._behind_transaction.clear()
        self.resumed(frozenset(self._held_now))
        self._unreadable.set(0)

    def lost(self, partition: TopicPartition, records: int) -> None:
        """Count offsets that the broker deleted unread."""
        self._lost.labels(*_labels(partition)).inc(records)

    def reset(self, partition: TopicPartition) -> None:
        """Count a partition whose log began anew."""
        self._resets.labels(*_labels(partition)).inc()

    # --- how things are -------------------------------------------------------

    def lag(self, partition: TopicPartition, records: int) -> None:
        """Set how many records of the partition are not settled yet."""
        self._lag.labels(*_labels(partition)).set(records)

    def behind_transaction(self, partition: TopicPartition, records: int) -> None:
        """Set how many offsets an open transaction keeps from being read."""
        self._behind_transaction.labels(*_labels(partition)).set(records)

    def oldest_unread_expires(self, partition: TopicPartition, seconds: float | None) -> None:
        """Set in how many seconds the oldest unread record may be deleted; None: there is none."""
        if seconds is None:
            with suppress(KeyError):  # gone with the assignment before
                self._expiry.remove(*_labels(partition))
        else:
            self._expiry.labels(*_labels(partition)).set(seconds)

    def held(self, partition: TopicPartition, since: float) -> None:
        """Set since when, in Unix time, the dead-letter breaker holds the partition."""
        self._held_since.labels(*_labels(partition)).set(since)
        self._held_now.add(partition)
        self._held.set(len(self._held_now))

    def resumed(self, partitions: Collection[TopicPartition]) -> None:
        """Take back that these partitions are held."""
        for partition in self._held_now.intersection(partitions):
            self._held_since.remove(*_labels(partition))
        self._held_now.difference_update(partitions)
        self._held.set(len(self._held_now))

    def topics_missing(self, topics: int) -> None:
        """So many subscribed topics are not there, or not read by the group."""
        self._topics_missing.set(topics)

    def unreadable(self, partitions: int) -> None:
        """Set how many partitions cannot be read."""
        self._unreadable.set(partitions)

    def in_flight(self, batches: int) -> None:
        """Set how many batches are being written."""
        self._in_flight.set(batches)

    def loop_lag(self, seconds: float) -> None:
        """Set how late the event loop woke a task."""
        self._loop_lag.set(seconds)

    def watch(self, *, ready: Callable[[], bool], log_lines_dropped: Callable[[], int]) -> None:
        """Ask these whenever the metrics are read."""
        self._ready.set_function(ready)
        self._log_lines_dropped.set_function(log_lines_dropped)

    def exposition(self) -> bytes:
        """Everything in Prometheus' text format, see ``CONTENT_TYPE``. Safe from any thread."""
        return generate_latest(self._registry)

    def sample(self, name: str, **labels: str) -> float | None:
        """One sample's value by its full name, None where it is not there."""
        return self._registry.get_sample_value(name, labels)


def _labels(partition: TopicPartition) -> tuple[str, str]:
    return partition.topic, str(partition.partition)
