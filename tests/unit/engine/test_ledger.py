"""Which offsets may be committed."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.contract.record import TopicPartition
from consumer.contract.rejection import Reason
from consumer.engine.ledger import Ledger, LedgerError
from consumer.ports import Hold, StartOffset

P0 = TopicPartition("events", 0)
P1 = TopicPartition("events", 1)
HOLD = Hold(5, 1.0, {Reason.INVALID: 3}, datetime(2026, 3, 4, 10, tzinfo=UTC))


def ledger_at(offset: int, committed: int | None = None) -> Ledger:
    ledger = Ledger()
    ledger.assign([P0, P1])
    ledger.begin(P0, StartOffset(offset, committed))
    return ledger


def test_nothing_is_committable_before_it_is_settled() -> None:
    ledger = ledger_at(10, committed=10)
    ledger.take(P0, 10, 20)
    assert ledger.uncommitted() == {}


def test_what_is_settled_moves_the_committable_offset_to_its_end() -> None:
    ledger = ledger_at(10, committed=10)
    ledger.settle(ledger.take(P0, 10, 20))
    assert ledger.uncommitted() == {P0: 20}


def test_what_is_taken_behind_what_is_settled_is_not_committed_with_it() -> None:
    ledger = ledger_at(10, committed=10)
    ledger.settle(ledger.take(P0, 10, 20))
    ledger.take(P0, 20, 30)
    assert ledger.uncommitted() == {P0: 20}


def test_a_partition_has_one_batch_in_flight_at_most() -> None:
    ledger = ledger_at(0)
    ledger.take(P0, 0, 5)
    with pytest.raises(LedgerError):
        ledger.take(P0, 5, 9)


def test_offsets_without_records_are_passed_over() -> None:
    ledger = ledger_at(0)
    ledger.settle(ledger.take(P0, 3, 5))
    assert ledger[P0].committable == 5


def test_a_record_is_never_taken_twice() -> None:
    ledger = ledger_at(0)
    ledger.settle(ledger.take(P0, 0, 5))
    with pytest.raises(LedgerError):
        ledger.take(P0, 4, 6)


def test_what_was_taken_in_an_older_epoch_settles_nothing() -> None:
    ledger = ledger_at(0)
    taken = ledger.take(P0, 0, 5)
    ledger.assign([P0, P1])
    ledger.begin(P0, StartOffset(0, None))
    assert ledger.settle(taken) is False
    assert ledger[P0].committable == 0


def test_a_commit_of_an_older_epoch_is_not_remembered() -> None:
    ledger = ledger_at(0)
    ledger.settle(ledger.take(P0, 0, 5))
    revision = ledger.revision
    ledger.assign([P0, P1])
    ledger.begin(P0, StartOffset(0, None))
    ledger.mark_committed([(P0, 5)], revision)
    assert ledger[P0].committed is None


def test_a_commit_for_a_log_that_began_anew_meanwhile_is_not_remembered() -> None:
    ledger = ledger_at(0)
    ledger.settle(ledger.take(P0, 0, 5))
    revision = ledger.revision
    ledger.begin(P0, StartOffset(0, None))
    ledger.mark_committed([(P0, 5)], revision)
    assert ledger[P0].committed is None


def test_a_commit_past_what_is_settled_is_a_defect() -> None:
    ledger = ledger_at(0)
    ledger.take(P0, 0, 5)
    with pytest.raises(LedgerError):
        ledger.mark_committed([(P0, 5)], ledger.revision)


def test_what_is_given_back_is_taken_again_from_its_first_record() -> None:
    ledger = ledger_at(0)
    taken = ledger.take(P0, 0, 5)
    assert ledger.give_back(taken, HOLD) is True
    assert ledger.position(P0) == 0
    assert ledger.settle(taken) is False
    assert ledger[P0].committable == 0


def test_a_commit_never_rewinds_what_the_group_had_committed() -> None:
    ledger = ledger_at(0, committed=12)
    ledger.settle(ledger.take(P0, 0, 5))
    assert ledger.uncommitted() == {}
    ledger.settle(ledger.take(P0, 5, 20))
    assert ledger.uncommitted() == {P0: 20}


def test_no_offset_is_passed_over_while_records_before_it_are_unsettled() -> None:
    ledger = ledger_at(0)
    ledger.take(P0, 0, 5)
    ledger.pass_to(P0, 9)
    assert ledger.position(P0) == 5


def held_at(offset: int, committed: int | None) -> Ledger:
    ledger = ledger_at(offset, committed)
    assert ledger.give_back(ledger.take(P0, offset, offset + 3), HOLD)
    return ledger


def committed_once(ledger: Ledger) -> None:
    """Let the brokers acknowledge what the ledger offers."""
    offsets = ledger.uncommitted()
    ledger.mark_committed(offsets.items(), ledger.revision, ledger.holds(offsets))


@pytest.mark.parametrize(("offset", "committed"), [(0, None), (5, 5)])
@pytest.mark.reliability("F57")
def test_a_hold_is_committed_once_beside_an_offset_that_stands_still(
    offset: int, committed: int | None
) -> None:
    ledger = held_at(offset, committed)
    assert ledger.uncommitted() == {P0: offset}
    assert ledger.holds([P0]) == {P0: HOLD}
    committed_once(ledger)
    assert ledger.uncommitted() == {}
    assert ledger.resume() == {P0}
    assert ledger.uncommitted() == {P0: offset}
    assert ledger.holds([P0]) == {}
    committed_once(ledger)
    assert ledger.uncommitted() == {}


@pytest.mark.reliability("F57")
def test_what_begins_or_ends_while_a_commit_is_under_way_is_told_by_the_next() -> None:
    ledger = ledger_at(5, 5)
    ledger.settle(ledger.take(P0, 5, 7))
    offsets, holds = ledger.uncommitted(), ledger.holds([P0])
    ledger.give_back(ledger.take(P0, 7, 9), HOLD)
    ledger.mark_committed(offsets.items(), ledger.revision, holds)
    assert ledger.uncommitted() == {P0: 7}
    offsets, holds = ledger.uncommitted(), ledger.holds([P0])
    ledger.resume()
    ledger.mark_committed(offsets.items(), ledger.revision, holds)
    assert (ledger.uncommitted(), ledger.holds([P0])) == ({P0: 7}, {})


@pytest.mark.parametrize("offset", [0, 5])
@pytest.mark.reliability("F57")
def test_a_hold_of_an_earlier_assignment_is_committed_over(offset: int) -> None:
    ledger = Ledger()
    ledger.assign([P0])
    ledger.begin(P0, StartOffset(offset, offset, held=True))
    assert (ledger.uncommitted(), ledger.holds([P0])) == ({P0: offset}, {})
    committed_once(ledger)
    assert ledger.uncommitted() == {}


@pytest.mark.reliability("F57")
def test_a_hold_of_a_log_that_is_no_more_is_committed_over_though_its_commit_lands_late() -> None:
    ledger = held_at(5, 5)
    offsets, revision, holds = ledger.uncommitted(), ledger.revision, ledger.holds([P0])
    ledger.drop(P0)
    ledger.begin(P0, StartOffset(0, None))
    ledger.mark_committed(offsets.items(), revision, holds)
    assert (ledger.uncommitted(), ledger.holds([P0])) == ({P0: 0}, {})
    committed_once(ledger)
    ledger.drop(P0)
    ledger.begin(P0, StartOffset(0, None))
    assert ledger.uncommitted() == {}


@pytest.mark.reliability("F57")
def test_no_hold_is_worth_a_commit_below_an_earlier_one() -> None:
    assert held_at(0, committed=12).uncommitted() == {}


@pytest.mark.reliability("F57")
def test_a_partition_that_goes_on_takes_its_hold_back_with_its_next_offset() -> None:
    ledger = held_at(5, 5)
    committed_once(ledger)
    ledger.resume()
    ledger.settle(ledger.take(P0, 5, 8))
    assert (ledger.uncommitted(), ledger.holds([P0])) == ({P0: 8}, {})


@given(
    st.integers(0, 5),
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4), st.booleans()), max_size=6),
)
def test_the_committable_offset_never_passes_an_unsettled_record(
    offset: int, batches: list[tuple[int, int, bool]]
) -> None:
    ledger = ledger_at(offset)
    for hole, size, settles in batches:
        before = ledger[P0].committable
        first = offset + hole
        taken = ledger.take(P0, first, first + size)
        ledger.pass_to(P0, first + size + 1)
        assert ledger[P0].committable == before <= first
        if settles:
            ledger.settle(taken)
            offset = first + size
        else:
            ledger.give_back(taken, HOLD)
        assert ledger.position(P0) == ledger[P0].committable == offset
