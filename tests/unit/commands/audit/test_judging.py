"""What accounts for a record: the document under its identity, and the letters of its own group."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncGenerator, Collection, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import bson
import pytest

from consumer.commands.audit.audit_report import AuditReport, print_audit
from consumer.commands.audit.judging import DeadLetterIndex, RecordJudge
from consumer.commands.audit.problems import Disagreements, ProblemList
from consumer.commands.audit.verdicts import AuditResult
from consumer.contract.dead_letter import dead_letter
from consumer.contract.decode import MAX_VALUE_BYTES
from consumer.contract.kinds import SESSIONS
from consumer.contract.record import NO_TIMESTAMP, Record, TopicPartition
from consumer.contract.rejection import Reason, Rejected
from consumer.errors import TimedOutError
from consumer.mongo.store import MongoStore
from consumer.state.bson_compare import raw_document
from consumer.state.retention import Retention
from tests.adapters.mongo.applying import apply
from tests.builders import EVENTS, LETTERS, completed, created, event, record
from tests.fakes.collections import Command, Fault, MemoryCollections
from tests.fakes.logs import MemoryLogs
from tests.unit.commands.planning import writes_of

GROUP = "conversations"


def letter(about: Record, reason: Reason, group: str = GROUP) -> Record:
    """The dead letter of a record, as it lies in the topic."""
    said = dead_letter(
        about,
        Rejected(reason, "as the test says"),
        group=group,
        failed_at=datetime(2026, 3, 4, 11, tzinfo=UTC),
        consumer_version="1",
    )
    return Record(LETTERS, 0, 0, about.timestamp_ms + 1, said.key, said.value, said.headers)


class Case:
    """A store in memory, and an audit of records against it and the letters that are left."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self.collections = MemoryCollections()
        self.letters = DeadLetterIndex(database, GROUP)
        self.problems = ProblemList(database)

    async def apply(self, *records: Record, retention: Retention | None = None) -> None:
        """Apply records as the consumer does, without dead letters."""
        await apply(MongoStore(self.collections), writes_of(records, retention))

    async def load(self, *letters: Record, expired: int = 0) -> None:
        """Read the letters that are left; ``expired`` have been deleted before them."""
        logs = MemoryLogs(1, LETTERS)
        place = TopicPartition(LETTERS, 0)
        logs.begins[place] = expired
        logs.records[place] = [
            *[record(None, offset) for offset in range(expired)],
            *[one._replace(offset=expired + number) for number, one in enumerate(letters)],
        ]
        await self.letters.load(logs.reader, LETTERS)

    async def audited(self, *records: Record, retention: Retention | None = None) -> AuditReport:
        judge = RecordJudge(self.collections, self.letters, retention, MAX_VALUE_BYTES)
        found = await judge.judge(records)
        self.problems.add(TopicPartition(EVENTS, 0), found)
        self.problems.settle_suspects()
        return AuditReport(
            self.problems.counts(),
            self.problems.documents(),
            [],
            0,
            0,
            Disagreements(0, []),
            1.0,
            missing_dead_letters=self.problems.missing_dead_letters(),
        )

    def emitted(self) -> list[tuple[int, str]]:
        return [(one.position.offset, one.problem) for one in self.problems.listed()]

    def alter_event(self, **fields: Any) -> None:
        ((key, document),) = self.collections.events.items()
        altered = {**bson.decode(bytes(document.raw)), **fields}
        self.collections.events[key] = raw_document(bson.encode(altered))


@pytest.fixture
def case() -> Iterator[Case]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        yield Case(database)


# --- letters that have expired ------------------------------------------------------------


@pytest.mark.reliability("F45")
async def test_a_deleted_document_is_missing_though_letters_of_its_time_have_expired(
    case: Case,
) -> None:
    said = [record(created()), record(event(), 1)]
    await case.apply(*said)
    case.collections.events.clear()
    await case.load(expired=1)
    report = await case.audited(*said)
    assert report.total[AuditResult.MISSING] == 1
    assert report.found
    assert case.emitted() == [(1, AuditResult.MISSING)]


@pytest.mark.reliability("F45")
async def test_a_rejected_record_whose_letter_may_have_expired_is_unknown_found_and_emitted(
    case: Case,
) -> None:
    await case.load(expired=1)
    report = await case.audited(record(b"not JSON"))
    assert report.total[AuditResult.UNKNOWN] == 1
    assert report.found
    assert case.emitted() == [(0, AuditResult.UNKNOWN)]


@pytest.mark.reliability("F45")
async def test_a_conflict_whose_letter_may_have_expired_is_unknown_found_and_emitted(
    case: Case,
) -> None:
    said = [record(created()), record(event(), 1), record(event(payload={"text": "other"}), 2)]
    await case.apply(*said)
    await case.load(expired=1)
    report = await case.audited(*said)
    assert report.total == {AuditResult.APPLIED: 2, AuditResult.UNKNOWN: 1}
    assert report.found
    assert case.emitted() == [(2, AuditResult.UNKNOWN)]


@pytest.mark.reliability("F45")
async def test_a_letter_of_a_conflict_accounts_for_no_document_that_is_gone(
    case: Case,
) -> None:
    said = [record(created()), record(event(), 1), record(completed(), 2)]
    await case.apply(*said)
    case.collections.events.clear()
    del case.collections.sessions["s"]["endedAt"]
    case.collections.sessions["s"]["status"] = "active"
    del case.collections.sessions["s"]["endedFrom"]
    await case.load(*[letter(one, Reason.CONFLICT) for one in said])
    report = await case.audited(*said)
    assert report.total == {AuditResult.APPLIED: 1, AuditResult.MISSING: 2}


@pytest.mark.reliability("F45")
async def test_a_record_that_was_refused_for_good_is_dead_by_its_letter(case: Case) -> None:
    said = record(event())
    await case.load(letter(said, Reason.KEY_MISMATCH))
    report = await case.audited(said)
    assert report.total == {AuditResult.DEAD: 1}
    assert not report.found


async def test_dead_letters_that_alone_are_missing_are_counted_as_such(
    case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    said = [record(created()), record(event(), 1), record(event(payload={"text": "other"}), 2)]
    await case.apply(*said)
    report = await case.audited(*said, record(b"not JSON", 3))
    print_audit(report, as_json=False)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if " altered, " in line]
    assert line.startswith("0 documents missing, 0 altered, 0 repeated, 2 dead letters missing;")
    print_audit(report, as_json=True)
    facts = json.loads(capsys.readouterr().out)
    assert (facts["documents"]["missing"], facts["dead_letters_missing"]) == (0, 2)
    # Of the conflict the list still says what it is about.
    assert [one.document for one in case.problems.listed()] == [("event", "s", "e"), None]


# --- what an alteration leaves ------------------------------------------------------------


@pytest.mark.parametrize("expired", [0, 1])
@pytest.mark.reliability("F46")
async def test_an_altered_document_stays_altered_when_its_own_record_has_left_a_letter(
    case: Case, expired: int
) -> None:
    said = [record(created()), record(event(), 1)]
    await case.apply(*said)
    case.alter_event(payload={"text": "forged"})
    await case.load(letter(said[1], Reason.CONFLICT), expired=expired)
    report = await case.audited(*said)
    assert report.total == {AuditResult.APPLIED: 1, AuditResult.ALTERED: 1}
    assert case.emitted() == [(1, AuditResult.ALTERED)]


@pytest.mark.reliability("F46")
async def test_an_altered_session_stays_altered_when_its_own_record_has_left_a_letter(
    case: Case,
) -> None:
    said = record(created())
    await case.apply(said)
    case.collections.sessions["s"]["language"] = "forged"
    await case.load(letter(said, Reason.CONFLICT))
    assert (await case.audited(said)).total == {AuditResult.ALTERED: 1}


@pytest.mark.reliability("F46")
async def test_letters_of_other_groups_explain_nothing(case: Case) -> None:
    said = [
        record(created()),
        record(event(), 1),
        record(event(payload={"text": "other"}), 2),
        record(b"not JSON", 3),
    ]
    await case.apply(*said[:3])
    await case.load(*[letter(one, Reason.CONFLICT, "others") for one in said])
    report = await case.audited(*said)
    assert report.total == {AuditResult.APPLIED: 2, AuditResult.MISSING: 2}
    assert case.letters.count == 0


# --- more than one document ---------------------------------------------------------------


class WithoutIndex(MemoryCollections):
    """Every document is there twice, as when the unique indexes had been dropped for a while."""

    async def find(
        self, collection: str, *ids: Sequence[str], fields: Collection[str] | None = None
    ) -> AsyncGenerator[Sequence[bytes], None]:
        async for reply in super().find(collection, *ids, fields=fields):
            yield [*reply, *reply]


@pytest.mark.reliability("F56")
async def test_two_documents_of_one_identity_are_found_and_emitted(case: Case) -> None:
    case.collections = WithoutIndex()
    said = [record(created()), record(event(), 1)]
    await case.apply(*said)
    await case.load()
    report = await case.audited(*said)
    assert report.total == {AuditResult.REPEATED: 2}
    assert report.found
    assert report.documents[AuditResult.REPEATED] == 2
    assert case.emitted() == [(0, AuditResult.REPEATED), (1, AuditResult.REPEATED)]


# --- another retention --------------------------------------------------------------------


@pytest.mark.parametrize(("written", "audited"), [(None, 90), (90, None), (90, 30_000)])
@pytest.mark.reliability("F55")
async def test_another_retention_than_that_of_the_writes_is_no_alteration(
    case: Case, written: int | None, audited: int | None
) -> None:
    before, now = (
        None if days is None else Retention(timedelta(days=days)) for days in (written, audited)
    )
    stamped = int(datetime.now(UTC).timestamp() * 1000)
    said = [
        record(created(), timestamp_ms=stamped),
        record(event(), 1, timestamp_ms=stamped),
        record(completed(), 2, timestamp_ms=stamped),
    ]
    await case.apply(*said, retention=before)
    await case.load()
    assert (await case.audited(*said, retention=now)).total == {AuditResult.APPLIED: 3}


@pytest.mark.reliability("F55")
async def test_what_a_shorter_retention_would_have_skipped_is_compared_where_it_is_stored(
    case: Case,
) -> None:
    said = [record(created()), record(event(), 1), record(event("s", "gone"), 2)]
    await case.apply(*said[:2])
    case.alter_event(payload={"text": "forged"})
    await case.load()
    report = await case.audited(*said, retention=Retention(timedelta(days=2)))
    assert report.total == {AuditResult.APPLIED: 1, AuditResult.ALTERED: 1, AuditResult.SKIPPED: 1}


# --- how much is read ---------------------------------------------------------------------


class Weighed(MemoryCollections):
    """Counts the bytes of the sessions that are read."""

    weight = 0

    async def find(
        self, collection: str, *ids: Sequence[str], fields: Collection[str] | None = None
    ) -> AsyncGenerator[Sequence[bytes], None]:
        async for reply in super().find(collection, *ids, fields=fields):
            self.weight += sum(map(len, reply)) if collection == SESSIONS else 0
            yield reply


@pytest.mark.reliability("F69")
async def test_an_audit_reads_of_sessions_what_it_judges_and_never_too_many_at_once(
    case: Case,
) -> None:
    case.collections = weighed = Weighed()
    large = {"blob": "x" * 1_000_000}
    said = [record(created(f"s-{number}", metadata=large), number) for number in range(12)]
    talk = [record(event(f"s-{number}"), 20 + number) for number in range(12)]
    await case.apply(*said, *talk)
    await case.load()
    weighed.weight = 0
    assert (await case.audited(*talk)).total == {AuditResult.APPLIED: 12}
    assert weighed.weight < 10_000
    weighed.commands.clear()
    assert (await case.audited(*said)).total == {AuditResult.APPLIED: 24}
    assert max(weighed.sizes(Command.FIND_SESSIONS)) <= 4


class WithCopies(MemoryCollections):
    """A database without the unique index: each find of events brings further ones, too."""

    def __init__(self, *further: dict[str, Any], times: int = 1) -> None:
        super().__init__()
        self.further = [bson.encode(document) for document in further] * times

    async def find(
        self, collection: str, *ids: Sequence[str], fields: Collection[str] | None = None
    ) -> AsyncGenerator[Sequence[bytes], None]:
        async for reply in super().find(collection, *ids, fields=fields):
            yield reply
            if collection != SESSIONS:
                yield self.further or reply


TALK = [record(event(f"s-{number}", f"e-{number}"), 20 + number) for number in range(12)]
BEGINNINGS = [record(created(f"s-{number}"), number) for number in range(12)]


async def test_events_of_many_sessions_are_looked_for_at_once(case: Case) -> None:
    await case.apply(*BEGINNINGS, *TALK)
    await case.load()
    case.collections.commands.clear()
    assert (await case.audited(*TALK)).total == {AuditResult.APPLIED: 12}
    assert case.collections.sizes(Command.FIND_EVENTS) == [12]


async def test_what_is_not_as_it_was_written_is_found_among_what_is(case: Case) -> None:
    await case.apply(*BEGINNINGS, *TALK)
    await case.load()
    del case.collections.events["s-3", "e-3"]
    said = {"sessionId": ["s-4", "x"], "eventId": "e-4", "payload": {"text": "other"}}
    case.collections.put_event(said)
    report = await case.audited(*TALK, TALK[5]._replace(offset=99))
    assert report.total[AuditResult.APPLIED] == 10
    assert report.total[AuditResult.DUPLICATE] == 1
    assert {problem for _, problem in case.emitted()} == {AuditResult.MISSING}
    assert [offset for offset, _ in case.emitted()] == [23, 24]


@pytest.mark.parametrize(
    "further",
    [(), ({"sessionId": ["s", "x"], "eventId": "e", "payload": {}},)],
    ids=["the same once more", "another content"],
)
async def test_a_copy_beside_what_was_written_is_found(
    case: Case, further: tuple[dict[str, Any], ...]
) -> None:
    case.collections = WithCopies(*further)
    said = [record(created("s")), record(event("s", "e"), 1)]
    await case.apply(*said)
    await case.load()
    assert (await case.audited(said[1])).total == {AuditResult.REPEATED: 1}


async def test_a_find_that_brings_what_nobody_asked_for_proves_nothing(case: Case) -> None:
    case.collections = WithCopies({"sessionId": "x", "eventId": "x"}, times=3)
    said = [record(created("s")), record(event("s", "e"), 1)]
    await case.apply(*said)
    await case.load()
    case.collections.commands.clear()
    assert (await case.audited(said[1])).total == {AuditResult.APPLIED: 1}
    assert case.collections.sizes(Command.FIND_EVENTS) == [1, 1]


async def test_a_find_of_many_sessions_that_fails_costs_the_saving_only(case: Case) -> None:
    await case.apply(*BEGINNINGS, *TALK)
    await case.load()
    case.collections.script(Command.FIND_EVENTS, Fault(error=TimedOutError("timed_out")))
    assert (await case.audited(*TALK)).total == {AuditResult.APPLIED: 12}


# --- records without a letter -------------------------------------------------------------


@pytest.mark.parametrize("timestamp_ms", [NO_TIMESTAMP, 0, 1_772_618_400_000])
def test_where_no_letter_has_expired_none_was_ever_there_whatever_the_records_time(
    case: Case, timestamp_ms: int
) -> None:
    (letter,) = case.letters.find([record(event(), timestamp_ms=timestamp_ms)])
    assert (letter.reason, letter.expired) == (None, False)
