"""A proxy before a MongoDB that knows commands by their names, and can hold them on their way.

With it a test stands between any two steps: the database has written, and nobody knows yet.
"""

from __future__ import annotations

import asyncio
import struct
from asyncio import IncompleteReadError, StreamReader
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from pymongo.uri_parser import parse_uri

from tests.faults.proxy import LOOPBACK, Proxy, Receive, Way, proxied

OP_MSG = 2013

_HEADER = struct.Struct("<iiii")
"""Length with itself, request id, id of the request that is answered, operation."""

_NAME_AT = _HEADER.size + 4 + 1 + 4 + 1
"""Behind the flags, the kind of the first section, the document's length and a type."""


@dataclass(slots=True, eq=False)
class Hold:
    """Every command of one name, or every reply to it, waits here until it is dropped."""

    command: str
    way: Way
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once one waits."""
    dropped: asyncio.Event = field(default_factory=asyncio.Event)

    def drop(self) -> None:
        """Reset the connections of those that wait; what comes later passes."""
        self.dropped.set()


class MongodbProxy:
    """The proxy, and the holds for all its connections. ``uri`` leads through it."""

    def __init__(self) -> None:
        self.proxy: Proxy
        self.uri = ""
        self._holds: list[Hold] = []

    def hold(self, command: str, way: Way) -> Hold:
        """Hold every such command, or reply to one, from now on."""
        hold = Hold(command, way)
        self._holds.append(hold)
        return hold

    def framing(self) -> Mapping[Way, Receive]:
        """Return what takes the messages of one new connection."""
        asked: dict[int, str] = {}

        async def command(reader: StreamReader) -> bytes:
            frame = await _frame(reader)
            if frame:
                _, number, _, operation = _HEADER.unpack_from(frame)
                asked[number] = _command(frame) if operation == OP_MSG else ""
                await self._wait(asked[number], Way.REQUESTS)
            return frame

        async def reply(reader: StreamReader) -> bytes:
            frame = await _frame(reader)
            if frame:
                await self._wait(asked.pop(_HEADER.unpack_from(frame)[2], ""), Way.REPLIES)
            return frame

        return {Way.REQUESTS: command, Way.REPLIES: reply}

    async def _wait(self, command: str, way: Way) -> None:
        for hold in self._holds:
            if (hold.command, hold.way) == (command, way) and not hold.dropped.is_set():
                hold.reached.set()
                await hold.dropped.wait()
                raise ConnectionResetError


def _command(frame: bytes) -> str:
    return frame[_NAME_AT : frame.index(b"\0", _NAME_AT)].decode()


async def _frame(reader: StreamReader) -> bytes:
    """Return the next message whole; empty at the end."""
    try:
        head = await reader.readexactly(_HEADER.size)
        return head + await reader.readexactly(_HEADER.unpack(head)[0] - _HEADER.size)
    except IncompleteReadError:
        return b""


@asynccontextmanager
async def mongodb_proxied(uri: str) -> AsyncIterator[MongodbProxy]:
    """Run a proxy in front of the one server that the URI names."""
    ((host, port),) = parse_uri(uri)["nodelist"]
    mongodb = MongodbProxy()
    async with proxied(host, port, mongodb.framing) as proxy:
        mongodb.proxy = proxy
        mongodb.uri = uri.replace(f"{host}:{port}", f"{LOOPBACK}:{proxy.port}")
        yield mongodb
