"""What a consumer says of itself is read from its status, by the names it really uses."""

from __future__ import annotations

import json
from asyncio.subprocess import Process
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from consumer.contract.record import TopicPartition
from consumer.demo.consumers import ConsumerEndedError, ConsumerProcess
from consumer.observability.health import Health
from consumer.observability.incidents import RecentIncidents
from consumer.observability.instance_status import StatusReader, as_document
from consumer.observability.metrics import Metrics
from consumer.ports import BatchReport, PartitionReport
from consumer.settings.model import Settings
from consumer.state.outcomes import Outcome

PARTITIONS = [TopicPartition("conversation.events", number) for number in range(3)]


@dataclass
class StandIn:
    """Stands for a process: it runs while it has no return code."""

    returncode: int | None = None


def document(metrics: Metrics) -> str:
    status = StatusReader(Settings(), Health(), metrics, RecentIncidents()).read()
    return json.dumps(as_document(status))


def consumer(process: StandIn | None = None) -> ConsumerProcess:
    return ConsumerProcess("consumer-1", 0, cast("Process", process or StandIn()), Path("log"))


def test_counts_are_added_up_over_the_partitions() -> None:
    metrics = Metrics()
    metrics.assigned(PARTITIONS)
    for number, partition in enumerate(PARTITIONS):
        metrics.lags(partition, 10 * number, 0.0)
        outcomes = Counter({Outcome.APPLIED: 1500 + number, Outcome.REDELIVERED: 2})
        part = PartitionReport(first=0, end=9, outcomes=outcomes)
        metrics.settled(BatchReport({partition: part}))
    watched = consumer()
    watched.read(document(metrics))
    assert (watched.partitions, watched.lag) == (3, 30)
    assert watched.outcomes == Counter({"applied": 4503, "redelivered": 6})


def test_reading_again_replaces_what_was_read() -> None:
    metrics, watched = Metrics(), consumer()
    metrics.assigned(PARTITIONS)
    watched.read(document(metrics))
    watched.read(document(metrics))
    assert watched.partitions == 3


async def test_a_consumer_that_does_not_answer_keeps_what_it_said() -> None:
    watched = consumer()
    watched.lag = 7
    await watched.look()
    assert watched.lag == 7


async def test_a_consumer_whose_process_is_gone_is_told(tmp_path: Path) -> None:
    watched = consumer(StandIn(returncode=3))
    watched.log = tmp_path / "log"
    watched.log.write_text("no room\n")
    with pytest.raises(ConsumerEndedError, match="consumer-1 ended by itself: no room"):
        await watched.look()
