"""A proxy for each broker of a Kafka cluster, so that no client can go around them.

Brokers tell clients where the others are. All of them listen on one loopback address, so in
the replies that say so a port is all that has to be replaced, and no length changes.
"""

from __future__ import annotations

import struct
from asyncio import IncompleteReadError, StreamReader
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from tests.faults.proxy import LOOPBACK, Proxy, Way, proxied

METADATA, FIND_COORDINATOR, DESCRIBE_CLUSTER = 3, 10, 60
TELLING = frozenset({METADATA, FIND_COORDINATOR, DESCRIBE_CLUSTER})
"""The requests whose replies name brokers."""

_LENGTH = struct.Struct(">i")
_REQUEST = struct.Struct(">hhi")


@dataclass(frozen=True, slots=True)
class KafkaProxy:
    """Proxies by the ports of their brokers. ``bootstrap_servers``: those of the proxies."""

    proxies: Mapping[int, Proxy]

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(f"{LOOPBACK}:{proxy.port}" for proxy in self.proxies.values())

    def each(self, do: Callable[[Proxy], None]) -> None:
        """Do the same to all."""
        for proxy in self.proxies.values():
            do(proxy)


@asynccontextmanager
async def kafka_proxied(bootstrap_servers: str) -> AsyncIterator[KafkaProxy]:
    """Run a proxy in front of each of these brokers, which must be all there are."""
    async with AsyncExitStack() as stack:
        moves: dict[bytes, bytes] = {}
        proxies: dict[int, Proxy] = {}
        for address in bootstrap_servers.split(","):
            host, _, port = address.rpartition(":")
            assert host == LOOPBACK, f"{host} is not {LOOPBACK}: its name would not be replaced"
            made = proxied(host, int(port), lambda: _Moved(moves).framing)
            proxies[int(port)] = proxy = await stack.enter_async_context(made)
            moves[_address(int(port))] = _address(proxy.port)
        yield KafkaProxy(proxies)


def _address(port: int) -> bytes:
    """A broker's address as replies have it: the name, then the port in four bytes."""
    return LOOPBACK.encode() + port.to_bytes(4, "big")


class _Moved:
    """One connection: its replies name the proxies where the broker named brokers."""

    def __init__(self, moves: Mapping[bytes, bytes]) -> None:
        self._moves = moves
        self._asked: set[int] = set()
        self.framing = {Way.REQUESTS: self._request, Way.REPLIES: self._reply}

    async def _request(self, reader: StreamReader) -> bytes:
        frame = await _frame(reader)
        if len(frame) >= _LENGTH.size + _REQUEST.size:
            key, _, correlation = _REQUEST.unpack_from(frame, _LENGTH.size)
            if key in TELLING:
                self._asked.add(correlation)
        return frame

    async def _reply(self, reader: StreamReader) -> bytes:
        frame = await _frame(reader)
        if len(frame) >= 2 * _LENGTH.size:
            (correlation,) = _LENGTH.unpack_from(frame, _LENGTH.size)
            if correlation in self._asked:
                self._asked.discard(correlation)
                for before, after in self._moves.items():
                    frame = frame.replace(before, after)
        return frame


async def _frame(reader: StreamReader) -> bytes:
    """Return the next message whole, with its length in front; empty at the end."""
    try:
        head = await reader.readexactly(_LENGTH.size)
        return head + await reader.readexactly(_LENGTH.unpack(head)[0])
    except IncompleteReadError:
        return b""
