"""What is counted, and under which names."""

from __future__ import annotations

from collections import Counter

import pytest

from consumer.contract.record import TopicPartition
from consumer.contract.rejection import Reason
from consumer.observability.metrics import Metrics
from consumer.ports import PartitionReport, Stage
from consumer.state.outcomes import Mark, Outcome

EVENTS = TopicPartition("conversation.events", 3)
WHERE = {"topic": "conversation.events", "partition": "3"}


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
    metrics.settled(EVENTS, report)
    metrics.settled(EVENTS, report)
    assert metrics.sample("consumer_records_total", **WHERE, outcome="applied") == 14
    assert metrics.sample("consumer_records_total", **WHERE, outcome="dead_lettered") == 4
    assert metrics.sample("consumer_dead_letters_total", reason="invalid") == 4
    assert metrics.sample("consumer_late_events_total", **WHERE) == 6
    assert metrics.sample("consumer_key_mismatches_total", **WHERE) == 8
    assert metrics.sample("consumer_records_expired_total", **WHERE) == 4
    assert metrics.sample("consumer_doubtful_timestamps_total", **WHERE) == 2


def test_rebalances_are_counted_by_their_kind() -> None:
    metrics = Metrics()
    metrics.revoked(lost=True)
    metrics.revoked(lost=False)
    assert metrics.sample("consumer_rebalances_total", event="lost") == 1
    assert metrics.sample("consumer_rebalances_total", event="revoked") == 1


def test_what_is_measured_of_partitions_is_forgotten_with_the_assignment() -> None:
    metrics = Metrics()
    metrics.assigned([EVENTS])
    metrics.lag.labels(*EVENTS).set(42)
    metrics.oldest_unread_expires(EVENTS, 3600.0)
    metrics.held(EVENTS, 1_700_000_000.0)
    metrics.unreadable.set(1)
    assert metrics.sample("consumer_lag_records", **WHERE) == 42
    assert metrics.sample("consumer_oldest_unread_expires_seconds", **WHERE) == 3600
    assert metrics.sample("consumer_partitions_assigned") == 1
    assert metrics.sample("consumer_partitions_held") == 1
    metrics.revoked(lost=False)
    assert metrics.sample("consumer_lag_records", **WHERE) is None
    assert metrics.sample("consumer_partition_held_since_timestamp_seconds", **WHERE) is None
    assert metrics.sample("consumer_oldest_unread_expires_seconds", **WHERE) is None
    assert metrics.sample("consumer_partitions_assigned") == 0
    assert metrics.sample("consumer_partitions_held") == 0
    assert metrics.sample("consumer_partitions_unreadable") == 0


def test_durations_are_observed_by_stage() -> None:
    metrics = Metrics()
    metrics.batch_seconds.labels(Stage.DECODE).observe(0.02)
    metrics.batch_seconds.labels(Stage.DECODE).observe(0.2)
    assert metrics.sample("consumer_batch_seconds_count", stage="decode") == 2
    assert metrics.sample("consumer_batch_seconds_bucket", stage="decode", le="0.025") == 1


def test_the_state_of_others_is_asked_for_when_the_metrics_are_read() -> None:
    metrics = Metrics()
    ready, dropped = False, 0
    metrics.watch(ready=lambda: ready, log_lines_dropped=lambda: dropped)
    assert metrics.sample("consumer_ready") == 0
    ready, dropped = True, 3
    assert metrics.sample("consumer_ready") == 1
    assert metrics.sample("consumer_log_lines_dropped") == 3


def test_two_registries_do_not_disturb_each_other() -> None:
    one, other = Metrics(), Metrics()
    one.in_flight.set(3)
    assert other.sample("consumer_batches_in_flight") == 0


def test_the_exposition_names_version_and_process() -> None:
    text = Metrics().exposition().decode()
    assert 'consumer_info{version="' in text
    assert "python_info{" in text
    assert "_created" not in text
    assert "# HELP consumer_lag_records Records of a partition that are not settled yet." in text


@pytest.mark.reliability("F95")
def test_counters_are_there_before_anything_is_counted() -> None:
    metrics = Metrics()
    for reason in Reason:
        assert metrics.sample("consumer_dead_letters_total", reason=reason) == 0
    for stage in Stage:
        assert metrics.sample("consumer_batch_seconds_count", stage=stage) == 0
    assert metrics.sample("consumer_commits_total", result="failed") == 0
    assert metrics.sample("consumer_rebalances_total", event="lost") == 0
    metrics.assigned([EVENTS])
    for outcome in Outcome:
        assert metrics.sample("consumer_records_total", **WHERE, outcome=outcome) == 0
    for name in (
        "records_lost",
        "records_abandoned",
        "late_events",
        "key_mismatches",
        "log_resets",
    ):
        assert metrics.sample(f"consumer_{name}_total", **WHERE) == 0


@pytest.mark.reliability("F95")
def test_a_margin_that_is_taken_back_is_gone() -> None:
    metrics = Metrics()
    metrics.oldest_unread_expires(EVENTS, 60.0)
    metrics.oldest_unread_expires(EVENTS, None)
    metrics.oldest_unread_expires(EVENTS, None)
    assert metrics.sample("consumer_oldest_unread_expires_seconds", **WHERE) is None
