"""``python -m benchmarks.indexes --mongodb URI``: what each index of the events costs the server.

The same encoded events are inserted in commands of a thousand, in the order of a backlog, into a
collection with each set of indexes in turn, round after round. Prints microseconds of the server's
CPU a document: medians with the least and the most.
"""

from __future__ import annotations

import argparse
import secrets
import statistics
from collections.abc import Mapping, Sequence
from datetime import datetime

from pymongo import MongoClient, WriteConcern

from benchmarks.measuring import ServerClock
from benchmarks.workloads import Workload, messages
from consumer.contract.json_text import parse_quickly
from consumer.mongo.driver import EncodedDocument
from consumer.state.writes import EventWrite, event_write
from producer_tools.outgoing_message import Stream

BULK = 1_000
UNIQUE = [("sessionId", 1), ("eventId", 1)]
IN_ORDER = [("sessionId", 1), ("timestamp", 1)]
SETS: Mapping[str, Sequence[Sequence[tuple[str, int]]]] = {
    "_id alone": (),
    "and the unique one": (UNIQUE,),
    "and sessionId, timestamp": (UNIQUE, IN_ORDER),
    "and sessionId, timestamp, eventId": (UNIQUE, [*IN_ORDER, ("eventId", 1)]),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.indexes", description=__doc__)
    parser.add_argument("--mongodb", required=True)
    parser.add_argument("--records", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    events = encoded_events(options.records)
    client = MongoClient[dict[str, object]](options.mongodb)
    clock = ServerClock(options.mongodb)
    taken: dict[str, list[float]] = {name: [] for name in SETS}
    for _ in range(options.rounds):
        for name, indexes in SETS.items():
            database = client.get_database(
                f"indexes-{secrets.token_hex(3)}", write_concern=WriteConcern("majority", j=True)
            )
            for keys in indexes:
                database["events"].create_index(list(keys), unique=keys is UNIQUE)
            before = clock.seconds()
            for start in range(0, len(events), BULK):
                database.command(
                    {
                        "insert": "events",
                        "ordered": False,
                        "writeConcern": {"w": "majority", "j": True},
                        "documents": [EncodedDocument(one) for one in events[start : start + BULK]],
                    }
                )
            taken[name].append((clock.seconds() - before) / len(events) * 1e6)
            client.drop_database(database.name)
    for name, found in taken.items():
        middle = statistics.median(found)
        print(f"{name:<36}{middle:6.1f} ({min(found):.1f} to {max(found):.1f})")


def encoded_events(records: int) -> list[bytes]:
    """Return what a backlog of so many records inserts."""
    found: list[bytes] = []
    for message in messages(Workload.ORDINARY, records, seed=1):
        if message.stream is Stream.EVENTS:
            fields = parse_quickly(message.value)
            assert isinstance(fields, dict)
            time = datetime.fromisoformat(fields["timestamp"])
            origin = {"topic": "events", "partition": 0, "offset": len(found)}
            ids = (fields["sessionId"], fields["eventId"], fields["eventType"])
            write = event_write(*ids, fields["payload"], time, origin, None)
            assert isinstance(write, EventWrite)
            found.append(write.document)
    return found


if __name__ == "__main__":
    main()
