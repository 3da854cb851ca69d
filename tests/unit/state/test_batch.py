from __future__ import annotations

import pytest

from consumer.contract.rejection import Reason, Rejected
from consumer.state.outcomes import BatchResults, Outcome

from .builders import completed, created, event, failed, write

REFUSED = Rejected(Reason.UNSTORABLE, "the database refuses the document: x")


def outcomes(batch: BatchResults) -> list[Outcome]:
    return [result.outcome for result in batch.results(())]


def test_only_the_first_of_each_identity_is_sent() -> None:
    batch = BatchResults(
        [
            write(event("s", "e"), 0),
            write(event("s", "f"), 1),
            write(event("s", "e"), 2),
            write(created("s"), 3),
            write(completed("s"), 4),
            write(failed("s"), 5),
            write(created("s"), 6),
        ]
    )
    assert list(batch.pending) == [0, 1, 3, 4]


def test_those_who_wait_are_judged_against_what_was_applied() -> None:
    batch = BatchResults(
        [
            write(event(payload={"t": 1}), 0),
            write(event(payload={"t": 1}), 1),
            write(event(payload={"t": 2}), 2),
            write(completed(), 3),
            write(failed(), 4),
            write(completed(), 5),
        ]
    )
    batch.applied(0)
    batch.applied(3)
    assert outcomes(batch) == [
        Outcome.APPLIED,
        Outcome.DUPLICATE,
        Outcome.CONFLICT,
        Outcome.APPLIED,
        Outcome.CONFLICT,
        Outcome.DUPLICATE,
    ]


def test_those_who_wait_are_judged_against_what_was_found() -> None:
    stored = write(event(payload={"t": 2}), 1).content
    batch = BatchResults([write(event(payload={"t": n}), n) for n in (1, 2, 2)])
    batch.found(0, stored, may_be_ours=True)
    assert outcomes(batch) == [Outcome.CONFLICT, Outcome.DUPLICATE, Outcome.DUPLICATE]


def test_one_who_waits_and_finds_itself_stored_was_redelivered() -> None:
    first, second = write(event(), 0), write(event(), 1)
    batch = BatchResults([first, second])
    batch.found(0, second.content, may_be_ours=True)
    assert outcomes(batch) == [Outcome.DUPLICATE, Outcome.REDELIVERED]


def test_what_may_be_the_own_earlier_attempt_counts_as_applied() -> None:
    own = write(event(), 0)
    for may_be_ours, outcome in ((True, Outcome.APPLIED), (False, Outcome.REDELIVERED)):
        batch = BatchResults([own])
        batch.found(0, own.content, may_be_ours=may_be_ours)
        assert outcomes(batch) == [outcome]


def test_the_next_takes_the_place_of_one_that_is_refused_for_good() -> None:
    batch = BatchResults([write(event(payload={"n": n % 2}), n) for n in range(5)])
    batch.refused(0, REFUSED)
    assert list(batch.pending) == [1]
    batch.refused(1, REFUSED)
    assert list(batch.pending) == [2]
    batch.applied(2)
    assert outcomes(batch) == [
        Outcome.DEAD_LETTERED,
        Outcome.DEAD_LETTERED,
        Outcome.APPLIED,
        Outcome.CONFLICT,
        Outcome.DUPLICATE,
    ]


def test_all_of_one_identity_may_be_refused() -> None:
    batch = BatchResults([write(created(), n) for n in range(3)])
    for index in range(3):
        batch.refused(index, REFUSED)
    assert [result.rejected for result in batch.results(())] == [REFUSED] * 3


def test_events_of_late_sessions_are_marked_and_nothing_else_is() -> None:
    batch = BatchResults([write(event("s")), write(event("t")), write(created("s"))])
    for index in (0, 1, 2):
        batch.applied(index)
    assert [result.late for result in batch.results({"s"})] == [True, False, False]


def test_no_results_are_given_while_a_record_is_not_settled() -> None:
    batch = BatchResults([write(event("s")), write(event("t"))])
    batch.applied(1)
    with pytest.raises(AssertionError, match="1 records"):
        batch.results(())
