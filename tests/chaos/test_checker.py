"""The checker sees every way in which it could have gone wrong."""

from __future__ import annotations

from asyncio.subprocess import Process
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from consumer.contract.record import Position, Record, TopicPartition
from consumer.contract.rejection import Reason
from producer_tools.outgoing_message import encode_message
from tests.builders import EVENTS, SESSIONS, created, event
from tests.chaos.checker import (
    Verdict,
    broker_problems,
    check_accounts,
    check_documents,
    number_of,
    sent_records,
)
from tests.chaos.history import Deletion, History
from tests.chaos.producer import NUMBER, SendLog
from tests.chaos.workload import Said
from tests.e2e.processes import Service
from tests.model import Document, Sent

KIND = "lost, invented, doubled or changed"
CONFLICT = Position(EVENTS, 0, 1)
NONSENSE = Position(EVENTS, 0, 2)


def said(message: Mapping[str, Any]) -> Said:
    return Said(encode_message(message), message)


def record(topic: str, offset: int, number: int) -> Record:
    return Record(topic, 0, offset, 1772618400000, None, None, ((NUMBER, str(number).encode()),))


LOG = SendLog(
    [
        said(created("s")),
        said(event("s", "e")),
        said(event("s", "e", payload={"text": "other"})),
        Said(encode_message(event("s", "n")), Reason.UNDECODABLE),
        said(event("s", "unsent")),
    ],
    {0: Position(SESSIONS, 0, 0), 1: Position(EVENTS, 0, 0), 2: CONFLICT, 3: NONSENSE},
)
RECORDS = [record(SESSIONS, 0, 0), *(record(EVENTS, number - 1, number) for number in (1, 2, 3))]
LETTERS = [(CONFLICT, Reason.CONFLICT), (NONSENSE, Reason.UNDECODABLE)]


def documents() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What must be stored."""
    session = {
        "sessionId": "s",
        "status": "active",
        "language": "en",
        "metadata": {},
        "startedAt": datetime(2026, 3, 4, 10, 5, tzinfo=UTC),
        "createdFrom": {"topic": SESSIONS, "partition": 0, "offset": 0},
    }
    stored = {
        "sessionId": "s",
        "eventId": "e",
        "type": "user_speech",
        "payload": {"text": "hello"},
        "timestamp": datetime(2026, 3, 4, 10, 5, 1, 250_000, tzinfo=UTC),
        "from": {"topic": EVENTS, "partition": 0, "offset": 0},
    }
    return [session], [stored]


def problems_of(
    stored: tuple[list[dict[str, Any]], list[dict[str, Any]]],
    letters: list[tuple[Position, Reason]],
) -> list[str]:
    verdict = Verdict()
    sessions: list[Document] = [*stored[0]]
    events: list[Document] = [*stored[1]]
    check_documents(verdict, sent_records(LOG, RECORDS, History()), (sessions, events), letters)
    assert verdict.good == (not verdict.problems[KIND])
    return verdict.problems[KIND]


def test_what_must_be_stored_is_no_problem_and_a_second_letter_neither() -> None:
    assert problems_of(documents(), [*LETTERS, LETTERS[0]]) == []


Harm = Callable[[list[dict[str, Any]], list[dict[str, Any]]], object]


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(lambda _, events: events.clear(), id="lost event"),
        pytest.param(lambda sessions, _: sessions.clear(), id="lost session"),
        pytest.param(lambda _, events: events.append(events[0]), id="doubled"),
        pytest.param(lambda _, events: events.append({**events[0], "eventId": "x"}), id="invented"),
        pytest.param(lambda _, events: events[0].update(payload={"text": "x"}), id="changed"),
        pytest.param(lambda sessions, _: sessions[0].update(status="completed"), id="status"),
        pytest.param(
            lambda _, events: events[0].update(
                payload={"text": "other"}, **{"from": {**events[0]["from"], "offset": 1}}
            ),
            id="the second won",
        ),
    ],
)
def test_a_document_that_is_not_as_it_must_be_is_found(harm: Harm) -> None:
    stored = documents()
    harm(*stored)
    assert problems_of(stored, LETTERS)


@pytest.mark.parametrize(
    "letters",
    [
        pytest.param(LETTERS[:1], id="missing"),
        pytest.param([*LETTERS, (Position(EVENTS, 0, 0), Reason.INVALID)], id="nobody's"),
        pytest.param([LETTERS[0], (NONSENSE, Reason.INVALID)], id="another reason"),
    ],
)
def test_letters_that_are_not_those_that_are_due_are_found(
    letters: list[tuple[Position, Reason]],
) -> None:
    assert problems_of(documents(), letters)


def test_a_record_that_was_acknowledged_and_is_not_there_is_the_brokers_loss() -> None:
    assert broker_problems(LOG, RECORDS) == []
    assert len(broker_problems(LOG, RECORDS[:-1])) == 1
    assert number_of(RECORDS[1].headers) == 1


# --- what the consumers settled ----------------------------------------------------

PARTITION = TopicPartition("t", 0)


def service(*lines: dict[str, Any], words: tuple[str, ...] = ()) -> Service:
    return Service("p", cast("Process", None), None, list(lines), list(words))


def settled(first: int, end: int, **outcomes: int) -> dict[str, Any]:
    records = sum(outcomes.values())
    return {
        "event": "batch_settled",
        "records": records,
        "offsets": {"t-0": [first, end]},
        **outcomes,
    }


def account(*services: Service, end: int = 10) -> Verdict:
    verdict = Verdict()
    check_accounts(verdict, services, {PARTITION: end}, History())
    return verdict


def test_accounts_that_cover_everything_are_good_and_what_was_read_twice_is_no_harm() -> None:
    one, other = service(settled(0, 6, applied=6)), service(settled(4, 10, redelivered=6))
    assert account(one, other).good


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([settled(0, 9, applied=9)], id="the end"),
        pytest.param([settled(1, 10, applied=9)], id="the beginning"),
        pytest.param([settled(0, 4, applied=4), settled(5, 10, applied=5)], id="a hole"),
        pytest.param([settled(0, 10, applied=9)], id="no outcome"),
        pytest.param([settled(0, 10, applied=9, conflict=2)], id="two outcomes"),
    ],
)
def test_a_record_without_exactly_one_outcome_is_found(lines: list[dict[str, Any]]) -> None:
    assert not account(service(*lines)).good


@pytest.mark.parametrize(
    "odd",
    [
        service(settled(0, 10, applied=10), {"event": "died"}),
        service(settled(0, 10, applied=10), {"event": "never retrieved", "logger": "asyncio"}),
        service(settled(0, 10, applied=10), words=("Traceback (most recent call last):",)),
    ],
)
def test_what_no_consumer_should_say_is_found(odd: Service) -> None:
    assert not account(odd).good


# --- what was deleted ---------------------------------------------------------------------

UNREAD = Deletion(PARTITION, 4, 8)


def history(*deletions: Deletion, until: int = 10) -> History:
    made = History()
    for deletion in deletions:
        made.deleting([deletion], [Record("t", 0, at, 0, None, None) for at in range(until)])
    return made


def gap(first: int, end: int) -> Service:
    return service(
        {"event": "records_deleted_unread", "partition": "t-0", "first": first, "end": end}
    )


def gap_problems(made: History, *services: Service) -> list[str]:
    sent = [
        Sent(one.record.position, 0, {}, one.log, surely_read=one.surely_read)
        for one in made.records
    ]
    return made.gap_problems(services, sent, lambda one: one.position.offset == 5)


def test_what_was_deleted_unread_and_told_is_no_problem() -> None:
    assert gap_problems(history(UNREAD), gap(4, 8)) == []
    assert len(history(UNREAD).records) == UNREAD.end


def test_what_was_deleted_unread_and_is_told_by_nobody_is_found_unless_it_is_stored() -> None:
    assert len(gap_problems(history(UNREAD))) == 3
    assert len(gap_problems(history(UNREAD), gap(6, 8))) == 1


def test_a_group_that_has_committed_nothing_cannot_know_what_it_missed() -> None:
    assert gap_problems(history(replace(UNREAD, unread=None))) == []


def test_a_gap_where_everything_was_read_is_found() -> None:
    assert gap_problems(history(replace(UNREAD, unread=8)), gap(7, 8))
    assert gap_problems(history(), gap(7, 8))


def test_a_log_that_began_anew_must_be_told_by_who_held_the_partition_and_goes_on() -> None:
    before, after = {"event": "connected"}, {"event": "partitions_assigned"}
    whole = history(replace(UNREAD, whole=True, heard={"p": 1}, holders=frozenset({"p"})))
    told = {"event": "log_began_anew", "partition": "t-0"}
    assert len(gap_problems(whole, service(before, after))) == 3
    assert gap_problems(whole, service(before, after, told)) == []
    assert gap_problems(whole, service(before)) == []


def test_of_a_log_that_began_anew_only_what_was_settled_since_counts() -> None:
    lines = settled(0, 8, applied=8), settled(0, 3, applied=3)
    whole = history(replace(UNREAD, whole=True, heard={"p": 1}))
    assert whole.settled([service(*lines)]) == {PARTITION: [(0, 3)]}
    assert history(UNREAD).settled([service(lines[1])]) == {PARTITION: [(0, 3), (4, 8)]}
    assert (whole.log("t"), history(UNREAD).log("t")) == (1, 0)
    again = history(replace(UNREAD, whole=True, heard={"p": 1}), replace(UNREAD, unread=3, end=5))
    assert again.settled([service(*lines)]) == {PARTITION: [(0, 3), (3, 5)]}


def test_an_origin_in_a_log_that_is_no_more_may_be_that_of_another_record() -> None:
    assert history(replace(UNREAD, whole=True)).had(Position("t", 0, 7))
    assert not history(UNREAD).had(Position("t", 0, 7))
