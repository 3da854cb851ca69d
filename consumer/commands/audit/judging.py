"""Looks up what should hold each record of a batch, and has it judged."""

from __future__ import annotations

import asyncio
import random
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeVar

from consumer.aio import Backoff
from consumer.commands.audit.letters import DeadLetterIndex
from consumer.commands.audit.verdicts import (
    SKIPPED,
    AuditResult,
    DeadLetterEntry,
    Judgement,
    judge_rejected,
    judge_repeated,
    judge_stored,
)
from consumer.contract.decode import Decoded, Tombstone, decode
from consumer.contract.record import Record, TopicPartition
from consumer.contract.rejection import KeyPolicy, Rejected
from consumer.errors import TransientError
from consumer.kafka.range_reader import RangeReader
from consumer.kafka.ranges import OffsetRange
from consumer.mongo.collections import Collections
from consumer.mongo.duplicates import Asked, LookUp, judged_session_fields
from consumer.observability.logs import get_logger
from consumer.state.bson_compare import Stored
from consumer.state.retention import FOR_EVER, Retention
from consumer.state.writes import ActivityWrite, EventWrite, Write, plan

_EVEN_IF_OVER = (AuditResult.APPLIED, AuditResult.ALTERED)
"""What is said of a document that is there, though by its record's time it need not be."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class JudgedRecord:
    """A record, what it should have written (None: nothing, by policy), and its account."""

    record: Record
    write: Write | Rejected | None
    judgement: Judgement

    @property
    def session_id(self) -> str | None:
        """The session that the record is about: where it says none, its key."""
        if not isinstance(self.write, Rejected | None):
            return self.write.session_id
        return None if self.record.key is None else self.record.key.decode(errors="replace")


async def answered(server: str, ask: Callable[[], Awaitable[T]], backoff: Backoff) -> T:
    """Ask until there is an answer, for ever, as a run does that has begun.

    What was found so far would be lost with the command.
    """
    attempt = 0
    while True:
        try:
            return await ask()
        except TransientError as error:
            attempt += 1
            get_logger().warning("waiting_for_server", server=server, cause=error.cause)
            await asyncio.sleep(backoff.delay(attempt, random.random()))  # noqa: S311 -- jitter


async def over_outages(
    server: str, read_on: Callable[[], AsyncIterator[T]], backoff: Backoff
) -> AsyncIterator[T]:
    """Yield all that ``read_on`` yields, calling it anew behind what came before each outage."""
    attempt = 0
    while True:
        try:
            async for item in read_on():
                attempt = 0
                yield item
        except TransientError as error:
            attempt += 1
            get_logger().warning("waiting_for_server", server=server, cause=error.cause)
            await asyncio.sleep(backoff.delay(attempt, random.random()))  # noqa: S311 -- jitter
        else:
            return


async def read_through(
    reader: RangeReader, ranges: Iterable[OffsetRange], backoff: Backoff
) -> AsyncIterator[tuple[TopicPartition, Sequence[Record]]]:
    """Yield the records of all ranges as ``RangeReader.read`` does, over any outage."""
    left = {part.partition: part for part in ranges}
    found = over_outages("Kafka", lambda: reader.read(list(left.values())), backoff)
    async for partition, records in found:
        yield partition, records
        left[partition] = replace(left[partition], first=records[-1].offset + 1)


class RecordJudge:
    """Judges records by the documents and dead letters that are there now."""

    def __init__(
        self,
        collections: Collections,
        letters: DeadLetterIndex,
        retention: Retention | None,
        max_value_bytes: int,
        backoff: Backoff,
    ) -> None:
        """``letters`` must have been loaded; ``max_value_bytes`` is the setting."""
        self._lookup = LookUp(collections)
        self._letters = letters
        self._retention = retention
        self._max_value_bytes = max_value_bytes
        self._backoff = backoff

    async def judged(self, records: Sequence[Record]) -> list[JudgedRecord]:
        """Judge a batch, in its order. Waits while the store cannot answer."""
        return await answered("MongoDB", lambda: self._judged_now(records), self._backoff)

    async def _judged_now(self, records: Sequence[Record]) -> list[JudgedRecord]:
        planned = [(record, *self._planned(record)) for record in records]
        writes = [write for _, write, _ in planned if not isinstance(write, Rejected | None)]
        sessions = await self._sessions(writes)
        places = [
            _Place(write, sessions.get(write.session_id, ()), self._letter_of(record), over=over)
            for record, write, over in planned
            if not isinstance(write, Rejected | None)
        ]
        await self._ask(Asked(place.write, place.tell, _fields(place.write)) for place in places)
        found = iter(places)
        return [
            JudgedRecord(
                record,
                write,
                self._without_document(record, write)
                if isinstance(write, Rejected | None)
                else next(found).judged(),
            )
            for record, write, _ in planned
        ]

    async def _ask(self, asked: Iterable[Asked]) -> None:
        for error in await self._lookup.ask(asked):
            raise error

    async def _sessions(self, writes: Iterable[Write]) -> Mapping[str, Sequence[Stored]]:
        """Return what is judged of the sessions of events: no more than their status."""
        found: dict[str, list[Stored]] = {}

        def collected(session_id: str) -> Asked:
            def tell(document: Stored | None) -> None:
                if document is not None:
                    found.setdefault(session_id, []).append(document)

            write = ActivityWrite(session_id)
            return Asked(write, tell, judged_session_fields(write))

        ids = dict.fromkeys(write.session_id for write in writes if isinstance(write, EventWrite))
        await self._ask(map(collected, ids))
        return found

    def _letter_of(self, record: Record) -> DeadLetterEntry:
        return self._letters.of(record.position, record.timestamp_ms)

    def _without_document(self, record: Record, write: Rejected | None) -> Judgement:
        return SKIPPED if write is None else judge_rejected(self._letter_of(record))

    def _planned(self, record: Record) -> tuple[Write | Rejected | None, bool]:
        """Return what the record writes (None: nothing, by policy), and whether that is over.

        What is over was not written, or has expired, unless it was kept for longer then.
        """
        # A key that differs was dead-lettered or not, as the policy was then: both are fine.
        decoded = decode(record, KeyPolicy.WARN, self._max_value_bytes)
        match decoded:
            case Rejected():
                return decoded, False
            case Tombstone():
                return None, False
            case Decoded():
                lifetime = FOR_EVER
                if self._retention is not None:
                    lifetime = self._retention.lifetime(record, datetime.now(UTC))
                write = plan(decoded.message, record, lifetime.expire_at)
                if lifetime.over and isinstance(write, Rejected):
                    return None, True
                return write, lifetime.over


class _Place:
    """What is found under the identity of one write: judged as it comes, and then let go."""

    def __init__(
        self, write: Write, sessions: Sequence[Stored], letter: DeadLetterEntry, *, over: bool
    ) -> None:
        self.write = write
        self._over = over
        self._sessions = sessions
        self._letter = letter
        self._found: list[Judgement] = []

    def tell(self, document: Stored | None) -> None:
        self._found.append(judge_stored(self.write, document, self._sessions, self._letter))

    def judged(self) -> Judgement:
        if len(self._found) > 1:
            return judge_repeated(self.write, len(self._found))
        (found,) = self._found
        return SKIPPED if self._over and found.result not in _EVEN_IF_OVER else found


def _fields(write: Write) -> tuple[str, ...]:
    """Return what is read of a session: by what a write is judged, and all that it has written."""
    if isinstance(write, EventWrite):
        return ()
    return tuple(sorted({*judged_session_fields(write), *write.content.keys()}))
