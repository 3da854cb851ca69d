"""A dead-letter topic for one test, a consumer in one step, and the command line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiokafka import AIOKafkaProducer
from typer.testing import CliRunner

from consumer.cli import app
from consumer.contract.dead_letter import DeadLetter, dead_letter
from consumer.contract.decode import Decoded, decode
from consumer.contract.record import Record, TopicPartition
from consumer.contract.rejection import KeyPolicy, Reason, Rejected
from consumer.errors import ConsumerError
from consumer.kafka.dead_letter_topic import (
    dead_letters_to,
)
from consumer.kafka.range_reader import open_range_reader
from consumer.kafka.ranges import Bounds
from consumer.settings.model import DeadLetterSettings, KafkaSettings

PARTITIONS = 3
STAMPED_MS = 1772618400000
"""2026-03-04T10:00:00Z."""
EVENT: dict[str, Any] = {
    "type": "event.recorded",
    "sessionId": "sess-c14",
    "eventId": "e-1",
    "eventType": "user_speech",
    "payload": {"text": "hello"},
}


def event(event_id: str = "e-1", **changes: object) -> bytes:
    return json.dumps({**EVENT, "eventId": event_id, **changes}).encode()


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def results(self) -> list[dict[str, Any]]:
        """The JSON objects on standard output."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def result(self) -> dict[str, Any]:
        """The last of them."""
        return self.results[-1]


@dataclass
class DeadLetterTopics:
    """Topics of one test, and what is done with them."""

    servers: str
    name: str
    environment: dict[str, str] = field(default_factory=dict)
    consumed: dict[TopicPartition, int] = field(default_factory=dict)
    """Where the consumer stands."""

    @property
    def events(self) -> str:
        return f"{self.name}.events"

    @property
    def letters(self) -> str:
        return f"{self.name}.letters"

    @property
    def state(self) -> str:
        return f"{self.name}.letters.redriven"

    @property
    def parking(self) -> str:
        return f"{self.name}.parking"

    @property
    def kafka(self) -> KafkaSettings:
        return KafkaSettings(
            bootstrap_servers=tuple(self.servers.split(",")), topics=(self.events,)
        )

    def run(self, command: str, *arguments: str) -> Ran:
        """Run a command on these topics, in this process."""
        environment = {
            "CONSUMER_KAFKA__BOOTSTRAP_SERVERS": self.servers,
            "CONSUMER_KAFKA__TOPICS": self.events,
            "CONSUMER_DEAD_LETTERS__TOPIC": self.letters,
            "CONSUMER_DEAD_LETTERS__PARKING_TOPIC": self.parking,
            **self.environment,
        }
        done = CliRunner().invoke(app, ["dead-letters", command, *arguments], env=environment)
        error = done.exception
        if isinstance(error, ConsumerError):
            return Ran(error.exit_code, done.stdout, f"{done.stderr}{error}\n")
        if error is not None and not isinstance(error, SystemExit):
            raise error
        return Ran(done.exit_code, done.stdout, done.stderr)

    def produce(self, *records: Record) -> None:
        """Publish records as their producers do: a null key goes to the partition given."""

        async def produce() -> None:
            producer = AIOKafkaProducer(bootstrap_servers=self.servers)
            await producer.start()
            try:
                for record in records:
                    await producer.send_and_wait(
                        record.topic,
                        record.value,
                        record.key,
                        record.partition if record.key is None else None,
                        record.timestamp_ms,
                        list(record.headers),
                    )
            finally:
                await producer.stop()

        asyncio.run(produce())

    def event(self, value: bytes, key: bytes | None = b"sess-c14", **changes: Any) -> Record:
        """A record for the topic of events."""
        return Record(
            self.events,
            changes.get("partition", 0),
            0,
            changes.get("timestamp_ms", STAMPED_MS),
            key,
            value,
            changes.get("headers", ()),
        )

    def read(self, topic: str) -> list[Record]:
        """Everything that lies in a topic, by partition."""

        async def read() -> list[Record]:
            async with open_range_reader(self.kafka) as reader:
                ranges = await reader.ranges([topic], Bounds())
                found = [record async for _, some in reader.read(ranges) for record in some]
            return sorted(found, key=lambda record: record.position)

        return asyncio.run(read())

    def consume(self, policy: KeyPolicy = KeyPolicy.WARN) -> tuple[list[Decoded], int]:
        """Read on as the consumer does; return what is right, and how many letters were sent."""
        fresh = [
            record
            for record in self.read(self.events)
            if record.offset >= self.consumed.get(record.topic_partition, 0)
        ]
        for record in fresh:
            self.consumed[record.topic_partition] = record.offset + 1
        decoded = [(record, decode(record, policy)) for record in fresh]
        wrong = [(record, said) for record, said in decoded if isinstance(said, Rejected)]
        self.dead_letter(*wrong)
        return [said for _, said in decoded if isinstance(said, Decoded)], len(wrong)

    def dead_letter(
        self, *rejected: tuple[Record, Rejected], max_bytes: int = 1024 * 1024
    ) -> Sequence[DeadLetter]:
        """Send dead letters as the consumer does."""
        letters = [
            dead_letter(
                record,
                why,
                group=self.name,
                failed_at=datetime.now(UTC),
                consumer_version="1.0",
            )
            for record, why in rejected
        ]
        settings = DeadLetterSettings(
            topic=self.letters, idempotent=False, max_request_bytes=max_bytes
        )

        async def send() -> None:
            sender = dead_letters_to(self.kafka, settings)
            await sender.send(list(letters))
            await sender.close()

        asyncio.run(send())
        return letters

    def reject(
        self, count: int, *, reason: Reason = Reason.INVALID, **changes: Any
    ) -> Sequence[DeadLetter]:
        """Dead-letter so many records that seem to have come from partition 0 of the events."""
        records = [
            Record(
                self.events,
                0,
                number,
                STAMPED_MS + number,
                b"sess-c14",
                event(f"e-{number}"),
                changes.get("headers", ()),
            )
            for number in range(count)
        ]
        return self.dead_letter(*((record, Rejected(reason, "")) for record in records))
