"""Unread records that are about to be deleted are announced."""

from __future__ import annotations

import pytest

from consumer.engine.ledger import Ledger, PartitionState
from consumer.engine.watchdog import Watchdog
from consumer.ports import StartOffset
from tests.builders import EVENTS, STAMPED_MS, event, record
from tests.fakes.observer import RecordingObserver
from tests.unit.engine.scripted import P0, ScriptedSource

HOUR_MS = 3_600_000


class Scene:
    """A watchdog over one partition that begins at offset 10."""

    def __init__(self) -> None:
        self.log, self.ledger, self.observer = ScriptedSource(), Ledger(), RecordingObserver()
        self.now = STAMPED_MS / 1000
        self.ledger.assign([P0])
        self.ledger.begin(P0, StartOffset(10, 10))
        self.watch = Watchdog(
            self.log, self.ledger, self.observer, 10.0, lambda: self.now, {EVENTS: HOUR_MS}
        )

    def taken(self) -> PartitionState:
        """Let one record be in flight."""
        state = self.ledger.take(P0, 10, 11)
        state.oldest_unread_ms = record(event(), 10).timestamp_ms
        return state


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
