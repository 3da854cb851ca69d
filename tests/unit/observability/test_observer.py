"""What the engine's reports become: lines, metrics, health."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import pytest
import structlog
from structlog.testing import capture_logs
from structlog.typing import EventDict

from consumer.contract.record import OffsetRange, Record, TopicPartition
from consumer.contract.rejection import Reason, Rejected
from consumer.errors import TransientError
from consumer.observability.health import Health
from consumer.observability.metrics import Metrics
from consumer.observability.observer import EngineObserver
from consumer.ports import BatchReport, Hold, LogReset, Observer, PartitionReport, Stage
from consumer.settings.model import KafkaSettings
from consumer.state.outcomes import Outcome

SESSIONS = TopicPartition("conversation.sessions", 0)
EVENTS = TopicPartition("conversation.events", 3)
WHERE = {"topic": "conversation.events", "partition": "3"}
NOW = datetime(2026, 3, 4, 10, tzinfo=UTC)
SERVERS = ("kafka-1:9092", "kafka-2:9092")
HOLD = Hold(120, 0.875, {Reason.UNDECODABLE: 600, Reason.INVALID: 100}, NOW)
LOST = TransientError("NetworkTimeout", "after 10 s")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Watched:
    """An observer with everything it hangs on."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.health = Health()
        self.clock = Clock()
        self.observer = EngineObserver(
            self.metrics,
            self.health,
            KafkaSettings(bootstrap_servers=SERVERS),
            log=structlog.get_logger(),
            clock=self.clock,
        )

    @property
    def reasons(self) -> set[str]:
        return set(self.health.unready_reasons())


@pytest.fixture
def watched() -> Watched:
    watched = Watched()
    _: Observer = watched.observer  # what the engine asks for
    with capture_logs():
        watched.observer.assigned([SESSIONS, EVENTS], epoch=1)
    return watched


def one(entries: list[EventDict]) -> EventDict:
    (entry,) = entries
    return entry


def rejected(offset: int, reason: Reason = Reason.INVALID) -> tuple[Record, Rejected]:
    record = Record(EVENTS.topic, EVENTS.partition, offset, 0, b"key", b"what was said")
    return record, Rejected(reason, "timestamp: no RFC 3339 time")


def test_a_batch_is_one_line_with_counts_durations_and_offsets(watched: Watched) -> None:
    report = BatchReport(
        partitions={
            SESSIONS: PartitionReport(10, 12, Counter({Outcome.APPLIED: 2})),
            EVENTS: PartitionReport(
                40,
                44,
                Counter({Outcome.APPLIED: 1, Outcome.REDELIVERED: 2, Outcome.DEAD_LETTERED: 1}),
                Counter({Reason.INVALID: 1}),
                late=1,
            ),
        },
        seconds={Stage.DECODE: 0.01, Stage.APPLY: 0.04},
    )
    with capture_logs() as entries:
        watched.observer.settled(report)
    batch, sums = entries
    assert batch == {
        "event": "batch_settled",
        "log_level": "debug",
        "records": 6,
        "applied": 3,
        "redelivered": 2,
        "dead_lettered": 1,
        "late": 1,
        "seconds": {"decode": 0.01, "apply": 0.04},
        "offsets": {"conversation.sessions-0": [10, 12], "conversation.events-3": [40, 44]},
    }
    counts = {"records": 6, "applied": 3, "redelivered": 2, "dead_lettered": 1, "late": 1}
    assert sums == {"event": "settled", "log_level": "info", "batches": 1, **counts}
    assert watched.metrics.sample("consumer_records_total", **WHERE, outcome="redelivered") == 2
    assert watched.metrics.sample("consumer_stage_duration_seconds_count", stage="apply") == 1


@pytest.mark.reliability("F95")
def test_what_is_settled_is_a_line_a_second_at_most_with_the_sums(watched: Watched) -> None:
    report = BatchReport(
        {EVENTS: PartitionReport(40, 41, Counter({Outcome.APPLIED: 1}))}, seconds={}
    )
    with capture_logs() as entries:
        for _ in range(10):
            watched.observer.settled(report)
            watched.clock.now += 0.25
        watched.observer.loop_lag(0.0)
        watched.clock.now += 1.0
        watched.observer.loop_lag(0.0)
        watched.observer.settled(report)
        watched.observer.revoked(drained=True, lost=False)
    sums = [entry["records"] for entry in entries if entry["event"] == "settled"]
    assert sum(sums) == 11
    assert len(sums) <= 5
    assert {entry["log_level"] for entry in entries if entry["event"] == "batch_settled"} == {
        "debug"
    }


def test_a_batch_of_which_nothing_was_settled_is_no_line(watched: Watched) -> None:
    with capture_logs() as entries:
        watched.observer.settled(BatchReport(held={EVENTS: HOLD}))
    assert entries == []


def test_a_rejection_is_logged_without_a_word_of_the_record(watched: Watched) -> None:
    with capture_logs() as entries:
        watched.observer.rejected(*rejected(7))
    assert one(entries) == {
        "event": "record_rejected",
        "log_level": "warning",
        "partition": "conversation.events-3",
        "offset": 7,
        "reason": "invalid",
        "detail": "timestamp: no RFC 3339 time",
    }


def test_a_flood_of_rejections_is_a_line_a_second_for_each_reason(watched: Watched) -> None:
    with capture_logs() as entries:
        for offset in range(1000):
            watched.observer.rejected(*rejected(offset))
        watched.observer.rejected(*rejected(1000, Reason.UNDECODABLE))
        watched.clock.now = 1.0
        watched.observer.rejected(*rejected(1001))
    assert [entry["offset"] for entry in entries] == [0, 1000, 1001]
    assert entries[-1]["repeated"] == 999


def test_refused_activities_are_counted_and_a_line_for_each_cause_and_interval(
    watched: Watched,
) -> None:
    with capture_logs() as entries:
        for _ in range(3):
            watched.observer.activity_refused("DocumentValidationFailure")
        watched.observer.activity_refused("BSONObjectTooLarge")
        watched.clock.now = 10.0
        watched.observer.activity_refused("DocumentValidationFailure")
    assert [(entry["log_level"], entry["cause"]) for entry in entries] == [
        ("error", "DocumentValidationFailure"),
        ("error", "BSONObjectTooLarge"),
        ("error", "DocumentValidationFailure"),
    ]
    assert entries[-1]["repeated"] == 2
    assert watched.metrics.sample("consumer_activities_refused_total") == 5


def test_the_process_is_unready_from_the_first_failure_until_recovery(watched: Watched) -> None:
    assert watched.reasons == set()
    assert watched.metrics.sample("consumer_ready") == 1
    with capture_logs() as entries:
        watched.observer.retrying(Stage.APPLY, LOST, attempt=1, delay=0.1)
        assert watched.reasons == {"apply"}
        assert watched.metrics.sample("consumer_ready") == 0
        watched.observer.recovered(Stage.APPLY, attempts=1)
    assert watched.reasons == set()
    assert watched.metrics.sample("consumer_ready") == 1
    assert [entry["event"] for entry in entries] == ["retrying", "recovered"]
    sample = watched.metrics.sample("consumer_retries_total", stage="apply", cause="NetworkTimeout")
    assert sample == 1


def test_what_is_tried_again_is_told_with_the_server_that_is_away(watched: Watched) -> None:
    refused = TransientError("ServerSelectionTimeoutError", "db:27017: Connection refused")
    with capture_logs() as entries:
        watched.observer.retrying(Stage.APPLY, refused, attempt=3, delay=0.1)
        watched.observer.retrying(Stage.POLL, TransientError("not_connected"), 1, delay=0.1)
    assert watched.health.unready_reasons() == {
        "apply": "MongoDB: ServerSelectionTimeoutError: db:27017: Connection refused, attempt 3",
        "poll": "Kafka at kafka-1:9092, kafka-2:9092: not_connected, attempt 1",
    }
    assert entries[0]["detail"] == "db:27017: Connection refused"
    assert "detail" not in entries[1]


def test_while_no_leader_answers_the_brokers_that_were_to_be_asked_are_named(
    watched: Watched,
) -> None:
    with capture_logs() as entries:
        watched.observer.unreachable({SESSIONS: "NodeNotReadyError", EVENTS: "NodeNotReadyError"})
        assert watched.health.unready_reasons() == {
            "unreachable": "Kafka at kafka-1:9092, kafka-2:9092: 2 partitions: NodeNotReadyError"
        }
        watched.observer.unreachable({})
    assert watched.reasons == set()
    assert [entry["event"] for entry in entries] == ["leaders_unreachable", "leaders_reachable"]


@pytest.mark.reliability("F83")
def test_one_batch_that_recovers_does_not_hide_another_that_still_fails(
    watched: Watched,
) -> None:
    one, other = TopicPartition("t", 0), TopicPartition("t", 1)
    watched.observer.assigned([one, other], epoch=1)
    watched.observer.retrying(Stage.APPLY, LOST, 7, 30.0, [one])
    watched.observer.retrying(Stage.APPLY, LOST, 1, 0.1, [other])
    assert watched.health.unready_reasons()[Stage.APPLY].endswith("(and 1 more)")
    watched.observer.recovered(Stage.APPLY, 1, [other])
    assert watched.health.unready_reasons() == {Stage.APPLY: f"MongoDB: {LOST}, attempt 7"}
    watched.observer.recovered(Stage.APPLY, 7, [one])
    assert not watched.health.unready_reasons()


@pytest.mark.reliability("F83")
def test_an_assignment_forgets_what_failed_in_the_one_before(watched: Watched) -> None:
    partition = TopicPartition("t", 0)
    watched.observer.assigned([partition], epoch=1)
    watched.observer.retrying(Stage.APPLY, LOST, 7, 30.0, [partition])
    watched.observer.assigned([partition], epoch=2)
    watched.observer.retrying(Stage.APPLY, LOST, 1, 0.1, [TopicPartition("t", 1)])
    watched.observer.recovered(Stage.APPLY, 1, [TopicPartition("t", 1)])
    assert not watched.health.unready_reasons()


def test_a_commit_that_succeeds_takes_back_that_one_failed(watched: Watched) -> None:
    watched.observer.retrying(Stage.COMMIT, LOST, attempt=1, delay=1.0)
    assert watched.reasons == {"commit"}
    watched.observer.committed({EVENTS: 44}, seconds=0.01)
    assert watched.reasons == set()
    assert watched.metrics.sample("consumer_commits_total", result="failed") == 1
    assert watched.metrics.sample("consumer_commits_total", result="ok") == 1


def test_a_rebalance_makes_unready_until_the_next_assignment_and_forgets_all_trouble(
    watched: Watched,
) -> None:
    watched.observer.held(EVENTS, HOLD, 700)
    watched.observer.unreadable(SESSIONS, LOST, attempt=1)
    watched.observer.retrying(Stage.APPLY, LOST, attempt=1, delay=0.1)
    assert watched.reasons == {
        "held:conversation.events-3",
        "unreadable:conversation.sessions-0",
        "apply",
    }
    with capture_logs() as entries:
        watched.observer.revoked(drained=False, lost=True)
        assert watched.reasons == {"assignment", "apply"}
        watched.observer.assigned([EVENTS], epoch=2)
    assert watched.reasons == set()
    assert entries[1]["partitions"] == ["conversation.events-3"]
    assert watched.metrics.sample("consumer_partitions_assigned") == 1


@pytest.mark.reliability("F57")
def test_a_held_partition_says_since_when_where_and_why_until_it_is_resumed(
    watched: Watched,
) -> None:
    with capture_logs() as entries:
        watched.observer.held(EVENTS, HOLD, 700)
    assert one(entries) == {
        "event": "partition_held",
        "log_level": "error",
        "partition": "conversation.events-3",
        "offset": 120,
        "share": 0.875,
        "reasons": {"undecodable": 600, "invalid": 100},
    }
    assert watched.health.unready_reasons() == {
        "held:conversation.events-3": "since 2026-03-04T10:00:00.000Z at offset 120: 88% of its "
        "latest records would be dead-lettered (undecodable 600, invalid 100)"
    }
    since = "consumer_partition_held_since_timestamp_seconds"
    assert watched.metrics.sample("consumer_partition_held", **WHERE) == 1
    assert watched.metrics.sample("consumer_records_abandoned_total", **WHERE) == 700
    assert watched.metrics.sample(since, **WHERE) == NOW.timestamp()
    watched.observer.resumed([EVENTS])
    assert watched.reasons == set()
    assert watched.metrics.sample("consumer_partition_held", **WHERE) == 0
    assert watched.metrics.sample(since, **WHERE) is None


def test_an_unreadable_partition_is_shown_until_it_can_be_read(watched: Watched) -> None:
    watched.observer.unreadable(EVENTS, TransientError("CorruptRecord"), attempt=1)
    watched.observer.unreadable(EVENTS, TransientError("CorruptRecord"), attempt=2)
    assert watched.metrics.sample("consumer_partition_unreadable", **WHERE) == 1
    watched.observer.readable(EVENTS)
    assert watched.reasons == set()
    assert watched.metrics.sample("consumer_partition_unreadable", **WHERE) == 0


def test_deleted_records_and_a_log_that_began_anew_are_errors_in_the_log(watched: Watched) -> None:
    with capture_logs() as entries:
        watched.observer.gap(OffsetRange(EVENTS, first=10, end=25))
        watched.observer.reset(LogReset(EVENTS, expected=25, found=0))
    assert [(e["event"], e["log_level"]) for e in entries] == [
        ("records_deleted_unread", "error"),
        ("log_began_anew", "error"),
    ]
    assert watched.metrics.sample("consumer_records_lost_total", **WHERE) == 15
    assert watched.metrics.sample("consumer_log_resets_total", **WHERE) == 1


def test_a_stall_is_one_line_and_makes_unhealthy_until_work_moves(watched: Watched) -> None:
    with capture_logs() as entries:
        watched.observer.stalled(120.0)
        watched.observer.stalled(121.0)
        assert watched.health.unhealthy_reasons() == {"stalled": "lag and no progress for 121 s"}
        watched.observer.progressing()
    assert not watched.health.unhealthy_reasons()
    assert [entry["event"] for entry in entries] == ["stalled", "progressing"]


def test_a_stall_with_a_known_cause_is_told_and_is_no_reason_to_restart(watched: Watched) -> None:
    outage = TransientError("AutoReconnect")
    with capture_logs() as entries:
        watched.observer.retrying(Stage.APPLY, outage, 1, 1.0)
        watched.observer.stalled(120.0)
        watched.observer.stalled(121.0)
    assert [entry["event"] for entry in entries] == ["retrying", "stalled"]
    assert not watched.health.unhealthy_reasons()
    assert watched.reasons == {"apply"}
    with capture_logs():
        watched.observer.recovered(Stage.APPLY, 1)
        watched.observer.stalled(122.0)
        assert watched.health.unhealthy_reasons()
        watched.observer.retrying(Stage.APPLY, outage, 1, 1.0)
        watched.observer.stalled(123.0)
    assert not watched.health.unhealthy_reasons()


def test_an_abandoned_batch_counts_its_records(watched: Watched) -> None:
    with capture_logs() as entries:
        watched.observer.abandoned(EVENTS, 17)
    assert one(entries)["records"] == 17
    assert watched.metrics.sample("consumer_records_abandoned_total", **WHERE) == 17


def test_what_is_measured_goes_to_the_metrics(watched: Watched) -> None:
    watched.observer.lag(EVENTS, 5, 61.0)
    watched.observer.loop_lag(0.25)
    watched.observer.in_flight(2)
    assert watched.metrics.sample("consumer_lag_records", **WHERE) == 5
    assert watched.metrics.sample("consumer_lag_seconds", **WHERE) == 61
    assert watched.metrics.sample("consumer_event_loop_lag_seconds") == 0.25
    assert watched.metrics.sample("consumer_batches_in_flight") == 2


@pytest.mark.reliability("F95")
def test_mongodb_is_up_while_it_answers_and_takes_what_is_written(watched: Watched) -> None:
    def up() -> float | None:
        return watched.metrics.sample("consumer_mongodb_up")

    assert up() == 0, "nobody has asked yet"
    watched.observer.mongodb_answers(True)
    assert up() == 1
    watched.observer.retrying(Stage.APPLY, LOST, 1, 1.0, [EVENTS])
    assert up() == 0, "a ping is no write"
    assert watched.metrics.sample("consumer_stage_failing", stage="apply") == 1
    watched.observer.recovered(Stage.APPLY, 1, [EVENTS])
    assert up() == 1
    watched.observer.mongodb_answers(False)
    assert up() == 0
    applied = PartitionReport(0, 1, Counter({Outcome.APPLIED: 1}))
    watched.observer.settled(BatchReport({EVENTS: applied}))
    assert up() == 1, "a write was acknowledged"


def test_kafka_is_up_while_the_brokers_answer(watched: Watched) -> None:
    assert watched.metrics.sample("consumer_kafka_up") == 0
    watched.observer.kafka_answers(True)
    assert watched.metrics.sample("consumer_kafka_up") == 1
    watched.observer.kafka_answers(False)
    assert watched.metrics.sample("consumer_kafka_up") == 0


def test_a_stage_that_failed_for_an_assignment_before_fails_no_longer(watched: Watched) -> None:
    watched.observer.retrying(Stage.DEAD_LETTERS, LOST, 1, 1.0, [EVENTS])
    watched.observer.assigned([EVENTS], epoch=2)
    assert watched.metrics.sample("consumer_stage_failing", stage="dead_letters") == 0
