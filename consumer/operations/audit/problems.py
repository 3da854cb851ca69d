"""What an audit has found, counted in memory and listed on disk."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from consumer.contract.record import Position, TopicPartition
from consumer.operations.audit.accounts import Account, Identity, Judged

_SUSPECTS = (
    "SELECT topic, part, count(*) FROM problems WHERE account = 'suspect' GROUP BY topic, part"
)
_SUSPECTS_OF_ALTERED = (
    "SELECT topic, part, count(*) FROM problems "
    "WHERE account = 'suspect' AND (document, half) IN "
    "(SELECT document, half FROM problems WHERE account = 'altered') GROUP BY topic, part"
)

LISTED = (Account.MISSING, Account.ALTERED, Account.SUSPECT, Account.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Problem:
    """One record with a problem."""

    position: Position
    account: Account
    document: Identity | None
    detail: str

    def facts(self) -> dict[str, object]:
        """Return it as JSON has it, in a report as in the list for a replay."""
        return {
            "topic": self.position.topic,
            "partition": self.position.partition,
            "offset": self.position.offset,
            "problem": self.account.value,
            "document": self.document,
            "detail": self.detail,
        }


class Problems:
    """Counts by partition; problems, and the sessions that say how many events they have."""

    def __init__(self, database: sqlite3.Connection) -> None:
        """Keep the lists in ``database``."""
        self._database = database
        self._counts: dict[TopicPartition, Counter[Account]] = {}
        database.execute(
            "CREATE TABLE problems (topic TEXT, part INT, place INT, account TEXT, "
            "document TEXT, detail TEXT, half TEXT, PRIMARY KEY (topic, part, place)) WITHOUT ROWID"
        )
        database.execute("CREATE TABLE ended (session TEXT PRIMARY KEY) WITHOUT ROWID")

    def add(self, partition: TopicPartition, found: Iterable[tuple[Position, Judged]]) -> None:
        """Count the records of a batch and list those with a problem."""
        counts = self._counts.setdefault(partition, Counter())
        rows = []
        for position, judged in found:
            counts[judged.account] += 1
            if judged.account in LISTED:
                document = json.dumps(judged.document) if judged.document else None
                place = (*position, judged.account.value)
                rows.append((*place, document, judged.detail, judged.half))
        if rows:
            self._database.execute("BEGIN")
            self._database.executemany("INSERT INTO problems VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            self._database.execute("COMMIT")

    def ended(self, session_ids: Iterable[str]) -> None:
        """Remember sessions whose events are to be counted."""
        self._database.execute("BEGIN")
        self._database.executemany(
            "INSERT OR IGNORE INTO ended VALUES (?)", ((session,) for session in session_ids)
        )
        self._database.execute("COMMIT")

    def ended_sessions(self, at_once: int) -> Iterator[list[str]]:
        """Yield the remembered sessions, ``at_once`` at a time."""
        last = ""
        while True:
            rows = self._database.execute(
                "SELECT session FROM ended WHERE session > ? ORDER BY session LIMIT ?",
                (last, at_once),
            ).fetchall()
            if not rows:
                return
            last = rows[-1][0]
            yield [row[0] for row in rows]

    def settle_suspects(self) -> None:
        """Decide the conflicts without a letter.

        Where the same half of the document is altered, it is the altered content that the
        copy differs from: the one problem is counted once. Elsewhere the dead letter is missing.
        """
        self._recount(_SUSPECTS_OF_ALTERED, Account.ALTERED)
        self._database.execute(
            "DELETE FROM problems WHERE account = 'suspect' AND (document, half) IN "
            "(SELECT document, half FROM problems WHERE account = 'altered')"
        )
        self._recount(_SUSPECTS, Account.MISSING)
        self._database.execute("UPDATE problems SET account = 'missing' WHERE account = 'suspect'")

    def _recount(self, query: str, account: Account) -> None:
        for topic, part, count in self._database.execute(query).fetchall():
            counts = self._counts[TopicPartition(topic, part)]
            counts[Account.SUSPECT] -= count
            counts[account] += count

    @property
    def counts(self) -> Mapping[TopicPartition, Counter[Account]]:
        """How many records of each partition have which account."""
        return self._counts

    def documents(self, account: Account) -> int:
        """Return how many documents the problems of a kind are about."""
        found = self._database.execute(
            "SELECT count(DISTINCT document) FROM problems WHERE account = ?", (account.value,)
        ).fetchone()
        return int(found[0])

    def listed(self, limit: int = -1) -> Iterator[Problem]:
        """Yield what is missing or altered by position, at most ``limit`` records."""
        rows = self._database.execute(
            "SELECT topic, part, place, account, document, detail FROM problems "
            "WHERE account IN ('missing', 'altered') ORDER BY topic, part, place LIMIT ?",
            (limit,),
        )
        for topic, part, place, account, document, detail in rows:
            yield Problem(
                Position(topic, part, place),
                Account(account),
                tuple(json.loads(document)) if document else None,
                detail,
            )
