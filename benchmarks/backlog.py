"""A backlog that every variant handles, and a place of its own for each to write to."""

from __future__ import annotations

import asyncio
import json
import secrets
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer

from consumer.settings import KafkaSettings
from consumer.stream.topics import open_admin
from producer_tools.conversations import small_set

PARTITIONS = 6
IN_FLIGHT = 5000


@dataclass(frozen=True, slots=True)
class Place:
    """What one measured command is told: its servers, topics, group and database."""

    kafka: str
    mongodb: str
    name: str
    database: str

    def environment(self) -> dict[str, str]:
        """Return the settings as environment variables."""
        return {
            "CONSUMER_KAFKA__BOOTSTRAP_SERVERS": self.kafka,
            "CONSUMER_KAFKA__TOPICS": f"{self.name}.sessions,{self.name}.events",
            "CONSUMER_KAFKA__GROUP_ID": self.database,
            "CONSUMER_DEAD_LETTERS__TOPIC": f"{self.name}.dead-letters",
            "CONSUMER_MONGO__URI": self.mongodb,
            "CONSUMER_MONGO__DATABASE": self.database,
        }


@dataclass(frozen=True, slots=True)
class Backlog:
    """Topics with records in them."""

    kafka: str
    mongodb: str
    name: str
    records: int

    def place(self, variant: str) -> Place:
        """Return a group and a database that nobody else uses."""
        return Place(self.kafka, self.mongodb, self.name, f"{self.name}-{variant}")


async def published(kafka: str, mongodb: str, sessions: int, seed: int) -> Backlog:
    """Create three topics and publish generated conversations into them, by key."""
    name = f"bench-{secrets.token_hex(4)}"
    settings = KafkaSettings(bootstrap_servers=tuple(kafka.split(",")))
    async with open_admin(settings) as admin:
        for topic in ("sessions", "events", "dead-letters"):
            await admin.create(f"{name}.{topic}", PARTITIONS, {"retention.ms": "-1"})
    producer = AIOKafkaProducer(bootstrap_servers=kafka, linger_ms=5, max_batch_size=1 << 18)
    await producer.start()
    records, waiting = 0, list[asyncio.Future[object]]()
    try:
        for message in small_set(seed, sessions):
            kind = "events" if message["type"] == "event.recorded" else "sessions"
            key = str(message["sessionId"]).encode()
            value = json.dumps(message).encode()
            waiting.append(await producer.send(f"{name}.{kind}", value, key))
            records += 1
            if len(waiting) >= IN_FLIGHT:
                await asyncio.gather(*waiting)
                waiting.clear()
        await asyncio.gather(*waiting)
    finally:
        await producer.stop()
    return Backlog(kafka, mongodb, name, records)
