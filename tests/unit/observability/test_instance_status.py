"""What ``/status.json`` says of an instance."""

from __future__ import annotations

import json

import pytest
from pydantic import SecretStr

from consumer.commands.status import GroupStatus, PartitionStatus
from consumer.observability.instance_status import (
    SAMPLE_INTERVAL,
    SAMPLES,
    AssignedPartition,
    InstanceState,
    InstanceStatus,
    ReadingState,
    RecordCount,
    WaitingFor,
    as_document,
)
from consumer.settings.model import (
    KafkaSettings,
    LogSettings,
    MongoSettings,
    SecuritySettings,
    Settings,
)
from consumer.settings.values import LogLevel, SecurityProtocol
from consumer.state.outcomes import Outcome
from tests.fakes.instance import EVENTS, SESSIONS, Instance, instance_in_trouble


def test_before_it_is_assigned_nothing_is_known_and_nothing_is_said_to_be_well() -> None:
    instance = Instance()
    instance.now += 5
    status = instance.status()
    assert status.state is InstanceState.NOT_READY
    assert status.waiting_for == [
        WaitingFor(
            "starting", "not assigned to the group yet", "2026-03-04T09:48:30.000Z", 5.0,
            restart_helps=False,
        )
    ]  # fmt: skip
    assert (status.lag, status.rate, status.behind, status.seconds_left) == (None,) * 4
    assert (status.kafka_up, status.mongodb_up, status.partitions) == (False, False, [])


def test_an_instance_that_reads_has_sums_of_its_partitions() -> None:
    instance = Instance()
    instance.read_all()
    instance.settle(10)
    status = instance.status()
    assert status.state is InstanceState.READY
    assert status.title == "ready: conversation-consumer"
    assert (status.kafka_up, status.mongodb_up) == (True, True)
    assert status.lag == 4021 * 15
    assert status.behind == 3.5 * 5
    rates = [1210 + 211 * number for number in range(6)]
    assert status.rate == pytest.approx(sum(rates))
    assert status.seconds_left == pytest.approx(status.lag / sum(rates))
    assert [part.rate for part in status.partitions] == pytest.approx(rates)
    assert status.records == 10 * sum(rates)
    assert RecordCount(Outcome.APPLIED, 10 * (sum(rates) - 6 * 3)) in status.outcomes
    assert [count.name for count in status.outcomes] == list(Outcome)


def test_a_rate_is_of_the_last_samples_and_unknown_before_there_are_two() -> None:
    instance = Instance()
    instance.read_all()
    records = instance.metrics.records.labels(*EVENTS[0], Outcome.APPLIED)

    def rate_after(seconds: float, settled: int) -> float | None:
        instance.now += seconds
        records.inc(settled)
        instance.reader.sample()
        return instance.status().partitions[0].rate

    assert rate_after(0, 1000) is None
    assert rate_after(SAMPLE_INTERVAL / 2, 40) is None  # too early to be a sample
    assert rate_after(SAMPLE_INTERVAL / 2, 60) == 100 / SAMPLE_INTERVAL
    assert instance.status().rate == 100 / SAMPLE_INTERVAL
    for _ in range(SAMPLES):
        rate = rate_after(SAMPLE_INTERVAL, 0)
    assert rate == 0.0


@pytest.mark.reliability("F99")
def test_the_lag_of_all_is_not_known_while_that_of_one_is_not() -> None:
    instance = Instance()
    instance.read_all()
    instance.metrics.lag.remove(*EVENTS[0])
    status = instance.status()
    assert (status.partitions[0].lag, status.partitions[0].behind) == (None, None)
    assert (status.lag, status.seconds_left) == (None, None)


def test_trouble_is_named_by_partition_reason_and_what_is_waited_for() -> None:
    instance = instance_in_trouble()
    status = instance.status()
    assert status.state is InstanceState.NOT_READY
    assert {part.state for part in status.partitions} == {
        ReadingState.READING,  # without lag
        ReadingState.WAITING,
        ReadingState.HELD,
    }
    held = next(part for part in status.partitions if part.state is ReadingState.HELD)
    assert (held.topic, held.partition) == EVENTS[1]
    assert [(part.topic, part.partition) for part in status.partitions if part.lost] == [
        SESSIONS[2]
    ]
    assert {count.name: count.records for count in status.dead_letters_by_reason} == {
        "invalid": 412,
        "undecodable": 3,
    }
    assert status.dead_letters == 415
    assert [one.name for one in status.waiting_for] == ["held:conversation.events-1", "apply"]
    assert [one.seconds for one in status.waiting_for] == [197.0, 7.0]
    assert [one.event for one in status.incidents] == [
        "retrying", "partition_held", "record_rejected", "records_deleted_unread", "precondition",
    ]  # fmt: skip
    instance.metrics.partition_unreadable.labels(*EVENTS[0]).set(1)
    assert instance.status().partitions[0].state is ReadingState.UNREADABLE


@pytest.mark.reliability("F99")
def test_a_stuck_event_loop_is_told_with_the_age_of_the_numbers() -> None:
    instance = Instance()
    instance.read_all()
    assert instance.status().numbers_old is None
    instance.now += 75
    status = instance.status()
    assert status.state is InstanceState.RESTART_HELPS
    assert status.numbers_old == 75.0
    assert status.waiting_for[0].name == "event_loop"


def test_what_was_revoked_is_no_partition_any_more_and_stays_counted() -> None:
    instance = Instance()
    instance.read_all()
    instance.settle(10)
    records = instance.status().records
    instance.metrics.revoked(lost=False)
    status = instance.status()
    assert status.partitions == []
    assert status.records == records


@pytest.mark.reliability("F99")
def test_settings_are_those_in_force_and_no_secret_is_among_them() -> None:
    security = SecuritySettings(
        protocol=SecurityProtocol.SASL_SSL,
        username="somebody",
        password=SecretStr("hunter22"),
        cert_file="cert.pem",
        key_file="key.pem",
        key_password=SecretStr("p"),
    )
    settings = Settings(
        kafka=KafkaSettings(security=security, group_id="g"),
        mongo=MongoSettings(uri=SecretStr("mongodb://user:swordfish@db/?tls=true")),
    )
    shown = {one.name: one for one in Instance(settings).status().settings}
    assert (shown["kafka.group_id"].value, shown["kafka.group_id"].changed) == ("g", True)
    assert (shown["mongo.database"].value, shown["mongo.database"].changed) == (
        "conversations",
        False,
    )
    for name in ("mongo.uri", "kafka.security.password", "kafka.security.key_password"):
        assert (shown[name].value, shown[name].changed) == ("***", True)
    assert shown["kafka.security.ca_file"].value == ""
    document = json.dumps(as_document(Instance(settings).status()))
    assert "hunter22" not in document
    assert "swordfish" not in document


def test_where_the_log_has_no_warnings_none_are_said_to_be_looked_for() -> None:
    quiet = Settings(log=LogSettings(level=LogLevel.ERROR))
    assert Instance().status().incidents_from == "WARNING"
    assert Instance(quiet).status().incidents_from == "ERROR"


def test_text_from_outside_is_made_safe_to_print_in_the_document() -> None:
    instance = Instance()
    instance.log("error", "a\u202eb", detail="\x1b[31m\ud800\x00\nnext")
    document = as_document(instance.status())
    (incident,) = document["incidents"]
    assert incident["event"] == "a\\u202eb"
    assert incident["facts"] == [{"name": "detail", "value": "\\x1b[31m\\ud800\\x00"}]
    assert json.loads(json.dumps(document)) == document


def test_it_uses_the_words_of_the_status_command() -> None:
    words = set(PartitionStatus.__dataclass_fields__)
    own = set(AssignedPartition.__dataclass_fields__)
    assert own - words == {"state", "rate"}
    words = set(GroupStatus.__dataclass_fields__)
    assert {"group", "lag", "rate", "seconds_left", "partitions"} <= words & set(
        InstanceStatus.__dataclass_fields__
    )
