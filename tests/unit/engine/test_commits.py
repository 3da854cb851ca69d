"""Moving the group's offsets."""

from __future__ import annotations

import asyncio

import pytest

from consumer.contract.record import TopicPartition
from consumer.engine.commits import Committer
from consumer.engine.ledger import Ledger
from consumer.errors import TransientError
from consumer.ports import GoneError, Stage, StartOffset
from tests.fakes.observer import RecordingObserver
from tests.simulation.loop import in_virtual_time
from tests.unit.engine.scripted import P0, P1, ScriptedSource

REFUSED = TransientError("CommitFailedError")


class Offsets:
    """A committer over a scripted source, with a ledger that has read two partitions."""

    def __init__(self) -> None:
        self.source, self.observer = ScriptedSource(), RecordingObserver()
        self.ledger = Ledger()
        self.ledger.assign([P0, P1])
        self.committer = Committer(
            source=self.source, ledger=self.ledger, observer=self.observer, interval=1.0
        )

    def settled(self, partition: TopicPartition, end: int) -> None:
        """Let everything up to ``end`` be settled."""
        if self.ledger.position(partition) is None:
            self.ledger.begin(partition, StartOffset(0, 0))
        first = self.ledger.position(partition) or 0
        self.ledger.settle(self.ledger.take(partition, first, end))


@in_virtual_time
async def test_what_is_settled_is_committed_once() -> None:
    offsets = Offsets()
    offsets.settled(P0, 5)
    assert await offsets.committer.commit()
    assert await offsets.committer.commit()
    assert offsets.source.commits == [{P0: 5}]
    assert offsets.observer.commits == [{P0: 5}]


@in_virtual_time
async def test_a_refused_commit_is_counted_and_tried_again() -> None:
    offsets = Offsets()
    offsets.source.commit_errors.extend([REFUSED, REFUSED])
    offsets.settled(P0, 5)
    assert [await offsets.committer.commit() for _ in range(3)] == [False, False, True]
    assert [(stage, attempt) for stage, _, attempt, _ in offsets.observer.retries] == [
        (Stage.COMMIT, 1),
        (Stage.COMMIT, 2),
    ]
    assert offsets.observer.recoveries == [(Stage.COMMIT, 2)]


@in_virtual_time
async def test_a_refusal_is_over_when_nothing_is_left_to_commit() -> None:
    offsets = Offsets()
    offsets.source.commit_errors.append(REFUSED)
    offsets.settled(P0, 5)
    await offsets.committer.commit()
    offsets.ledger.assign([P0])
    assert await offsets.committer.commit()
    assert offsets.observer.recoveries == [(Stage.COMMIT, 1)]


@in_virtual_time
async def test_one_commit_is_under_way_at_a_time() -> None:
    offsets = Offsets()
    offsets.source.commit_gate.clear()
    offsets.settled(P0, 5)
    first = asyncio.ensure_future(offsets.committer.commit())
    await asyncio.sleep(0.1)
    offsets.settled(P0, 9)
    second = asyncio.ensure_future(offsets.committer.commit())
    await asyncio.sleep(0.1)
    offsets.source.commit_gate.set()
    assert await first
    assert await second
    assert offsets.source.commits == [{P0: 5}, {P0: 9}]


@in_virtual_time
async def test_a_commit_of_an_assignment_that_ended_meanwhile_is_not_remembered() -> None:
    offsets = Offsets()
    offsets.source.commit_gate.clear()
    offsets.settled(P0, 5)
    committing = asyncio.ensure_future(offsets.committer.commit())
    await asyncio.sleep(0.1)
    offsets.ledger.assign([P0])
    offsets.ledger.begin(P0, StartOffset(3, 3))
    offsets.source.commit_gate.set()
    await committing
    assert offsets.ledger[P0].committed == 3


@in_virtual_time
async def test_commits_go_on_about_every_interval() -> None:
    offsets = Offsets()
    running = asyncio.ensure_future(offsets.committer.run())
    await asyncio.sleep(0.5)
    for end in (1, 2, 3):
        offsets.settled(P0, end)
        await asyncio.sleep(1.0)
    running.cancel()
    assert offsets.source.commits == [{P0: 1}, {P0: 2}, {P0: 3}]


@in_virtual_time
async def test_the_end_is_reached_when_the_group_has_committed_it_whoever_did() -> None:
    offsets = Offsets()
    offsets.settled(P0, 4)
    waiting = asyncio.ensure_future(offsets.committer.wait_until_caught_up({P0: 4, P1: 2}))
    await asyncio.sleep(1.0)
    offsets.source.group_offsets = {P0: 4, P1: None}
    await asyncio.sleep(1.0)
    assert not waiting.done()
    offsets.source.group_offsets[P1] = 2
    await asyncio.sleep(1.0)
    assert waiting.done()


@in_virtual_time
@pytest.mark.reliability("F83")
async def test_commits_that_are_refused_stay_so_though_it_is_told_what_is_committed() -> None:
    offsets = Offsets()
    offsets.source.commit_errors.extend([REFUSED] * 3)
    offsets.settled(P0, 5)
    looking = asyncio.ensure_future(offsets.committer.wait_until_caught_up({P0: 9}))
    for _ in range(3):
        await offsets.committer.commit()
        await asyncio.sleep(1.0)
    looking.cancel()
    assert [attempt for _, _, attempt, _ in offsets.observer.retries] == [1, 2, 3]
    assert offsets.observer.recoveries == []


@in_virtual_time
async def test_the_end_of_a_topic_that_was_made_again_shorter_is_reached() -> None:
    offsets = Offsets()
    offsets.source.group_offsets, offsets.source.log_ends = {P0: 3, P1: 2}, {P0: 4}
    waiting = asyncio.ensure_future(offsets.committer.wait_until_caught_up({P0: 9, P1: 2}))
    await asyncio.sleep(1.0)
    assert not waiting.done(), "the new log is not read to its end"
    offsets.source.group_offsets[P0] = 4
    await asyncio.sleep(1.0)
    assert waiting.done()


@in_virtual_time
@pytest.mark.reliability("F52")
async def test_an_offset_behind_the_end_of_a_truncated_log_is_no_end_that_is_reached() -> None:
    offsets = Offsets()
    offsets.source.group_offsets, offsets.source.log_ends = {P0: 9, P1: 3}, {P0: 4, P1: 3}
    waiting = asyncio.ensure_future(offsets.committer.wait_until_caught_up({P0: 4, P1: 2}))
    await asyncio.sleep(1.0)
    assert not waiting.done(), "the log is read again from its beginning"
    offsets.source.group_offsets[P0] = 4
    await asyncio.sleep(1.0)
    assert waiting.done()


@in_virtual_time
@pytest.mark.reliability("F61")
async def test_a_topic_that_is_gone_keeps_no_other_from_being_committed() -> None:
    offsets = Offsets()
    offsets.settled(P0, 4)
    offsets.settled(P1, 7)
    offsets.source.commit_errors.append(GoneError([P0]))
    assert await offsets.committer.commit()
    assert offsets.source.commits == [{P1: 7}]
    assert offsets.ledger.position(P0) is None
    assert offsets.observer.retries == []


@in_virtual_time
async def test_committed_offsets_that_cannot_be_had_are_asked_for_again() -> None:
    offsets = Offsets()
    offsets.source.committed_errors.extend([REFUSED, REFUSED])
    offsets.source.group_offsets = {P0: 4}
    await asyncio.wait_for(offsets.committer.wait_until_caught_up({P0: 4}), timeout=5.0)
    assert offsets.observer.recoveries == [(Stage.COMMIT, 2)]
