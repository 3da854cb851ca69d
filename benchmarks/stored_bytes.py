"""``python -m benchmarks.stored_bytes``: what documents weigh, and what their index entries would.

Documents are read from a database that ``consumer run`` has filled, and weighed as BSON: before a
storage engine compresses them. Index entries are computed, since stores keep them in ways of their
own: the bytes of the values, and two of each value and ten of each entry around them, as MongoDB's
storage engine has it before it leaves out what an entry has in common with the one before.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from bson import decode
from pymongo import MongoClient

OF_A_VALUE, OF_AN_ENTRY = 2, 10
TIME_BYTES, ID_BYTES = 8, 12
INDEXES: Mapping[str, Sequence[Sequence[str]]] = {
    "conversation_sessions": (("_id",), ("sessionId",)),
    "conversation_events": (
        ("_id",),
        ("sessionId", "eventId"),
        ("sessionId", "timestamp", "eventId"),
    ),
}


def entry_bytes(document: Mapping[str, Any], index: Sequence[str]) -> int:
    """Return what an index's entry weighs."""
    lengths = {"_id": ID_BYTES, "timestamp": TIME_BYTES}
    values = (lengths.get(field) or len(str(document[field]).encode()) for field in index)
    return OF_AN_ENTRY + sum(length + OF_A_VALUE for length in values)


def main() -> None:
    """Print a line for each collection."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stored_bytes", description=__doc__)
    parser.add_argument("--mongodb", default="mongodb://localhost:27017")
    parser.add_argument("--database", default="conversations")
    options = parser.parse_args()
    client: MongoClient[Any] = MongoClient(options.mongodb)
    for name, indexes in INDEXES.items():
        count = size = indexed = 0
        for reply in client[options.database][name].find_raw_batches({}):
            place = 0
            while place < len(reply):
                length = int.from_bytes(reply[place : place + 4], "little")
                document = decode(reply[place : place + length])
                count, size, place = count + 1, size + length, place + length
                indexed += sum(entry_bytes(document, index) for index in indexes)
        print(
            f"{name}: {count:,} documents of {size / max(count, 1):.0f} bytes,"
            f" and {indexed / max(count, 1):.0f} of index entries"
        )


if __name__ == "__main__":
    main()
