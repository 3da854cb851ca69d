"""A TCP proxy on loopback that does to a connection what networks do.

What passes is looked at as bytes, whatever the protocol; so it goes before any server. For
Kafka, whose brokers tell clients where else to connect, see ``tests.faults.kafka_proxy``.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from functools import partial

LOOPBACK = "127.0.0.1"
CHUNK = 64 * 1024
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of no time: closing sends RST, and drops what was not sent yet."""


class Way(Enum):
    """Which way bytes go."""

    REQUESTS = "requests"
    REPLIES = "replies"


Receive = Callable[[asyncio.StreamReader], Awaitable[bytes]]
"""Takes the next piece that is passed on as one; empty at the end."""


Framing = Callable[[], Mapping[Way, Receive]]
"""How the pieces of one connection are taken; called for each connection."""


async def _any_bytes(reader: asyncio.StreamReader) -> bytes:
    return await reader.read(CHUNK)


def no_framing() -> Mapping[Way, Receive]:
    """Pass on whatever has come."""
    return dict.fromkeys(Way, _any_bytes)


@dataclass(slots=True, eq=False)
class _Connection:
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def reset(self) -> None:
        for writer in (self.client, self.server):
            connected = writer.get_extra_info("socket")
            with suppress(OSError):
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()


class Proxy:
    """One listening port in front of one server. Made by ``proxied``.

    The faults hold for every connection, present and future, until ``heal``:

    ``delay``     seconds that every piece waits before it is passed on
    ``rate``      bytes a second of each way of each connection, at most
    ``silent``    what is sent stays where it is: no error, no end, no answer
    ``refusing``  a new connection is closed at once
    """

    def __init__(self, host: str, port: int, framing: Framing = no_framing) -> None:
        """``host`` and ``port``: those of the server."""
        self._server_address = (host, port)
        self._framing = framing
        self._listener: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._unfrozen = asyncio.Event()
        self._unfrozen.set()
        self._cuts: dict[Way, int] = {}
        self.port = 0
        self.delay = 0.0
        self.rate: float | None = None
        self.refusing = False
        self.accepted = 0
        self.cuts = 0
        """How many connections were cut in the middle."""

    async def open(self) -> None:
        """Listen on a free port."""
        self._listener = await asyncio.start_server(self._accept, LOOPBACK, 0)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening, and reset every connection."""
        if self._listener is not None:
            self._listener.close()
        self.refusing = True  # who is just being accepted, too
        tasks = [task for one in self._connections for task in one.tasks]
        self.reset()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- the faults ---------------------------------------------------------------------

    @property
    def silent(self) -> bool:
        return not self._unfrozen.is_set()

    def fall_silent(self) -> None:
        """Hold back everything, both ways; connections are accepted and go nowhere."""
        self._unfrozen.clear()

    def refuse(self) -> None:
        """Reset what is connected, and whoever connects."""
        self.refusing = True
        self.reset()

    def reset(self) -> None:
        """Reset every connection; new ones are accepted."""
        for connection in list(self._connections):
            connection.reset()

    def cut_after(self, way: Way, count: int) -> None:
        """Pass ``count`` more bytes that way, all connections together, then reset that one.

        Once: afterwards bytes pass as before.
        """
        self._cuts[way] = count

    @property
    def cut_pending(self) -> bool:
        return bool(self._cuts)

    def heal(self) -> None:
        """End every fault. What was held back passes on."""
        self.delay, self.rate, self.refusing = 0.0, None, False
        self._cuts.clear()
        self._unfrozen.set()

    # --- how ----------------------------------------------------------------------------

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            there, onward = await asyncio.open_connection(*self._server_address)
        except OSError:
            writer.transport.abort()
            return
        connection = _Connection(writer, onward)
        if self.refusing:
            connection.reset()
            return
        receive = self._framing()
        connection.tasks = [
            asyncio.create_task(self._pump(way, partial(receive[way], source), sink, connection))
            for way, source, sink in (
                (Way.REQUESTS, reader, onward),
                (Way.REPLIES, there, writer),
            )
        ]
        self._connections.add(connection)
        try:
            await asyncio.wait(connection.tasks)
        finally:
            self._connections.discard(connection)
            writer.close()
            onward.close()

    async def _pump(
        self,
        way: Way,
        receive: Callable[[], Awaitable[bytes]],
        writer: asyncio.StreamWriter,
        connection: _Connection,
    ) -> None:
        try:
            while data := await receive():
                await self._unfrozen.wait()
                if self.delay:
                    await asyncio.sleep(self.delay)
                await self._pass(way, data, writer, connection)
            await self._unfrozen.wait()
            if writer.can_write_eof():
                writer.write_eof()
        except OSError:
            connection.reset()

    async def _pass(
        self, way: Way, data: bytes, writer: asyncio.StreamWriter, connection: _Connection
    ) -> None:
        left = self._cuts.get(way)
        if left is not None and len(data) > left:
            del self._cuts[way]
            await self._write(data[:left], writer)
            self.cuts += 1
            self._end(writer, connection)
            raise ConnectionResetError
        if left is not None:
            self._cuts[way] = left - len(data)
        await self._write(data, writer)

    async def _write(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        while data:
            rate = self.rate
            piece = data if rate is None else data[: max(1, int(rate / 10))]
            if rate is not None:
                await asyncio.sleep(len(piece) / rate)
            await self._unfrozen.wait()
            writer.write(piece)
            await writer.drain()
            data = data[len(piece) :]

    def _end(self, writer: asyncio.StreamWriter, connection: _Connection) -> None:
        """Let the beginning of the message arrive: a reset at once would swallow it."""
        writer.close()
        other = connection.client if writer is connection.server else connection.server
        other.transport.abort()


@asynccontextmanager
async def proxied(host: str, port: int, framing: Framing = no_framing) -> AsyncIterator[Proxy]:
    """Run a proxy in front of the server at ``host`` and ``port``."""
    proxy = Proxy(host, port, framing)
    await proxy.open()
    try:
        yield proxy
    finally:
        await proxy.close()
