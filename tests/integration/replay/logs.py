"""A log with everything in it that can go wrong, and what it takes to compare two databases."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator, Sequence
from random import Random
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import murmur2
from pymongo import MongoClient

from tests.builders import completed, created, encoded, event, failed

PARTITIONS = 3

Placed = tuple[str, int, bytes | None, bytes | None]
"""Topic, partition, key and value of a record."""


def home_of(session_id: str, partitions: int = PARTITIONS) -> int:
    """The partition that the default partitioner chooses."""
    return int((murmur2(session_id.encode()) & 0x7FFFFFFF) % partitions)


def messy_log(
    rng: Random, topics: Sequence[str], sessions: int, *, strays: float = 0.15
) -> list[Placed]:
    """Sessions with duplicates, conflicts, two ends, stubs and disorder, among poison.

    A share of the records stray to a partition or a topic where nobody would look for them,
    so that what contradicts each other does not always have an order of its own.
    """
    sessions_topic, events_topic = topics
    log: list[Placed] = []
    for number in range(sessions):
        session_id = f"session-{number}"
        said = list(_conversation(rng, session_id))
        rng.shuffle(said)
        for message in said:
            usual = events_topic if message["type"] == "event.recorded" else sessions_topic
            stray = rng.random() < strays
            topic = rng.choice(topics) if stray else usual
            partition = rng.randrange(PARTITIONS) if stray else home_of(session_id)
            log.append((topic, partition, session_id.encode(), encoded(message)))
    for _ in range(sessions // 4):
        partition = rng.randrange(PARTITIONS) if strays else 0
        log.insert(rng.randrange(len(log)), (events_topic, partition, *_poison(rng)))
    return log


def _conversation(rng: Random, session_id: str) -> Iterator[dict[str, Any]]:
    if rng.random() < 0.8:
        yield from _repeated(rng, created(session_id), language="de")
    for number in range(rng.randrange(6)):
        yield from _repeated(rng, event(session_id, f"e{number}"), payload={"text": "other"})
    if rng.random() < 0.7:
        yield from _repeated(rng, completed(session_id), eventCount=7)
    if rng.random() < 0.2:
        yield failed(session_id, reason="lost")


def _repeated(rng: Random, message: dict[str, Any], **other: object) -> Iterator[dict[str, Any]]:
    yield message
    while rng.random() < 0.3:
        yield message if rng.random() < 0.5 else message | other


def _poison(rng: Random) -> tuple[bytes | None, bytes | None]:
    return rng.choice(
        [
            (b"k", b"not JSON"),
            (b"k", None),
            (None, b"{}"),
            (b"s", encoded(event("s", "e", eventType="song"))),
            (b"s", encoded(event("s", "e", payload={"n": 2**70}))),
            (b"other", encoded(event("unkeyed", "e", timestamp=None))),
        ]
    )


async def publish(bootstrap_servers: str, log: Iterable[Placed], *, one_by_one: bool) -> None:
    """Send each record to its partition, in the order of the log.

    ``one_by_one``: each in a batch of its own, since the embedded broker counts a batch as one.
    """
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers,
        acks="all",
        linger_ms=5,
        max_batch_size=1 if one_by_one else 16 * 1024,
    )
    await producer.start()
    try:
        sent = [
            await producer.send(topic, value, key=key, partition=partition)
            for topic, partition, key, value in log
        ]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


Documents = dict[str, list[dict[str, Any]]]


def documents(uri: str, database: str) -> Documents:
    """Both collections, sorted, without the server's ids."""
    with MongoClient[dict[str, Any]](uri) as client:
        found = {
            name: list(client[database][name].find({}, {"_id": 0}))
            for name in ("conversation_sessions", "conversation_events")
        }
    return {
        name: sorted(entries, key=lambda entry: json.dumps(entry, default=str, sort_keys=True))
        for name, entries in found.items()
    }
