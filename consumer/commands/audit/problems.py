"""What an audit has found, counted in memory and listed on disk."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from consumer.commands.audit.verdicts import PROBLEMS, AuditResult, Judgement
from consumer.commands.common.record_list import ListedRecord, RecordProblem
from consumer.contract.record import Position, TopicPartition

_OF_ALTERED = (
    "result = ? AND (document, written) IN "
    "(SELECT document, written FROM problems WHERE result = 'altered')"
)

LISTED = (*PROBLEMS, AuditResult.SUSPECT)


class ProblemList:
    """Counts by partition, and what is wrong with which record."""

    def __init__(self, database: sqlite3.Connection) -> None:
        """Keep the lists in ``database``."""
        self._database = database
        self._counts: dict[TopicPartition, Counter[AuditResult]] = {}
        database.execute(
            "CREATE TABLE problems (topic TEXT, part INT, place INT, result TEXT, "
            "document TEXT, detail TEXT, written TEXT, "
            "PRIMARY KEY (topic, part, place)) WITHOUT ROWID"
        )

    def add(self, partition: TopicPartition, found: Iterable[tuple[Position, Judgement]]) -> None:
        """Count the records of a batch and list those with a problem."""
        counts = self._counts.setdefault(partition, Counter())
        rows = []
        for position, judged in found:
            counts[judged.result] += 1
            if judged.result in LISTED:
                document = json.dumps(judged.document) if judged.document else None
                place = (*position, judged.result.value)
                rows.append((*place, document, judged.detail, judged.part))
        if rows:
            self._database.executemany("INSERT INTO problems VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def settle_suspects(self) -> None:
        """Decide the conflicts without a letter, whether or not it may have expired.

        Where the same part of the document is altered, it is the altered content that the
        copy differs from: the one problem is counted once. Elsewhere the dead letter is missing.
        """
        for result in (AuditResult.SUSPECT, AuditResult.UNKNOWN):
            self._recount(_OF_ALTERED, result, AuditResult.ALTERED)
            self._database.execute(f"DELETE FROM problems WHERE {_OF_ALTERED}", (result.value,))  # noqa: S608 -- a constant
        self._recount("result = ?", AuditResult.SUSPECT, AuditResult.MISSING)
        self._database.execute("UPDATE problems SET result = 'missing' WHERE result = 'suspect'")

    def _recount(self, condition: str, was: AuditResult, result: AuditResult) -> None:
        found = self._database.execute(
            f"SELECT topic, part, count(*) FROM problems WHERE {condition} GROUP BY topic, part",  # noqa: S608 -- a constant
            (was.value,),
        )
        for topic, part, count in found.fetchall():
            counts = self._counts[TopicPartition(topic, part)]
            counts[was] -= count
            counts[result] += count

    @property
    def counts(self) -> Mapping[TopicPartition, Counter[AuditResult]]:
        """How many records of each partition have which result."""
        return self._counts

    def documents(self, result: AuditResult) -> int:
        """Return how many documents the problems of a kind are about."""
        found = self._database.execute(
            "SELECT count(DISTINCT document) FROM problems WHERE result = ?", (result.value,)
        ).fetchone()
        return int(found[0])

    def listed(self, limit: int = -1) -> Iterator[ListedRecord]:
        """Yield what was found by position, at most ``limit`` records."""
        rows = self._database.execute(
            "SELECT topic, part, place, result, document, detail FROM problems "
            "WHERE result <> 'suspect' ORDER BY topic, part, place LIMIT ?",
            (limit,),
        )
        for topic, part, place, account, document, detail in rows:
            yield ListedRecord(
                topic=topic,
                partition=part,
                offset=place,
                problem=RecordProblem(account),
                document=tuple(json.loads(document)) if document else None,
                detail=detail,
            )
