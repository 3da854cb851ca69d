"""Up to where a group has consumed each partition."""

from __future__ import annotations

from consumer.commands.common.selected_ranges import CommittedOffsets
from consumer.contract.record import OffsetRange, TopicPartition
from tests.builders import EVENTS, event, record

CONSUMED = CommittedOffsets({TopicPartition(EVENTS, 0): 5})


def test_the_committed_offset_is_the_first_that_is_not_read() -> None:
    assert CONSUMED.covers(record(event(), 4))
    assert not CONSUMED.covers(record(event(), 5))
    assert CONSUMED.end(OffsetRange(TopicPartition(EVENTS, 0), 0, 9)) == 5
    assert CONSUMED.end(OffsetRange(TopicPartition(EVENTS, 0), 0, 3)) == 3
    assert CONSUMED.end(OffsetRange(TopicPartition(EVENTS, 0), 7, 9)) == 7


def test_nothing_is_read_of_a_partition_without_a_committed_offset() -> None:
    assert not CONSUMED.covers(record(event(), 0, partition=1))
    assert CONSUMED.end(OffsetRange(TopicPartition(EVENTS, 1), 0, 9)) == 0


def test_a_group_that_has_committed_nothing_leaves_nothing_out() -> None:
    assert CommittedOffsets({}).covers(record(event(), 7))
    assert CommittedOffsets({}).end(OffsetRange(TopicPartition(EVENTS, 0), 0, 9)) == 9
