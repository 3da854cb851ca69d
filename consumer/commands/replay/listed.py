"""Records listed by position in a file, one JSON object a line, as an audit emits them."""

from __future__ import annotations

import hashlib
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Annotated, BinaryIO

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from consumer.commands.replay.request import STANDARD_INPUT
from consumer.contract.record import Position, Record, TopicPartition
from consumer.errors import SettingsError
from consumer.kafka.ranges import OffsetRange

LONGEST_LINE = 1024 * 1024
"""Bytes of a line; a longer one is none of an audit's."""

ROWS_AT_ONCE = 10_000

Int64 = Annotated[int, Field(ge=0, lt=2**63)]


class Problem(StrEnum):
    """What an audit found of a record's document. ``unknown`` is a dead letter to send again."""

    MISSING = "missing"
    ALTERED = "altered"
    REPEATED = "repeated"
    UNKNOWN = "unknown"


class _Line(BaseModel):
    """One line; what else it says is for people."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    topic: Annotated[str, Field(min_length=1, strict=True)]
    partition: Annotated[Int64, Field(strict=True)]
    offset: Annotated[Int64, Field(strict=True)]
    problem: Problem


class ListedRecords:
    """``Selector`` of the records that a file lists; kept on disk, sorted by position.

    Of a record that is listed twice, ``altered`` counts. Without ``repair`` the altered ones
    are not wanted: applied, they could only conflict. Nor are those whose document is there
    more than once: nothing can be applied to one of them. ``repeated`` counts their lines.
    """

    def __init__(self, database: sqlite3.Connection, *, repair: bool) -> None:
        """Keep the list in ``database``."""
        self._database = database
        self._repair = repair
        self.digest = ""
        self.repeated = 0
        database.execute(
            "CREATE TABLE listed (topic TEXT, part INT, place INT, altered INT, "
            "PRIMARY KEY (topic, part, place)) WITHOUT ROWID"
        )

    def load(self, file: BinaryIO, name: str) -> None:
        """Read the whole file. Raises ``SettingsError`` with the number of a line that is wrong."""
        digest = hashlib.sha256()
        rows = self._wanted(_rows(_lines(file, digest, name), name))
        self._database.execute("BEGIN")
        while chunk := list(islice(rows, ROWS_AT_ONCE)):
            self._database.executemany(
                "INSERT INTO listed VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE "
                "SET altered = max(altered, excluded.altered)",
                chunk,
            )
        if not self._repair:
            self._database.execute("CREATE TABLE left_out (records INT)")
            self._database.execute("INSERT INTO left_out SELECT count(*) FROM listed WHERE altered")
            self._database.execute("DELETE FROM listed WHERE altered")
        self._database.execute("COMMIT")
        self.digest = digest.hexdigest()

    def _wanted(self, lines: Iterable[_Line]) -> Iterator[tuple[str, int, int, bool]]:
        for line in lines:
            if line.problem is Problem.REPEATED:
                self.repeated += 1
            else:
                altered = line.problem is Problem.ALTERED
                yield line.topic, line.partition, line.offset, altered

    @property
    def left_out(self) -> int:
        """How many altered records are listed and not wanted."""
        if self._repair:
            return 0
        return self._count("SELECT records FROM left_out")

    @property
    def topics(self) -> list[str]:
        """The topics of the wanted records."""
        return [row[0] for row in self._database.execute("SELECT DISTINCT topic FROM listed")]

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
        return self._count(
            "SELECT count(*) FROM listed WHERE topic = ? AND part = ? AND place >= ? AND place < ?",
            *part.partition,
            part.first,
            part.end,
        )

    def altered(self, position: Position) -> bool:
        """Tell whether the record's document is listed as altered."""
        return bool(
            self._count(
                "SELECT altered FROM listed WHERE topic = ? AND part = ? AND place = ?", *position
            )
        )

    def wants(self, record: Record) -> bool:
        """See ``Selector``."""
        found = self._database.execute(
            "SELECT 1 FROM listed WHERE topic = ? AND part = ? AND place = ?",
            (record.topic, record.partition, record.offset),
        )
        return found.fetchone() is not None

    def next_wanted(self, partition: TopicPartition, offset: int) -> int | None:
        """See ``Selector``."""
        found = self._database.execute(
            "SELECT min(place) FROM listed WHERE topic = ? AND part = ? AND place >= ?",
            (*partition, offset),
        ).fetchone()
        return None if found[0] is None else int(found[0])

    def _count(self, query: str, *values: str | int) -> int:
        found = self._database.execute(query, values).fetchone()
        return 0 if found is None else int(found[0])


def _lines(file: BinaryIO, digest: hashlib._Hash, name: str) -> Iterator[bytes]:
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            raise SettingsError(f"--file {name}, line {number}: longer than {LONGEST_LINE} bytes")
        digest.update(line)
        yield line


def _rows(lines: Iterable[bytes], name: str) -> Iterator[_Line]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield _Line.model_validate_json(line)
        except ValidationError as error:
            fields = sorted({str(found["loc"][0]) for found in error.errors() if found["loc"]})
            said = f"wrong or missing: {', '.join(fields)}" if fields else "not a JSON object"
            raise SettingsError(f"--file {name}, line {number}: {said}") from None


@contextmanager
def opened_list(name: str) -> Iterator[BinaryIO]:
    """Open the file, or standard input for ``-``. Raises ``SettingsError`` where it cannot be."""
    if name == STANDARD_INPUT:
        yield sys.stdin.buffer
        return
    with ExitStack() as stack:
        try:
            file = stack.enter_context(Path(name).open("rb"))
        except OSError as error:
            raise SettingsError(f"--file {name} cannot be read ({type(error).__name__})") from error
        yield file
