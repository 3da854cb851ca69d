"""A server of MongoDB's wire protocol that acknowledges every write and stores nothing.

It shows what the client's side alone costs: ``python -m benchmarks.free_store --port 0`` prints
its URI. It answers what the drivers and this product ask at start; a find finds nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import struct
from collections.abc import Mapping
from typing import Any

import bson

OP_MSG = 2013
OP_QUERY = 2004
OP_REPLY = 1
CHECKSUM = 1
MORE_TO_COME = 2
HEADER = struct.Struct("<iiii")

MAX_BSON = 16 * 1024 * 1024
MAX_MESSAGE = 48_000_000
INDEXED: dict[str, list[dict[str, Any]]] = {}
"""The indexes that were asked for, by namespace: listIndexes must show them again."""


def hello(port: int) -> dict[str, Any]:
    """Return what the primary of a replica set of one says of itself."""
    me = f"127.0.0.1:{port}"
    return {
        "isWritablePrimary": True,
        "ismaster": True,
        "setName": "free",
        "hosts": [me],
        "primary": me,
        "me": me,
        "maxBsonObjectSize": MAX_BSON,
        "maxMessageSizeBytes": MAX_MESSAGE,
        "maxWriteBatchSize": 100_000,
        "logicalSessionTimeoutMinutes": 30,
        "minWireVersion": 0,
        "maxWireVersion": 21,
        "readOnly": False,
    }


def answer(  # noqa: PLR0911 -- one for each command that is known
    command: Mapping[str, Any], counts: Mapping[str, int], port: int
) -> dict[str, Any]:
    """Return the reply to a command; ``counts``: documents in its sequences, by their names."""
    name = next(iter(command))
    database = command.get("$db", "")
    match name:
        case "hello" | "isMaster" | "ismaster":
            return hello(port)
        case "buildInfo" | "buildinfo":
            return {"version": "8.0.0", "versionArray": [8, 0, 0, 0], "maxBsonObjectSize": MAX_BSON}
        case "insert":
            return {"n": counts.get("documents") or len(command.get("documents", ()))}
        case "update":
            count = counts.get("updates") or len(command.get("updates", ()))
            return {"n": count, "nModified": count}
        case "createIndexes":
            collection = f"{database}.{command[name]}"
            known = INDEXED.setdefault(collection, [index_of_id()])
            there = {index["name"] for index in known}
            known += [{"v": 2, **one} for one in command["indexes"] if one["name"] not in there]
            return {"numIndexesAfter": len(known)}
        case "listIndexes":
            collection = f"{database}.{command[name]}"
            return cursor(f"{collection}", INDEXED.get(collection, [index_of_id()]))
        case "find" | "aggregate":
            return cursor(f"{database}.{command[name]}", [])
        case "listCollections":
            names = [key.partition(".")[2] for key in INDEXED if key.startswith(f"{database}.")]
            listed = [{"name": one, "type": "collection", "options": {}} for one in names]
            return cursor(f"{database}.$cmd.listCollections", listed)
        case _:
            return {}


def index_of_id() -> dict[str, Any]:
    """Return the index that every collection has."""
    return {"v": 2, "key": {"_id": 1}, "name": "_id_"}


def cursor(namespace: str, documents: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a cursor that is read to its end."""
    return {"cursor": {"id": bson.Int64(0), "ns": namespace, "firstBatch": documents}}


def read_message(body: memoryview) -> tuple[int, dict[str, Any], dict[str, int]]:
    """Return the flags, the command and how many documents each of its sequences holds."""
    (flags,) = struct.unpack_from("<I", body)
    place, end = 4, len(body) - (4 if flags & CHECKSUM else 0)
    command: dict[str, Any] = {}
    counts: dict[str, int] = {}
    while place < end:
        kind = body[place]
        (size,) = struct.unpack_from("<i", body, place + 1)
        if kind == 0:
            command = bson.decode(bytes(body[place + 1 : place + 1 + size]))
        else:
            start, stop = place + 5, place + 1 + size
            name_end = start + bytes(body[start : start + 64]).index(0)
            name = bytes(body[start:name_end]).decode()
            start = name_end + 1
            while start < stop:
                counts[name] = counts.get(name, 0) + 1
                start += struct.unpack_from("<i", body, start)[0]
        place += 1 + size
    return flags, command, counts


async def serve_client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer a connection until it is closed."""
    port = int(writer.get_extra_info("sockname")[1])
    try:
        while True:
            size, request, _, code = HEADER.unpack(await reader.readexactly(HEADER.size))
            body = memoryview(await reader.readexactly(size - HEADER.size))
            if code == OP_QUERY:  # a driver's first hello
                reply = bson.encode({**hello(port), "ok": 1.0})
                payload = struct.pack("<iqii", 8, 0, 0, 1) + reply
                writer.write(HEADER.pack(16 + len(payload), 0, request, OP_REPLY) + payload)
                continue
            flags, command, counts = read_message(body)
            if flags & MORE_TO_COME:
                continue
            reply = bson.encode({**answer(command, counts, port), "ok": 1.0})
            payload = struct.pack("<IB", 0, 0) + reply
            writer.write(HEADER.pack(16 + len(payload), 0, request, OP_MSG) + payload)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def serve(port: int) -> None:
    """Listen on loopback until the process ends."""
    server = await asyncio.start_server(serve_client, "127.0.0.1", port, limit=1 << 20)
    bound = server.sockets[0].getsockname()[1]
    print(f"mongodb://127.0.0.1:{bound}/?directConnection=true", flush=True)
    async with server:
        await server.serve_forever()


def main() -> None:
    """Run it as a command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.free_store", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    asyncio.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
