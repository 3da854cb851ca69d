"""The floor: the least that anyone would write by hand.

Poll a thousand records, parse them, insert them in bulks, commit. No validation, no dead
letters, no look at what a duplicate differs in; duplicates are refused by the index alone.
"""

from __future__ import annotations

import orjson
from confluent_kafka import Consumer
from pymongo.errors import BulkWriteError

from benchmarks.peers.common import database, event, not_only_duplicates, on_stop, place, session

BULK = 1_000


def main() -> None:
    """Read until SIGTERM."""
    at, running = place(), [True]
    on_stop(running.clear)
    store = database(at)
    consumer = Consumer(
        {
            "bootstrap.servers": at.kafka,
            "group.id": at.group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
        }
    )
    consumer.subscribe(at.topics)
    while running:
        events, sessions = [], []
        for record in consumer.consume(BULK, timeout=0.2):
            if record.error():
                raise SystemExit(str(record.error()))
            message = orjson.loads(record.value())
            if message["type"] == "event.recorded":
                events.append(event(message, record.topic(), record.partition(), record.offset()))
            else:
                sessions.append(session(message))
        if not events and not sessions:
            continue
        try:
            if events:
                store["conversation_events"].insert_many(events, ordered=False)
        except BulkWriteError as error:
            if not_only_duplicates(error.details["writeErrors"]):
                raise
        if sessions:
            store["conversation_sessions"].bulk_write(sessions, ordered=False)
        consumer.commit(asynchronous=False)
    consumer.close()


main()
