"""What an audit finds, kept on disk: problems of records, and sessions that miscount events."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from consumer.commands.audit.judging import JudgedRecord, LogJudge
from consumer.commands.audit.verdicts import PROBLEMS, AuditResult
from consumer.commands.common.record_list import ListedRecord, RecordProblem
from consumer.contract.decode import Decoded, decode
from consumer.contract.messages import EventRecorded
from consumer.contract.record import Record, TopicPartition
from consumer.contract.rejection import KeyPolicy
from consumer.errors import TimedOutError
from consumer.mongo.bulk import BatchSizer
from consumer.mongo.session_reader import EndedSession
from consumer.state.retention import GRACE
from consumer.wiring import retry_until

SHOWN = 20
"""Problems and sessions that the report names; the list that is emitted has them all."""

SESSIONS_AT_ONCE = 500

LISTED = (*PROBLEMS, AuditResult.SUSPECT)


class ProblemList:
    """Counts by partition, and what is wrong with which record."""

    def __init__(self, database: sqlite3.Connection) -> None:
        """Keep the lists in ``database``."""
        self._database = database
        self._accounted: dict[TopicPartition, Counter[AuditResult]] = {}
        database.execute(
            "CREATE TABLE problems (topic TEXT, part INT, place INT, result TEXT, "
            "document TEXT, detail TEXT, written TEXT, "
            "PRIMARY KEY (topic, part, place)) WITHOUT ROWID"
        )

    def add(self, partition: TopicPartition, found: Iterable[JudgedRecord]) -> None:
        """List the records of a batch that have a problem, and count the others."""
        accounted = self._accounted.setdefault(partition, Counter())
        rows = []
        for record, _, judged in found:
            if judged.result in LISTED:
                document = json.dumps(judged.document) if judged.document else None
                written = judged.part if judged.document else None
                row = (*record.position, judged.result.value, document, judged.detail, written)
                rows.append(row)
            else:
                accounted[judged.result] += 1
        self._database.executemany("INSERT INTO problems VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def settle_suspects(self) -> None:
        """Decide the conflicts without a letter, whether or not it may have expired.

        Where the same part of the document is altered, it is the altered content that the
        copy differs from: both records count as altered, and the one problem is listed once.
        Elsewhere the dead letter is missing, and what the record should have written is there.
        """
        self._database.execute(
            "UPDATE problems SET result = 'altered', document = NULL, detail = NULL "
            "WHERE result IN ('suspect', 'unknown') AND (document, written) IN "
            "(SELECT document, written FROM problems WHERE result = 'altered')"
        )
        self._database.execute(
            "UPDATE problems SET result = 'missing', written = NULL WHERE result = 'suspect'"
        )

    def counts(self) -> Mapping[TopicPartition, Counter[AuditResult]]:
        """Return how many records of each partition have which result."""
        counts = {partition: Counter(accounted) for partition, accounted in self._accounted.items()}
        rows = self._database.execute(
            "SELECT topic, part, result, count(*) FROM problems GROUP BY topic, part, result"
        )
        for topic, part, result, count in rows:
            counts[TopicPartition(topic, part)][AuditResult(result)] = count
        return counts

    def documents(self) -> Counter[AuditResult]:
        """Return how many documents the problems of each kind are about."""
        rows = self._database.execute(
            "SELECT result, count(DISTINCT document) FROM problems "
            "WHERE written IS NOT NULL GROUP BY result"
        )
        return Counter({AuditResult(result): count for result, count in rows})

    def missing_dead_letters(self) -> int:
        """Return of how many records the dead letter is what is missing."""
        (found,) = self._database.execute(
            "SELECT count(*) FROM problems WHERE result = 'missing' AND written IS NULL"
        ).fetchone()
        return int(found)

    def listed(self, limit: int = -1) -> Iterator[ListedRecord]:
        """Yield what was found by position, at most ``limit`` records."""
        rows = self._database.execute(
            "SELECT topic, part, place, result, document, detail FROM problems "
            "WHERE detail IS NOT NULL ORDER BY topic, part, place LIMIT ?",
            (limit,),
        )
        for topic, part, place, result, document, detail in rows:
            yield ListedRecord(
                topic=topic,
                partition=part,
                offset=place,
                problem=RecordProblem(result),
                document=tuple(json.loads(document)) if document else None,
                detail=detail,
            )


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A session that says it has ``declared`` events, of which ``stored`` are there."""

    session_id: str
    declared: int
    stored: int


@dataclass(frozen=True, slots=True)
class Disagreements:
    """How many sessions disagree with themselves, and the first of them.

    ``unread`` are not among them: sessions of which the group has not read all events. Nor are
    ``expired``: those whose first events are as old as their documents are kept.
    """

    sessions: int
    first: Sequence[Disagreement]
    unread: int = 0
    expired: int = 0


class EventCounts:
    """The sessions whose end an audit has met, on disk; compared when it has met all."""

    def __init__(self, log: LogJudge) -> None:
        """Keep the sessions in the database of ``log``."""
        self._log = log
        self._database = log.database
        self._expired = 0
        self._sizer = BatchSizer(SESSIONS_AT_ONCE)
        self._database.execute("CREATE TABLE ended (session TEXT PRIMARY KEY) WITHOUT ROWID")
        self._database.execute(
            "CREATE TABLE differing (session TEXT PRIMARY KEY, declared INT, stored INT) "
            "WITHOUT ROWID"
        )

    def add(self, session_ids: Iterable[str]) -> None:
        """Remember sessions whose events are to be counted."""
        self._database.executemany(
            "INSERT OR IGNORE INTO ended VALUES (?)", ((one,) for one in session_ids)
        )

    async def compare(self, now: datetime) -> bool:
        """Compare all; tell whether any session has fewer events than it says."""
        last = ""
        while counts := await retry_until("MongoDB", partial(self._count, last), self._log.policy):
            last, found, counted = counts
            differing = []
            for session_id, session in found.items():
                stored = counted.get(session_id, 0)
                if stored < session.declared and _may_have_expired(session, now):
                    self._expired += 1
                elif stored != session.declared:
                    differing.append((session_id, session.declared, stored))
            self._database.executemany("INSERT INTO differing VALUES (?, ?, ?)", differing)
        fewer = "SELECT 1 FROM differing WHERE stored < declared LIMIT 1"
        return self._database.execute(fewer).fetchone() is not None

    async def _count(
        self, last: str
    ) -> tuple[str, Mapping[str, EndedSession], Mapping[str, int]] | None:
        """Ask for the next sessions behind ``last``; return the last of them, too.

        For fewer the next time where so many do not fit a command's deadline.
        """
        following = "SELECT session FROM ended WHERE session > ? ORDER BY session LIMIT ?"
        rows = self._database.execute(following, (last, self._sizer.limit)).fetchall()
        session_ids = [row[0] for row in rows]
        if not session_ids:
            return None
        try:
            found = await self._log.sessions.ended(session_ids)
            counted = await self._log.sessions.event_counts(list(found))
        except TimedOutError:
            self._sizer.timed_out(len(session_ids))
            raise
        self._sizer.fitted(len(session_ids))
        return session_ids[-1], found, counted

    async def excuse_by(
        self, unread: AsyncIterator[tuple[TopicPartition, Sequence[Record]]]
    ) -> Disagreements:
        """Return the sessions that disagree though none of the ``unread`` records explains it."""
        excused = 0
        async for _, records in unread:
            for session_id in set(filter(None, map(self._session_of_event, records))):
                excused += self._database.execute(
                    "DELETE FROM differing WHERE session = ? AND stored < declared", (session_id,)
                ).rowcount
        (total,) = self._database.execute("SELECT count(*) FROM differing").fetchone()
        first = self._database.execute("SELECT * FROM differing ORDER BY session LIMIT ?", (SHOWN,))
        return Disagreements(total, [Disagreement(*row) for row in first], excused, self._expired)

    def _session_of_event(self, record: Record) -> str | None:
        decoded = decode(record, KeyPolicy.WARN, self._log.settings.kafka.max_value_bytes)
        if isinstance(decoded, Decoded) and isinstance(decoded.message, EventRecorded):
            return decoded.message.session_id
        return None


def _may_have_expired(session: EndedSession, now: datetime) -> bool:
    """Tell whether events of the session's beginning may have expired before its end.

    How long they are kept is what lies between its end and its expiry: the settings may say
    something else by now. A day more, since the records' times decide, which are not known.
    """
    if session.expire_at is None:
        return False
    if session.started_at is None or session.ended_at is None:
        return True
    keep = session.expire_at - session.ended_at
    return session.started_at + keep <= now + GRACE
