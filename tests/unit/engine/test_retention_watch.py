"""Unread records that are about to be deleted are announced; those that are gone are reported."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pytest

from consumer.contract.record import TopicPartition
from consumer.engine.ledger import Ledger, PartitionState
from consumer.engine.retention_watch import Backlog, RetentionWatch
from consumer.errors import IncidentError, TransientError
from consumer.ports import OffsetGap, Stage, StartOffset
from tests.builders import EVENTS, STAMPED_MS, event, record
from tests.fakes.observer import RecordingObserver

P0 = TopicPartition(EVENTS, 0)
HOUR_MS = 3_600_000


class Log:
    """The part of a source that is asked; one partition."""

    def __init__(self) -> None:
        self.highwaters: dict[TopicPartition, int] = {}
        self.begins: dict[TopicPartition, int] = {}
        self.sought: list[tuple[TopicPartition, int]] = []
        self.away = False

    def highwater(self, partition: TopicPartition) -> int | None:
        return self.highwaters.get(partition)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.sought.append((partition, offset))

    async def beginning_offsets(
        self, partitions: Collection[TopicPartition]
    ) -> Mapping[TopicPartition, int]:
        if self.away:
            raise TransientError("away")
        return {partition: self.begins.get(partition, 0) for partition in partitions}


class Scene:
    """A watch over one partition that begins at offset 10."""

    def __init__(self, *, stop: bool = False) -> None:
        self.log, self.ledger, self.observer = Log(), Ledger(), RecordingObserver()
        self.now = STAMPED_MS / 1000
        self.ledger.assign([P0])
        self.ledger.begin(P0, StartOffset(10, 10))
        self.watch = RetentionWatch(
            self.log,  # type: ignore[arg-type] # only what is asked of a source here
            Backlog(self.ledger, self.observer, stop),
            self.observer,
            {EVENTS: HOUR_MS},
            lambda: self.now,
        )

    def taken(self) -> PartitionState:
        """Let one record be in flight."""
        span = self.ledger.take(P0, 10, 11)
        self.ledger[P0].oldest_unread_ms = record(event(), 10).timestamp_ms
        self.ledger.mark_busy([P0])
        return span


def test_a_record_that_is_not_settled_has_what_is_left_of_its_topics_retention() -> None:
    scene = Scene()
    scene.taken()
    scene.log.highwaters[P0] = 11
    scene.now += 600
    scene.watch.report_margins()
    assert scene.observer.margins == [(P0, 3000.0)]


@pytest.mark.reliability("F95")
def test_the_margin_is_taken_back_when_all_is_read() -> None:
    scene = Scene()
    span = scene.taken()
    scene.log.highwaters[P0] = 11
    scene.watch.report_margins()
    scene.ledger.settle(span)
    scene.watch.report_margins()
    scene.watch.report_margins()
    assert scene.observer.margins == [(P0, 3600.0), (P0, None)]


@pytest.mark.reliability("F95")
def test_what_is_not_being_fetched_has_a_margin_by_the_ends_that_brokers_tell() -> None:
    scene = Scene()
    scene.ledger.settle(scene.taken())
    scene.log.highwaters[P0] = 11
    scene.ledger[P0].stable_end = 12
    scene.watch.report_margins()
    assert scene.observer.margins == [(P0, 3600.0)]


def test_a_partition_without_lag_is_in_no_danger() -> None:
    scene = Scene()
    scene.ledger.settle(scene.taken())
    scene.log.highwaters[P0] = 11
    scene.watch.report_margins()
    assert scene.observer.margins == []


async def test_a_log_that_was_deleted_whole_is_a_gap_though_no_record_tells_of_it() -> None:
    scene = Scene()
    scene.log.begins[P0] = 25
    await scene.watch.notice_gaps()
    assert scene.observer.gaps == [OffsetGap(P0, 10, 25)]
    assert scene.ledger.uncommitted() == {P0: 25}
    assert scene.log.sought == [(P0, 25)]


async def test_a_gap_is_reported_once() -> None:
    scene = Scene()
    scene.log.begins[P0] = 25
    await scene.watch.notice_gaps()
    await scene.watch.notice_gaps()
    assert len(scene.observer.gaps) == 1


async def test_records_in_flight_are_not_lost_whatever_the_log_begins_with() -> None:
    scene = Scene()
    scene.taken()
    scene.log.begins[P0] = 15
    await scene.watch.notice_gaps()
    assert scene.observer.gaps == []


async def test_where_the_settings_say_so_a_gap_ends_the_run() -> None:
    scene = Scene(stop=True)
    scene.log.begins[P0] = 25
    with pytest.raises(IncidentError):
        await scene.watch.notice_gaps()


async def test_brokers_that_do_not_answer_are_asked_again_later() -> None:
    scene = Scene()
    scene.log.away = True
    await scene.watch.notice_gaps()
    assert [cause.cause for _, cause, _, _ in scene.observer.retries] == ["away"]


async def test_trouble_that_it_told_of_is_taken_back_also_where_nothing_is_idle_any_more() -> None:
    scene = Scene()
    scene.log.away = True
    await scene.watch.notice_gaps()
    scene.taken()
    await scene.watch.notice_gaps()
    assert scene.observer.recoveries == [(Stage.POLL, 1)]
