"""A server that speaks MongoDB's wire protocol and answers by a script; the drivers connect to it.

For what no server here gives: routers, builds under way, documents of other writers.
"""

from __future__ import annotations

import asyncio
import struct
from asyncio import IncompleteReadError, StreamReader, StreamWriter
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import bson

LOOPBACK = "127.0.0.1"
OP_REPLY, OP_QUERY, OP_MSG = 1, 2004, 2013

_HEADER = struct.Struct("<iiii")
"""Length with itself, request id, id of the request that is answered, operation."""

Document = dict[str, Any]
Answer = Mapping[str, Any] | Callable[[Document], Mapping[str, Any] | None]
"""A reply, or what makes one of the command; None: the connection is cut without one."""

NO_REPLY: Document = {}
"""The connection stays, and nothing comes."""

PRIMARY: Document = {"setName": "rs", "hosts": ["h:1"], "me": "h:1"}
ROUTER: Document = {"msg": "isdbgrid"}

_HELLO: Document = {
    "ismaster": True,
    "isWritablePrimary": True,
    "helloOk": True,
    "maxBsonObjectSize": 16 * 1024 * 1024,
    "maxMessageSizeBytes": 48_000_000,
    "maxWriteBatchSize": 100_000,
    "logicalSessionTimeoutMinutes": 30,
    "minWireVersion": 0,
    "maxWireVersion": 25,
    "ok": 1,
}


def cursor(*documents: Any) -> Document:
    """The reply to a find or a list, all in its first batch."""
    return {"cursor": {"id": bson.Int64(0), "ns": "d.c", "firstBatch": list(documents)}, "ok": 1}


def refusal(code: int, **more: Any) -> Document:
    """The reply to a command that failed as a whole."""
    return {"ok": 0, "code": code, "codeName": f"Code{code}", "errmsg": "as scripted", **more}


def for_each_statement(code: int) -> Answer:
    """What a router makes of a shard's failure: an error for each statement, and none of all."""

    def answer(command: Document) -> Mapping[str, Any]:
        count = len(command["updates" if "updates" in command else "documents"])
        errors = [{"index": n, "code": code, "errmsg": "as scripted"} for n in range(count)]
        return {"ok": 1, "n": 0, "nModified": 0, "writeErrors": errors}

    return answer


def _applied(command: Document) -> Document:
    if "updates" in command:
        upserted = [{"index": n, "_id": bson.ObjectId()} for n in range(len(command["updates"]))]
        return {"ok": 1, "n": len(upserted), "nModified": 0, "upserted": upserted}
    return {"ok": 1, "n": len(command["documents"])}


class ScriptedServer:
    """Answers the commands of one name in the order scripted, then as ``always`` says."""

    def __init__(self, role: Document) -> None:
        self.uri = ""
        self.commands: list[tuple[str, Document]] = []
        self.always: dict[str, Answer] = {
            "hello": {**_HELLO, **role},
            "ismaster": {**_HELLO, **role},
            "buildInfo": {"version": "8.0.4", "versionArray": [8, 0, 4, 0], "ok": 1},
            "listCollections": cursor(),
            "listIndexes": refusal(26),
            "createIndexes": {"ok": 1},
            "insert": _applied,
            "update": _applied,
            "find": cursor(),
            "endSessions": {"ok": 1},
        }
        self._came = asyncio.Event()
        self._script: defaultdict[str, deque[Answer]] = defaultdict(deque)

    def script(self, command: str, *answers: Answer) -> None:
        """Let the next commands of one name have these answers, one each."""
        self._script[command].extend(answers)

    def sent(self, name: str) -> list[Document]:
        """Return the commands of one name, in their order."""
        return [command for command_name, command in self.commands if command_name == name]

    async def until(self, name: str, count: int) -> None:
        """Return once so many commands of one name have come."""
        while len(self.sent(name)) < count:
            self._came.clear()
            await self._came.wait()

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Answer one connection until it ends."""
        try:
            while True:
                length, number, _, operation = _HEADER.unpack(await reader.readexactly(16))
                body = await reader.readexactly(length - 16)
                command = _query(body) if operation == OP_QUERY else _message(body)
                reply = self._answer(command)
                if reply is None:
                    return
                if reply == NO_REPLY:
                    continue
                encoded = bson.encode(reply)
                if operation == OP_QUERY:
                    framed, kind = struct.pack("<iqii", 0, 0, 0, 1) + encoded, OP_REPLY
                else:
                    framed, kind = struct.pack("<iB", 0, 0) + encoded, OP_MSG
                writer.write(_HEADER.pack(16 + len(framed), 0, number, kind) + framed)
                await writer.drain()
        except (IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    def _answer(self, command: Document) -> Mapping[str, Any] | None:
        name = next(iter(command))
        self.commands.append((name, command))
        self._came.set()
        script = self._script[name]
        answer = script.popleft() if script else self.always.get(name, refusal(59))
        return answer(command) if callable(answer) else answer


def _query(body: bytes) -> Document:
    """Return the command of the old operation that drivers begin with."""
    at = body.index(b"\0", 4) + 1 + 8
    return bson.decode(body[at : at + int.from_bytes(body[at : at + 4], "little")])


def _message(body: bytes) -> Document:
    """Return a command with the documents that travel beside it."""
    at, command, beside = 4, Document(), dict[str, Sequence[Document]]()
    while at < len(body):
        kind, size = body[at], int.from_bytes(body[at + 1 : at + 5], "little")
        section = body[at + 1 : at + 1 + size]
        if kind == 0:
            command = bson.decode(section)
        else:
            name_ends = section.index(b"\0", 4)
            beside[section[4:name_ends].decode()] = bson.decode_all(section[name_ends + 1 :])
        at += 1 + size
    return command | beside


@asynccontextmanager
async def scripted_server(role: Document = PRIMARY) -> AsyncIterator[ScriptedServer]:
    """Run one on a free port."""
    scripted = ScriptedServer(role)
    server = await asyncio.start_server(scripted.serve, LOOPBACK, 0)
    port = server.sockets[0].getsockname()[1]
    scripted.uri = f"mongodb://{LOOPBACK}:{port}/?directConnection=true"
    try:
        yield scripted
    finally:
        server.close()
