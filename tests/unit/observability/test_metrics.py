"""What is counted, and under which names."""

from __future__ import annotations

import os
import re
from collections import Counter

import pytest

from consumer.contract.record import TopicPartition
from consumer.contract.rejection import Reason
from consumer.observability.log_writer import LogWriter
from consumer.observability.metrics import Metrics
from consumer.ports import BatchReport, PartitionReport, Stage
from consumer.state.outcomes import Mark, Outcome
from tests.unit.deploy import promql

EVENTS = TopicPartition("conversation.events", 3)
WHERE = {"topic": "conversation.events", "partition": "3"}


def batch(report: PartitionReport, value_bytes: int = 0) -> BatchReport:
    return BatchReport({EVENTS: report}, value_bytes=value_bytes)


def test_records_are_counted_by_partition_and_outcome() -> None:
    metrics = Metrics()
    report = PartitionReport(
        first=0,
        end=10,
        outcomes=Counter({Outcome.APPLIED: 7, Outcome.CONFLICT: 1, Outcome.DEAD_LETTERED: 2}),
        reasons=Counter({Reason.CONFLICT: 1, Reason.INVALID: 2}),
        late=3,
        marks=Counter({Mark.KEY_MISMATCH: 4, Mark.EXPIRED: 2, Mark.DOUBTFUL_TIMESTAMP: 1}),
    )
    metrics.settled(batch(report))
    metrics.settled(batch(report))
    assert metrics.sample("consumer_records_total", **WHERE, outcome="applied") == 14
    assert metrics.sample("consumer_records_total", **WHERE, outcome="dead_lettered") == 4
    assert metrics.sample("consumer_dead_letters_total", reason="invalid") == 4
    assert metrics.sample("consumer_late_events_total", **WHERE) == 6
    assert metrics.sample("consumer_key_mismatches_total", **WHERE) == 8
    assert metrics.sample("consumer_records_expired_total", **WHERE) == 4
    assert metrics.sample("consumer_doubtful_timestamps_total", **WHERE) == 2


def test_whatever_is_consumed_is_settled_or_abandoned_or_still_in_flight() -> None:
    metrics = Metrics()

    def counted(name: str) -> float:
        value = metrics.sample(f"consumer_{name}", **WHERE)
        assert value is not None
        return value

    def settled() -> float:
        return sum(
            metrics.sample("consumer_records_total", **WHERE, outcome=outcome) or 0
            for outcome in Outcome
        )

    def parts() -> tuple[float, float, float]:
        given_up, in_flight = counted("records_abandoned_total"), counted("records_in_flight")
        assert counted("records_consumed_total") == settled() + given_up + in_flight
        return settled(), given_up, in_flight

    metrics.assigned([EVENTS])
    assert parts() == (0, 0, 0)
    metrics.consumed(EVENTS, 10)
    assert parts() == (0, 0, 10)
    outcomes = Counter({Outcome.APPLIED: 8, Outcome.SKIPPED: 2})
    metrics.settled(batch(PartitionReport(0, 10, outcomes)))
    assert parts() == (10, 0, 0)
    metrics.consumed(EVENTS, 5)
    metrics.revoked(lost=True)
    assert parts() == (10, 0, 5)
    metrics.not_settled(EVENTS, 5)
    assert parts() == (10, 5, 0)


def test_rebalances_are_counted_by_their_kind() -> None:
    metrics = Metrics()
    metrics.revoked(lost=True)
    metrics.revoked(lost=False)
    assert metrics.sample("consumer_rebalances_total", event="lost") == 1
    assert metrics.sample("consumer_rebalances_total", event="revoked") == 1


def test_what_is_measured_of_partitions_is_forgotten_with_the_assignment() -> None:
    metrics = Metrics()
    metrics.assigned([EVENTS])
    metrics.lags(EVENTS, 42, 61.0)
    metrics.retention_margin(EVENTS, 3600.0, 7200.0)
    metrics.held(EVENTS, 1_700_000_000.0)
    metrics.partition_unreadable.labels(*EVENTS).set(1)
    measured = {
        "consumer_lag_records": 42,
        "consumer_lag_seconds": 61,
        "consumer_retention_margin_seconds": 3600,
        "consumer_retention_seconds": 7200,
        "consumer_partition_held": 1,
        "consumer_partition_held_since_timestamp_seconds": 1_700_000_000,
        "consumer_partition_unreadable": 1,
    }
    assert {name: metrics.sample(name, **WHERE) for name in measured} == measured
    assert metrics.sample("consumer_partitions_assigned") == 1
    metrics.revoked(lost=False)
    assert {metrics.sample(name, **WHERE) for name in measured} == {None}
    assert metrics.sample("consumer_partitions_assigned") == 0


def test_durations_are_observed_by_stage() -> None:
    metrics = Metrics()
    metrics.settled(BatchReport(seconds={Stage.DECODE: 0.02}))
    metrics.settled(BatchReport(seconds={Stage.DECODE: 0.2}))
    assert metrics.sample("consumer_stage_duration_seconds_count", stage="decode") == 2
    bucket = "consumer_stage_duration_seconds_bucket"
    assert metrics.sample(bucket, stage="decode", le="0.025") == 1
    assert metrics.sample("consumer_batch_records_count") == 0, "nothing was settled"


def test_latency_and_size_of_batches_are_observed() -> None:
    metrics = Metrics()
    report = PartitionReport(
        0, 200, Counter({Outcome.APPLIED: 199, Outcome.SKIPPED: 1}), latencies=[0.02, 7.0]
    )
    metrics.settled(batch(report, value_bytes=5000))
    assert metrics.sample("consumer_latency_seconds_count") == 2
    assert metrics.sample("consumer_latency_seconds_bucket", le="0.05") == 1
    assert metrics.sample("consumer_batch_records_sum") == 200
    assert metrics.sample("consumer_batch_records_bucket", le="100.0") == 0
    assert metrics.sample("consumer_batch_bytes_bucket", le="4096.0") == 0
    assert metrics.sample("consumer_batch_bytes_bucket", le="16384.0") == 1


def test_log_lines_that_cannot_be_written_are_counted() -> None:
    metrics = Metrics()
    writer = LogWriter(os.open("/dev/full", os.O_WRONLY), metrics.log_lines_dropped.inc)
    assert metrics.sample("consumer_log_lines_dropped_total") == 0
    writer.write("a")
    writer.close(10)
    assert metrics.sample("consumer_log_lines_dropped_total") == 1


def test_two_registries_do_not_disturb_each_other() -> None:
    one, other = Metrics(), Metrics()
    one.in_flight.set(3)
    assert other.sample("consumer_batches_in_flight") == 0


def test_the_exposition_names_version_and_process() -> None:
    _, body = Metrics().exposition()
    text = body.decode()
    assert re.search(
        r'^consumer_build_info\{python="[^"]+",version="[^"]+"\} 1\.0$', text, re.MULTILINE
    )
    assert "python_info{" in text
    assert "_created" not in text
    assert "# HELP consumer_lag_records Records of a partition that are not settled yet." in text


def test_every_metric_is_described_as_it_is_exposed() -> None:
    metrics = Metrics()
    metrics.assigned([EVENTS])
    metrics.lags(EVENTS, 1, 1.0)
    metrics.retention_margin(EVENTS, 1.0, 1.0)
    metrics.held(EVENTS, 1.0)
    metrics.behind_transaction.labels(*EVENTS).set(0)
    metrics.retries.labels(Stage.POLL, "cause").inc()
    _, body = metrics.exposition()
    exposed: dict[str, set[str]] = {}
    for name, labels in re.findall(r"^(consumer_\w+)(?:\{(.*?)\})? ", body.decode(), re.MULTILINE):
        names = set(re.findall(r'(\w+)="', labels)) - {"le"}
        assert exposed.setdefault(name, names) == names
    assert exposed == {
        name: set(described.labels) for described in promql.metrics() for name in described.series
    }


def test_the_names_keep_to_prometheus_rules() -> None:
    for described in promql.metrics():
        assert re.fullmatch(r"consumer_[a-z]+(_[a-z]+)*", described.name), described
        assert described.name.endswith("_total") == (described.kind == "counter")
        assert described.meaning.endswith("."), described


@pytest.mark.reliability("F95")
def test_counters_are_there_before_anything_is_counted() -> None:
    metrics = Metrics()
    for reason in Reason:
        assert metrics.sample("consumer_dead_letters_total", reason=reason) == 0
    for stage in Stage:
        assert metrics.sample("consumer_stage_duration_seconds_count", stage=stage) == 0
        assert metrics.sample("consumer_stage_failing", stage=stage) == 0
    assert metrics.sample("consumer_commits_total", result="failed") == 0
    assert metrics.sample("consumer_rebalances_total", event="lost") == 0
    assert metrics.sample("consumer_activities_refused_total") == 0
    metrics.assigned([EVENTS])
    for outcome in Outcome:
        assert metrics.sample("consumer_records_total", **WHERE, outcome=outcome) == 0
    by_partition = [
        described.name
        for described in promql.metrics()
        if described.labels == ("topic", "partition") and described.kind == "counter"
    ]
    assert "consumer_records_lost_total" in by_partition
    for name in [*by_partition, "consumer_partition_held", "consumer_partition_unreadable"]:
        assert metrics.sample(name, **WHERE) == 0, name


@pytest.mark.reliability("F95")
def test_a_margin_that_is_taken_back_is_gone() -> None:
    metrics = Metrics()
    metrics.retention_margin(EVENTS, 60.0, 3600.0)
    metrics.retention_margin(EVENTS, None, 0.0)
    metrics.retention_margin(EVENTS, None, 0.0)
    assert metrics.sample("consumer_retention_margin_seconds", **WHERE) is None
    assert metrics.sample("consumer_retention_seconds", **WHERE) is None
