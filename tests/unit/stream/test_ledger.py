"""Which offsets may be committed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.contract.record import TopicPartition
from consumer.stream.ledger import Ledger, LedgerError, Span

P0 = TopicPartition("events", 0)
P1 = TopicPartition("events", 1)


def ledger_at(offset: int, committed: int | None = None) -> Ledger:
    ledger = Ledger()
    ledger.new_epoch()
    ledger.seed(P0, offset, committed)
    return ledger


def test_nothing_is_committable_before_it_is_settled() -> None:
    ledger = ledger_at(10, committed=10)
    ledger.take(P0, 10, 20)
    assert ledger.uncommitted() == {}


def test_a_settled_span_moves_the_committable_offset_to_its_end() -> None:
    ledger = ledger_at(10, committed=10)
    ledger.settle(ledger.take(P0, 10, 20))
    assert ledger.uncommitted() == {P0: 20}


def test_what_is_taken_behind_a_settled_span_is_not_committed_with_it() -> None:
    ledger = ledger_at(10, committed=10)
    ledger.settle(ledger.take(P0, 10, 20))
    ledger.take(P0, 20, 30)
    assert ledger.uncommitted() == {P0: 20}


def test_a_span_settled_early_waits_for_the_one_before_it() -> None:
    ledger = ledger_at(0)
    first, second = ledger.take(P0, 0, 5), ledger.take(P0, 5, 9)
    ledger.settle(second)
    assert ledger.committable(P0) == 0
    ledger.settle(first)
    assert ledger.committable(P0) == 9


def test_offsets_without_records_are_passed_over() -> None:
    ledger = ledger_at(0)
    ledger.settle(ledger.take(P0, 3, 5))
    assert ledger.committable(P0) == 5


def test_a_record_is_never_taken_twice() -> None:
    ledger = ledger_at(0)
    ledger.take(P0, 0, 5)
    with pytest.raises(LedgerError):
        ledger.take(P0, 4, 6)


def test_a_span_of_an_older_epoch_settles_nothing() -> None:
    ledger = ledger_at(0)
    span = ledger.take(P0, 0, 5)
    ledger.new_epoch()
    ledger.seed(P0, 0, None)
    assert ledger.settle(span) is False
    assert ledger.committable(P0) == 0


def test_a_commit_of_an_older_epoch_is_not_remembered() -> None:
    ledger = ledger_at(0)
    ledger.settle(ledger.take(P0, 0, 5))
    revision = ledger.revision
    ledger.new_epoch()
    ledger.seed(P0, 0, None)
    ledger.mark_committed([(P0, 5)], revision)
    assert ledger.committed(P0) is None


def test_a_commit_for_a_log_that_began_anew_meanwhile_is_not_remembered() -> None:
    ledger = ledger_at(0)
    ledger.settle(ledger.take(P0, 0, 5))
    revision = ledger.revision
    ledger.seed(P0, 0)
    ledger.mark_committed([(P0, 5)], revision)
    assert ledger.committed(P0) is None


def test_a_commit_past_what_is_settled_is_a_defect() -> None:
    ledger = ledger_at(0)
    ledger.take(P0, 0, 5)
    with pytest.raises(LedgerError):
        ledger.mark_committed([(P0, 5)], ledger.revision)


def test_what_is_given_back_is_taken_again_from_its_first_record() -> None:
    ledger = ledger_at(0)
    span = ledger.take(P0, 0, 5)
    assert ledger.give_back(span) is True
    assert ledger.taken(P0) == 0
    assert ledger.settle(span) is False
    assert ledger.uncommitted() == {}


def test_a_commit_never_rewinds_what_the_group_had_committed() -> None:
    ledger = ledger_at(0, committed=12)
    ledger.settle(ledger.take(P0, 0, 5))
    assert ledger.uncommitted() == {}
    ledger.settle(ledger.take(P0, 5, 20))
    assert ledger.uncommitted() == {P0: 20}


def test_a_partition_with_unsettled_records_cannot_be_skipped_forward() -> None:
    ledger = ledger_at(0)
    ledger.take(P0, 0, 5)
    with pytest.raises(LedgerError):
        ledger.skip_to(P0, 9)


@given(st.data())
def test_under_any_completion_order_the_committable_offset_never_passes_an_unsettled_record(
    data: st.DataObject,
) -> None:
    ledger = Ledger()
    ledger.new_epoch()
    spans: dict[TopicPartition, list[Span]] = {}
    for partition in (P0, P1):
        offset = data.draw(st.integers(0, 5))
        ledger.seed(partition, offset, None)
        spans[partition] = []
        for hole, size in data.draw(
            st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4)), max_size=6)
        ):
            spans[partition].append(ledger.take(partition, offset + hole, offset + hole + size))
            offset += hole + size
    order = data.draw(st.permutations([span for each in spans.values() for span in each]))
    unsettled = list(order)
    for span in order:
        ledger.settle(span)
        unsettled.remove(span)
        for partition in spans:
            waiting = [other.first for other in unsettled if other.partition == partition]
            assert not waiting or ledger.committable(partition) <= min(waiting)
    for partition, taken in spans.items():
        assert not taken or ledger.committable(partition) == taken[-1].end
