"""Whether ended sessions have as many events as they say.

Records that the group has not read explain fewer, and events that have expired do.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial

from consumer.aio import Backoff
from consumer.commands.audit.audit_report import SHOWN, Disagreement, Disagreements
from consumer.commands.audit.judging import answered
from consumer.contract.decode import Decoded, decode
from consumer.contract.messages import EventRecorded
from consumer.contract.record import Record, TopicPartition
from consumer.contract.rejection import KeyPolicy
from consumer.mongo.session_reader import EndedSession, SessionReader
from consumer.state.retention import GRACE

SESSIONS_AT_ONCE = 500


class EventCounts:
    """The sessions whose end an audit has met, on disk; compared when it has met all."""

    def __init__(
        self, database: sqlite3.Connection, sessions: SessionReader, backoff: Backoff
    ) -> None:
        """Keep the sessions in ``database``."""
        self._database = database
        self._sessions = sessions
        self._backoff = backoff
        self._expired = 0
        database.execute("CREATE TABLE ended (session TEXT PRIMARY KEY) WITHOUT ROWID")
        database.execute(
            "CREATE TABLE differing (session TEXT PRIMARY KEY, declared INT, stored INT) "
            "WITHOUT ROWID"
        )

    def ended(self, session_ids: Iterable[str]) -> None:
        """Remember sessions whose events are to be counted."""
        self._database.executemany(
            "INSERT OR IGNORE INTO ended VALUES (?)", ((one,) for one in session_ids)
        )

    async def compare(self, now: datetime) -> bool:
        """Compare all; tell whether any session has fewer events than it says."""
        for session_ids in self._ended_sessions():
            found = await answered(
                "MongoDB", partial(self._sessions.ended, session_ids), self._backoff
            )
            counted = await answered(
                "MongoDB", partial(self._sessions.event_counts, list(found)), self._backoff
            )
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

    async def excused_by(
        self, unread: AsyncIterator[tuple[TopicPartition, Sequence[Record]]]
    ) -> Disagreements:
        """Return the sessions that disagree though none of the ``unread`` records explains it."""
        excused = 0
        async for _, records in unread:
            ids = {one for one in map(_session_of_event, records) if one is not None}
            for session_id in ids:
                excused += self._database.execute(
                    "DELETE FROM differing WHERE session = ? AND stored < declared", (session_id,)
                ).rowcount
        (total,) = self._database.execute("SELECT count(*) FROM differing").fetchone()
        first = self._database.execute("SELECT * FROM differing ORDER BY session LIMIT ?", (SHOWN,))
        return Disagreements(total, [Disagreement(*row) for row in first], excused, self._expired)

    def _ended_sessions(self) -> Iterator[list[str]]:
        last = ""
        while True:
            rows = self._database.execute(
                "SELECT session FROM ended WHERE session > ? ORDER BY session LIMIT ?",
                (last, SESSIONS_AT_ONCE),
            ).fetchall()
            if not rows:
                return
            last = rows[-1][0]
            yield [row[0] for row in rows]


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


def _session_of_event(record: Record) -> str | None:
    decoded = decode(record, KeyPolicy.WARN)
    if isinstance(decoded, Decoded) and isinstance(decoded.message, EventRecorded):
        return decoded.message.session_id
    return None
