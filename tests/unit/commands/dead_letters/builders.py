"""Letters as the consumer writes them, and what stands in for the brokers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast

from consumer.commands.common.scratch import scratch_database
from consumer.commands.dead_letters.context import DeadLetterContext
from consumer.commands.dead_letters.dead_letter_record import (
    AnyDeadLetter,
    DeadLetterRecord,
    read_dead_letter,
)
from consumer.commands.dead_letters.dead_letter_selection import (
    DeadLetterRequest,
    DeadLetterSelection,
)
from consumer.commands.dead_letters.dead_letter_status import StatusIndex
from consumer.commands.dead_letters.redrive_and_discard import DeadLetterRun, RunOptions
from consumer.commands.dead_letters.redrive_policy import RedrivePolicy
from consumer.commands.dead_letters.transform import Transform
from consumer.contract.dead_letter import dead_letter, truncate
from consumer.contract.record import Headers, Position, Record
from consumer.contract.rejection import Reason, Rejected
from consumer.kafka.admin import TopicDescription
from consumer.kafka.producer import Delivery, OutgoingRecord, Producer
from consumer.settings.model import DeadLetterSettings, Settings

EVENTS = "conversation.events"
LETTERS = "conversation.dead-letters"
PARKING = "conversation.parking"
ORIGIN = Position(EVENTS, 0, 0)
STATUS_TOPIC = "conversation.dead-letters.redriven"
STAMPED_MS = 1772618400000
"""2026-03-04T10:00:00Z."""
NOW = datetime(2026, 3, 5, 12, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
FAILED_AT = datetime(2026, 3, 4, 10, 30, tzinfo=UTC)
LARGE = 1024 * 1024

EVENT: dict[str, Any] = {
    "type": "event.recorded",
    "sessionId": "s-1",
    "eventId": "e-1",
    "eventType": "user_speech",
    "payload": {"text": "hello"},
}


def event(**changes: object) -> bytes:
    return json.dumps({**EVENT, **changes}).encode()


EVENT_BYTES = event()


@dataclass(slots=True)
class DeadLetterLog:
    """A dead-letter topic of one partition, written by the consumer's own contract."""

    records: list[Record] = field(default_factory=list)

    def add(
        self,
        *,
        key: bytes | None = b"s-1",
        value: bytes | None = EVENT_BYTES,
        headers: Headers = (),
        origin: Position = ORIGIN,
        timestamp_ms: int = STAMPED_MS,
        attempt: int = 1,
        **failure: Any,
    ) -> DeadLetterRecord:
        """Dead-letter a record; it has failed ``attempt`` times with this."""
        earlier: Headers = ()
        if attempt > 1:
            earlier = (("dlq-attempt", str(attempt - 1).encode()),)
        return self.fail(Record(*origin, timestamp_ms, key, value, headers + earlier), **failure)

    def fail(
        self,
        failed: Record,
        *,
        reason: Reason = Reason.INVALID,
        detail: str = "timestamp: missing",
        failed_at: datetime = FAILED_AT,
        max_bytes: int = LARGE,
    ) -> DeadLetterRecord:
        """Dead-letter this record."""
        written = dead_letter(
            failed,
            Rejected(reason, detail),
            group="g",
            failed_at=failed_at,
            consumer_version="1.0",
        )
        written = truncate(written, max_bytes)
        read = read_dead_letter(self.append(written.key, written.value, written.headers))
        assert isinstance(read, DeadLetterRecord)
        return read

    def append(self, key: bytes | None, value: bytes | None, headers: Headers) -> Record:
        record = Record(LETTERS, 0, len(self.records), NOW_MS, key, value, headers)
        self.records.append(record)
        return record

    def copy(self, index: int) -> None:
        """Append the same letter again, as a consumer does that crashed before it committed."""
        original = self.records[index]
        self.append(original.key, original.value, original.headers)

    async def batches(self, size: int = 500) -> AsyncIterator[Sequence[AnyDeadLetter]]:
        for start in range(0, len(self.records), size):
            yield [read_dead_letter(record) for record in self.records[start : start + size]]


@contextmanager
def open_status_index() -> Iterator[StatusIndex]:
    """Open an empty one, as a process has it at its start."""
    with scratch_database() as database:
        yield StatusIndex(database)


def a_letter(**changes: Any) -> DeadLetterRecord:
    return DeadLetterLog().add(**changes)


def topic(**configs: object) -> TopicDescription:
    """The topic of events; by default it keeps records for ever."""
    told = {"retention_ms": -1} | configs
    named = {name.replace("_", "."): str(value) for name, value in told.items()}
    return TopicDescription(EVENTS, 6, 1, named)


class FakeProducer(Producer):
    """Topics in memory. ``answer`` may say something else than "acknowledged"."""

    def __init__(
        self, answer: Callable[[OutgoingRecord], Delivery | None] = lambda _: None
    ) -> None:
        self.answer = answer
        self.topics: dict[str, list[OutgoingRecord]] = {}
        self.sends: list[int] = []
        """How many records each call brought."""

    async def send(self, records: Sequence[OutgoingRecord]) -> list[Delivery]:
        self.sends.append(len(records))
        return [self.answer(record) or self._append(record) for record in records]

    def _append(self, record: OutgoingRecord) -> Position:
        log = self.topics.setdefault(record.topic, [])
        log.append(record)
        return Position(record.topic, record.partition or 0, len(log) - 1)

    def sent(self, topic: str = EVENTS) -> list[OutgoingRecord]:
        return self.topics.get(topic, [])


def a_context(
    statuses: StatusIndex,
    topics: Iterable[TopicDescription] | None = None,
    *,
    parked: bool = False,
) -> DeadLetterContext:
    """Dead letters beside these topics; by default those of events, and where they are parked."""
    settings = Settings(dead_letters=DeadLetterSettings(parking_topic=PARKING))
    request = DeadLetterRequest(settings, DeadLetterSelection(), parked)
    there = [topic(), replace(topic(), name=PARKING)] if topics is None else topics
    named = {one.name: one for one in (replace(topic(), name=LETTERS), *there)}
    return DeadLetterContext(request, named, cast("Any", None), statuses)


def a_redrive(
    statuses: StatusIndex,
    producer: Producer | None,
    *,
    topics: Iterable[TopicDescription] | None = None,
    parked: bool = False,
    transform: Transform | None = None,
    **changes: Any,
) -> DeadLetterRun:
    """A redrive of these; ``changes`` are its options, or the run's own."""
    context = a_context(statuses, topics, parked=parked)
    names = {"taken", "limit", "rate", "dry_run"} & changes.keys()
    options = RunOptions(**{name: changes.pop(name) for name in names})
    decide = RedrivePolicy(context, transform).decide
    return DeadLetterRun(context, decide, producer, options, now=lambda: NOW, **changes)
