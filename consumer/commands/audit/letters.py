"""The dead letters of the group, indexed on disk by the record they are about."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence

from consumer.commands.audit.verdicts import DeadLetterEntry
from consumer.contract.dead_letter import origin_of
from consumer.contract.record import Position, Record
from consumer.contract.rejection import Reason
from consumer.kafka.range_reader import RangeReader

_PRESENT = "present"
"""Stands for a letter whose reason cannot be read: it accounts for its record all the same."""


class DeadLetterIndex:
    """Which records have a dead letter, and from when on that is known for certain.

    Only letters of ``group`` count: another one's say what another database holds.
    """

    def __init__(self, database: sqlite3.Connection, group: str) -> None:
        """Keep the index in ``database``."""
        self._database = database
        self._group = group
        self._complete_from_ms = 0
        self.count = 0
        database.execute(
            "CREATE TABLE letters (topic TEXT, part INT, place INT, reason TEXT, "
            "PRIMARY KEY (topic, part, place)) WITHOUT ROWID"
        )

    async def load(self, reader: RangeReader, topic: str) -> None:
        """Read the whole topic, anew. Raises ``TransientError`` while it cannot be read."""
        self._database.execute("DELETE FROM letters")
        self.count, self._complete_from_ms = 0, 0
        partitions = await reader.partitions_of([topic])
        ranges = await reader.ranges(partitions)
        firsts: dict[int, int] = {}
        async for partition, records in reader.read(ranges):
            firsts.setdefault(partition.partition, records[0].timestamp_ms)
            self._add(records)
        for part in ranges:
            if part.first > 0:
                # Older letters are gone; what is left begins at the first one's time.
                begins = firsts.get(part.partition.partition, int(time.time() * 1000))
                self._complete_from_ms = max(self._complete_from_ms, begins)

    def _add(self, records: Sequence[Record]) -> None:
        rows = []
        for record in records:
            info = origin_of(record.headers)
            if info is not None and info.group == self._group:
                rows.append((*info.origin, info.reason or _PRESENT))
        self.count += len(rows)
        self._database.executemany("INSERT OR REPLACE INTO letters VALUES (?, ?, ?, ?)", rows)

    def of(self, position: Position, timestamp_ms: int) -> DeadLetterEntry:
        """Return what is known of a record's dead letter.

        A letter is younger than its record, so that letters of a record that is younger than
        the oldest letter left cannot have expired. Where none has expired, no record's has,
        whatever its time; a record without one may be of any time.
        """
        found = self._database.execute(
            "SELECT reason FROM letters WHERE topic = ? AND part = ? AND place = ?", position
        ).fetchone()
        if found is None:
            some_are_gone = self._complete_from_ms > 0
            return DeadLetterEntry(
                None, expired=some_are_gone and timestamp_ms < self._complete_from_ms
            )
        reason = Reason.UNDECODABLE if found[0] == _PRESENT else Reason(found[0])
        return DeadLetterEntry(reason, expired=False)
