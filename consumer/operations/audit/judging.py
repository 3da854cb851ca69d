"""Looks up what should hold each record of a batch, and has it judged."""

from __future__ import annotations

import asyncio
import random
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeVar

from consumer.contract.decode import Decoded, Tombstone, decode
from consumer.contract.key_policy import KeyPolicy
from consumer.contract.record import Record, TopicPartition
from consumer.contract.rejection import Rejected
from consumer.engine.retry import Backoff
from consumer.errors import TransientError
from consumer.observe.logging import get_logger
from consumer.operations.audit.accounts import (
    SKIPPED,
    Judged,
    by_event,
    events_of,
    rejected,
    stored,
)
from consumer.operations.audit.letters import LettersOnDisk
from consumer.state.bson_content import Stored
from consumer.state.retention import FOR_EVER, Retention
from consumer.state.writes import EventWrite, Write, plan
from consumer.store.collections import Collections
from consumer.stream.range_reader import RangeReader
from consumer.stream.ranges import OffsetRange

FINDS_AT_ONCE = 8
MAX_IN_ONE_FIND = 500

T = TypeVar("T")

Found = Iterator[tuple[tuple[str, str], Stored]]


@dataclass(frozen=True, slots=True)
class JudgedRecord:
    """A record, what it should have written (None: nothing, by policy), and its account."""

    record: Record
    write: Write | Rejected | None
    judged: Judged

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


async def read_through(
    reader: RangeReader, ranges: Iterable[OffsetRange], backoff: Backoff
) -> AsyncIterator[tuple[TopicPartition, Sequence[Record]]]:
    """Yield the records of all ranges as ``RangeReader.read`` does, over any outage."""
    left = {part.partition: part for part in ranges}
    attempt = 0
    while True:
        try:
            async for partition, records in reader.read(list(left.values())):
                attempt = 0
                yield partition, records
                left[partition] = replace(left[partition], first=records[-1].offset + 1)
        except TransientError as error:
            attempt += 1
            get_logger().warning("waiting_for_server", server="Kafka", cause=error.cause)
            await asyncio.sleep(backoff.delay(attempt, random.random()))  # noqa: S311 -- jitter
        else:
            return


class RecordJudge:
    """Judges records by the documents and dead letters that are there now."""

    def __init__(
        self,
        collections: Collections,
        letters: LettersOnDisk,
        retention: Retention | None,
        max_value_bytes: int,
        backoff: Backoff,
    ) -> None:
        """``letters`` must have been loaded; ``max_value_bytes`` is the setting."""
        self._collections = collections
        self._letters = letters
        self._retention = retention
        self._max_value_bytes = max_value_bytes
        self._backoff = backoff
        self._finds = asyncio.Semaphore(FINDS_AT_ONCE)

    async def judged(self, records: Sequence[Record]) -> list[JudgedRecord]:
        """Judge a batch, in its order. Waits while the store cannot answer."""
        return await answered("MongoDB", lambda: self._judged_now(records), self._backoff)

    async def _judged_now(self, records: Sequence[Record]) -> list[JudgedRecord]:
        planned = [(record, self._planned(record)) for record in records]
        writes = [write for _, write in planned if not isinstance(write, Rejected | None)]
        events = await self._events(writes)
        sessions = await self._sessions({write.session_id for write in writes})
        return [
            JudgedRecord(record, write, self._judged(record, write, events, sessions))
            for record, write in planned
        ]

    def _planned(self, record: Record) -> Write | Rejected | None:
        """Return what the record writes; None: nothing, by policy."""
        # A key that differs was dead-lettered or not, as the policy was then: both are fine.
        decoded = decode(record, KeyPolicy.WARN, self._max_value_bytes)
        match decoded:
            case Rejected():
                return decoded
            case Tombstone():
                return None
            case Decoded():
                lifetime = FOR_EVER
                if self._retention is not None:
                    lifetime = self._retention.lifetime(record, datetime.now(UTC))
                if lifetime.over:
                    return None
                return plan(decoded.message, record, lifetime.expire_at)

    def _judged(
        self,
        record: Record,
        write: Write | Rejected | None,
        events: Mapping[tuple[str, str], Sequence[Stored]],
        sessions: Mapping[str, Sequence[Stored]],
    ) -> Judged:
        if write is None:
            return SKIPPED
        letter = self._letters.of(record.position, record.timestamp_ms)
        if isinstance(write, Rejected):
            return rejected(letter)
        session = sessions.get(write.session_id, ())
        if isinstance(write, EventWrite):
            key = write.session_id, write.event_id
            return stored(write, events.get(key, ()), session, letter)
        return stored(write, session, session, letter)

    async def _events(self, writes: Iterable[Write]) -> dict[tuple[str, str], list[Stored]]:
        async def find(session_id: str, asked: Sequence[EventWrite]) -> Found:
            async with self._finds:
                event_ids = list({write.event_id for write in asked})
                found = self._collections.find_events(session_id, event_ids)
                documents = [document async for document in found]
            return by_event(asked, documents)

        parts = [
            find(session_id, asked[start : start + MAX_IN_ONE_FIND])
            for session_id, asked in events_of(writes).items()
            for start in range(0, len(asked), MAX_IN_ONE_FIND)
        ]
        documents: dict[tuple[str, str], list[Stored]] = {}
        for found in await asyncio.gather(*parts):
            for key, document in found:
                documents.setdefault(key, []).append(document)
        return documents

    async def _sessions(self, session_ids: set[str]) -> dict[str, list[Stored]]:
        wanted = list(session_ids)
        found: dict[str, list[Stored]] = {}
        for start in range(0, len(wanted), MAX_IN_ONE_FIND):
            part = wanted[start : start + MAX_IN_ONE_FIND]
            async for document in self._collections.find_sessions(part):
                session_id = document["sessionId"]
                if isinstance(session_id, str):
                    found.setdefault(session_id, []).append(document)
        return found
