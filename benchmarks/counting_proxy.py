"""A proxy in front of a store that counts what is asked of it: commands, documents and bytes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from benchmarks.free_store import HEADER, OP_MSG, read_message

UNCOUNTED = frozenset({"hello", "isMaster", "ismaster", "ping", "buildInfo", "endSessions"})
"""What the drivers say by themselves."""

PIECE = 1 << 16
LISTS = {"insert": "documents", "update": "updates"}


@dataclass(slots=True)
class Asked:
    """What clients have asked for. ``documents``: inserted ones and statements of updates."""

    commands: Counter[str] = field(default_factory=Counter)
    documents: Counter[str] = field(default_factory=Counter)
    bytes_sent: int = 0
    bytes_answered: int = 0

    def count(self, body: bytes) -> None:
        """Count a message of a client."""
        _, command, sequences = read_message(memoryview(body))
        name = next(iter(command))
        if name in UNCOUNTED:
            return
        of = f"{name} {command[name]}" if isinstance(command[name], str) else name
        self.commands[of] += 1
        self.bytes_sent += len(body) + HEADER.size
        if name in LISTS:
            self.documents[of] += sequences.get(LISTS[name], 0) or len(command.get(LISTS[name], ()))


@asynccontextmanager
async def counting(uri: str) -> AsyncIterator[tuple[str, Asked]]:
    """Listen until the end of the context; yield the URI to use instead, and the counts."""
    parts, asked = urlsplit(uri), Asked()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server, upstream = await asyncio.open_connection(parts.hostname, parts.port)
        answering = asyncio.ensure_future(answer(server, writer))
        try:
            while True:
                head = await reader.readexactly(HEADER.size)
                size, _, _, code = HEADER.unpack(head)
                body = await reader.readexactly(size - HEADER.size)
                if code == OP_MSG:
                    asked.count(body)
                upstream.write(head + body)
                await upstream.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            upstream.close()
            await answering

    async def answer(server: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await server.read(PIECE):
                asked.bytes_answered += len(piece)
                writer.write(piece)
                await writer.drain()
        except ConnectionError:
            pass  # the client has gone
        writer.close()

    listening = await asyncio.start_server(relay, "127.0.0.1", 0, limit=1 << 20)
    port = listening.sockets[0].getsockname()[1]
    try:
        yield f"mongodb://127.0.0.1:{port}/?directConnection=true", asked
    finally:
        listening.close()
