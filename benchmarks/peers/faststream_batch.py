"""FastStream's batch subscriber, as its documentation shows it, over the same store."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker, KafkaMessage
from pymongo import AsyncMongoClient
from pymongo.errors import BulkWriteError

from benchmarks.peers.common import MAJORITY, database, event, not_only_duplicates, place, session

BULK = 1_000


async def main() -> None:
    """Read until SIGTERM."""
    at = place()
    database(at)
    client = AsyncMongoClient[dict[str, Any]](at.mongodb)
    store = client.get_database(at.database, write_concern=MAJORITY)
    broker = KafkaBroker(at.kafka, logger=None)

    async def handle(messages: list[dict[str, Any]], raw: KafkaMessage) -> None:
        records = raw.raw_message
        events, sessions = [], []
        for message, record in zip(messages, records, strict=True):
            if message["type"] == "event.recorded":
                events.append(event(message, record.topic, record.partition, record.offset))
            else:
                sessions.append(session(message))
        try:
            if events:
                await store["conversation_events"].insert_many(events, ordered=False)
        except BulkWriteError as error:
            if not_only_duplicates(error.details["writeErrors"]):
                raise
        if sessions:
            await store["conversation_sessions"].bulk_write(sessions, ordered=False)

    subscriber = broker.subscriber(
        *at.topics,
        group_id=at.group,
        auto_offset_reset="earliest",
        batch=True,
        max_records=BULK,
        ack_policy=AckPolicy.NACK_ON_ERROR,
    )
    subscriber(handle)
    app = FastStream(broker, logger=None)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, app.exit)
    await app.run()
    await client.close()


asyncio.run(main())
