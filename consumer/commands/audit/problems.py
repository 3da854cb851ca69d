"""What an audit has found, counted in memory and listed on disk."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from consumer.commands.audit.accounts import FINDINGS, Account, Identity, Judged
from consumer.contract.record import Position, TopicPartition

_OF_ALTERED = (
    "account = ? AND (document, half) IN "
    "(SELECT document, half FROM problems WHERE account = 'altered')"
)

LISTED = (*FINDINGS, Account.SUSPECT)


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
    """Counts by partition, and what is wrong with which record."""

    def __init__(self, database: sqlite3.Connection) -> None:
        """Keep the lists in ``database``."""
        self._database = database
        self._counts: dict[TopicPartition, Counter[Account]] = {}
        database.execute(
            "CREATE TABLE problems (topic TEXT, part INT, place INT, account TEXT, "
            "document TEXT, detail TEXT, half TEXT, PRIMARY KEY (topic, part, place)) WITHOUT ROWID"
        )

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

    def settle_suspects(self) -> None:
        """Decide the conflicts without a letter, whether or not it may have expired.

        Where the same half of the document is altered, it is the altered content that the
        copy differs from: the one problem is counted once. Elsewhere the dead letter is missing.
        """
        for account in (Account.SUSPECT, Account.UNKNOWN):
            self._recount(_OF_ALTERED, account, Account.ALTERED)
            self._database.execute(f"DELETE FROM problems WHERE {_OF_ALTERED}", (account.value,))  # noqa: S608 -- a constant
        self._recount("account = ?", Account.SUSPECT, Account.MISSING)
        self._database.execute("UPDATE problems SET account = 'missing' WHERE account = 'suspect'")

    def _recount(self, condition: str, was: Account, account: Account) -> None:
        found = self._database.execute(
            f"SELECT topic, part, count(*) FROM problems WHERE {condition} GROUP BY topic, part",  # noqa: S608 -- a constant
            (was.value,),
        )
        for topic, part, count in found.fetchall():
            counts = self._counts[TopicPartition(topic, part)]
            counts[was] -= count
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
        """Yield what was found by position, at most ``limit`` records."""
        rows = self._database.execute(
            "SELECT topic, part, place, account, document, detail FROM problems "
            "WHERE account <> 'suspect' ORDER BY topic, part, place LIMIT ?",
            (limit,),
        )
        for topic, part, place, account, document, detail in rows:
            yield Problem(
                Position(topic, part, place),
                Account(account),
                tuple(json.loads(document)) if document else None,
                detail,
            )
