"""A file that lists records, one JSON object a line: written by an audit, read by a replay."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from consumer.contract.record import OffsetRange, Position, Record, TopicPartition
from consumer.errors import SettingsError

STANDARD_INPUT = "-"

LONGEST_LINE = 1024 * 1024
"""Bytes of a line; a longer one is none of an audit's."""

Int64 = Annotated[int, Field(ge=0, lt=2**63, strict=True)]


class RecordProblem(StrEnum):
    """What an audit found of a record's document. ``unknown`` is a dead letter to send again."""

    MISSING = "missing"
    ALTERED = "altered"
    REPEATED = "repeated"
    UNKNOWN = "unknown"


class ListedRecord(BaseModel):
    """One line of the file: one record with a problem.

    ``document``, its identity, and ``detail`` are for people.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    topic: Annotated[str, Field(min_length=1, strict=True)]
    partition: Int64
    offset: Int64
    problem: RecordProblem
    document: Any = None
    detail: Any = ""

    @property
    def position(self) -> Position:
        """Where the record lies."""
        return Position(self.topic, self.partition, self.offset)

    def line(self) -> str:
        """Return the line, in ASCII."""
        return json.dumps(self.model_dump()) + "\n"


class ListedRecords:
    """``RecordFilter`` of the records that a file lists; kept on disk, sorted by position.

    Of a record that is listed twice, ``altered`` counts. Without ``repair`` the altered ones
    are not wanted: applied, they could only conflict. Nor are those whose document is there
    more than once: nothing can be applied to one of them. ``repeated`` counts their lines and
    ``left_out`` the altered records that are not wanted.
    """

    def __init__(self, database: sqlite3.Connection, *, repair: bool) -> None:
        """Keep the list in ``database``, a scratch database."""
        self._database = database
        self._repair = repair
        self.digest = ""
        self.repeated = 0
        self.left_out = 0
        database.execute(
            "CREATE TABLE listed (topic TEXT, part INT, place INT, altered INT, "
            "PRIMARY KEY (topic, part, place)) WITHOUT ROWID"
        )

    def load(self, file: BinaryIO, name: str) -> None:
        """Read the whole file. Raises ``SettingsError`` with the number of a line that is wrong."""
        digest = hashlib.sha256()
        self._database.executemany(
            "INSERT INTO listed VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE "
            "SET altered = max(altered, excluded.altered)",
            self._wanted(_records(file, digest, name)),
        )
        if not self._repair:
            self.left_out = self._database.execute("DELETE FROM listed WHERE altered").rowcount
        self.digest = digest.hexdigest()

    def _wanted(self, records: Iterable[ListedRecord]) -> Iterator[tuple[str, int, int, bool]]:
        for one in records:
            if one.problem is RecordProblem.REPEATED:
                self.repeated += 1
            else:
                yield one.topic, one.partition, one.offset, one.problem is RecordProblem.ALTERED

    def ranges(self) -> list[OffsetRange]:
        """Return what the wanted records of each partition span."""
        rows = self._database.execute(
            "SELECT topic, part, min(place), max(place) + 1 FROM listed GROUP BY topic, part"
        )
        return [
            OffsetRange(TopicPartition(topic, part), first, end) for topic, part, first, end in rows
        ]

    def wanted_in(self, part: OffsetRange) -> int:
        """Return how many wanted records the list has in a range."""
        query = "SELECT count(*) FROM listed WHERE topic = ? AND part = ? AND place BETWEEN ? AND ?"
        return self._first(query, *part.partition, part.first, part.end - 1) or 0

    def altered(self, position: Position) -> bool:
        """Tell whether the record's document is listed as altered."""
        return bool(self._altered(position))

    def matches(self, record: Record) -> bool:
        """See ``RecordFilter``."""
        return self._altered(record.position) is not None

    def _altered(self, position: Position) -> int | None:
        query = "SELECT altered FROM listed WHERE topic = ? AND part = ? AND place = ?"
        return self._first(query, *position)

    def next_match(self, partition: TopicPartition, offset: int) -> int | None:
        """See ``RecordFilter``."""
        query = "SELECT min(place) FROM listed WHERE topic = ? AND part = ? AND place >= ?"
        return self._first(query, *partition, offset)

    def _first(self, query: str, *values: str | int) -> int | None:
        (found,) = self._database.execute(query, values).fetchone() or (None,)
        return None if found is None else int(found)


def _records(file: BinaryIO, digest: hashlib._Hash, name: str) -> Iterator[ListedRecord]:
    lines = iter(lambda: file.readline(LONGEST_LINE + 1), b"")
    for number, line in enumerate(lines, 1):
        if len(line) > LONGEST_LINE:
            raise SettingsError(f"--file {name}, line {number}: longer than {LONGEST_LINE} bytes")
        digest.update(line)
        if not line.strip():
            continue
        try:
            yield ListedRecord.model_validate_json(line)
        except ValidationError as error:
            fields = sorted({str(found["loc"][0]) for found in error.errors() if found["loc"]})
            said = f"wrong or missing: {', '.join(fields)}" if fields else "not a JSON object"
            raise SettingsError(f"--file {name}, line {number}: {said}") from None


@contextmanager
def open_record_list(name: str) -> Iterator[BinaryIO]:
    """Open the file, or standard input for ``-``. Raises ``SettingsError`` where it cannot be."""
    if name == STANDARD_INPUT:
        if sys.stdin is None:
            raise SettingsError("--file -: standard input is closed; name a file")
        yield sys.stdin.buffer
        return
    try:
        file = Path(name).open("rb")  # noqa: SIM115 -- closed below
    except OSError as error:
        raise SettingsError(f"--file {name} cannot be read ({error.strerror})") from error
    with file:
        yield file
